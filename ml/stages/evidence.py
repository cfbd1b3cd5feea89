"""What each gate judges, gathered from the frames, the warehouse and the registry."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml import metrics, models, training, validation
from ml.features import Queries
from ml.gates.evidence import (
    ConsistencyEvidence,
    Evidence,
    QualityEvidence,
    RankingEvidence,
    RuleOutcome,
    StabilityEvidence,
    probability_column,
    score_column,
)
from ml.settings import Settings
from ml.spec import ALL_PROJECTS, MERGED_RESULT, Interval, ModelSpec, ModelVersion, Split
from ml.stages.all_projects import apart, run_key
from ml.stages.opening import candidate_folder, open_registry, open_warehouse
from ml.stages.preparation import rows_to_score
from ml.training import FitOptions, Plan
from ml.training.periods import Period

REFITS = 2
SERVED_RUNS = 5
LEARNED: tuple[Period, ...] = ("fit", "calibrate", "validate")


def gather(settings: Settings, gate: str, candidate: Mapping[str, Any]) -> Evidence:
    """Evidence for one gate."""
    gatherers: dict[str, Callable[[Settings, Mapping[str, Any]], Evidence]] = {
        "data_quality": quality,
        "statistical": ranking,
        "stability": stability,
        "consistency": consistency,
    }
    return gatherers[gate](settings, candidate)


def quality(settings: Settings, candidate: Mapping[str, Any]) -> QualityEvidence:
    """Evidence of the data quality gate."""
    frame = pd.read_parquet(candidate["path"])
    split = split_of(candidate)
    spec = models.load_model(candidate["model"])
    with open_warehouse(settings) as warehouse:
        ledger = warehouse.batches(candidate["project"], int(candidate["snapshot_id"]))
        champion = warehouse.champion(candidate["model"], candidate["project"])
    rival = champion.version if champion else shared_rival(candidate)
    # the rival's periods lie beside what was computed for it; on another machine its used period still counts
    judged = candidate_folder(settings, rival) / "candidate.json" if rival else None
    batches = pd.DataFrame(
        {
            "score": ledger["quality_score"].astype(float),
            "result_count": [counts["test_results"] for counts in ledger["row_counts"]],
            "rejected_count": ledger["rejected"].astype(int),
        }
    )
    fit, test = training.period_rows(frame, split, "fit"), training.period_rows(frame, split, "test")
    as_of = datetime.fromisoformat(candidate["as_of"])
    age = as_of - frame["known_at"].max().to_pydatetime()
    learned = {name: training.period_rows(frame, split, name)["known_at"].max() for name in LEARNED}
    return QualityEvidence(
        batches=batches.dropna(subset="score"),
        train_rows=len(fit),
        train_failures=int(fit["failed"].sum()),
        test_rows=len(test),
        test_failing_runs=int((_neutral(spec, test)["failure_count"] > 0).sum()),
        null_rates={name: float(frame[name].isna().mean()) for name in spec.features},
        contract_violations=validation.count_violations(frame, spec.contract),
        clock=settings.clock,
        freshness_h=age.total_seconds() / 3600 if settings.clock == "wall" else None,
        split=split,
        labels_known_at={name: None if pd.isna(at) else at.to_pydatetime() for name, at in learned.items()},
        champion_split=split_of(json.loads(judged.read_text())) if judged and judged.exists() else None,
    )


def _neutral(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """The runs that count, whoever is measured."""
    return metrics.measures_by_run(spec.objective, rows.assign(score=0.0, probability=0.0), metrics.Columns())


def ranking(settings: Settings, candidate: Mapping[str, Any]) -> RankingEvidence:
    """Evidence of the statistical gate."""
    scored = pd.read_parquet(Path(candidate["folder"]) / "scored.parquet")
    split = split_of(candidate)
    spec = models.load_model(candidate["model"])
    as_of, replaced = datetime.fromisoformat(candidate["as_of"]), candidate.get("champion_as_of")
    with open_warehouse(settings) as warehouse:
        champion = warehouse.champion(candidate["model"], candidate["project"])
        used = warehouse.used_periods(candidate["model"], candidate["project"])
        drifted = warehouse.has_drift(candidate["model"], candidate["project"])
    # after its own promotion the candidate is the champion: judged again, it is held against what it replaced, whose
    # moment it was trained with
    is_own = champion is not None and champion.version.version == candidate["version"]["version"]
    is_shared = shared_rival(candidate) is not None
    return RankingEvidence(
        rows=training.period_rows(scored, split, "test"),
        earlier=training.period_rows(scored, split, "validate"),
        baselines=tuple(spec.baselines),
        split=split,
        used_periods=tuple(used[:-1] if is_own else used),
        seed=settings.seed,
        budget=settings.selection_budget,
        has_champion=is_shared or candidate["champion_version"] is not None,
        is_shared=is_shared,
        champion_age_days=(as_of - datetime.fromisoformat(replaced)).total_seconds() / 86_400 if replaced else None,
        has_drift=drifted,
        objective=spec.objective,
    )


def stability(settings: Settings, candidate: Mapping[str, Any]) -> StabilityEvidence:
    """Evidence of the stability gate: the candidate fitted again with other seeds, on the same rows."""
    frame = pd.read_parquet(candidate["path"])
    split, spec = split_of(candidate), models.load_model(candidate["model"])
    test = training.period_rows(frame, split, "test")
    found = ranking(settings, candidate)
    rows = found.rows
    plan = Plan(**candidate["plan"]) if "plan" in candidate else Plan(candidate["name"])
    names = []
    for number in range(1, REFITS + 1):
        options = FitOptions(settings.seed + number, settings.outage_share)
        again = training.refit(spec, plan, frame, split, options)
        names.append(f"refit_{number}")
        predicted = training.predict(again.estimator, test)
        scores = test[MERGED_RESULT].assign(
            **{
                score_column(names[-1]): predicted["score"],
                probability_column(names[-1]): predicted["probability"],
            }
        )
        rows = rows.merge(scores, on=MERGED_RESULT, how="left", validate="one_to_one")
    return StabilityEvidence(replace(found, rows=rows), tuple(names))


def consistency(settings: Settings, candidate: Mapping[str, Any]) -> ConsistencyEvidence:
    """Evidence of the consistency gate: scored again, loaded back, served, and changed by the rules."""
    split, spec = split_of(candidate), models.load_model(candidate["model"])
    test = training.period_rows(pd.read_parquet(candidate["path"]), split, "test")
    found = ranking(settings, candidate)
    version = ModelVersion(**candidate["version"])
    estimator = open_registry(settings).load(version)
    order = found.rows[MERGED_RESULT].merge(test, on=MERGED_RESULT, how="left", validate="one_to_one")
    first = training.predict(estimator, order)
    second = training.predict(estimator, order.iloc[::-1]).iloc[::-1]
    outcomes = {}
    for rule in spec.rules:
        changed = training.predict(estimator, rule.change(order))["score"].loc[order.index].to_numpy(np.float64)
        outcomes[rule.name] = RuleOutcome(rule.kind, first["score"].to_numpy(np.float64), changed)
    served = _served(settings, candidate, test)
    return ConsistencyEvidence(
        rows=found.rows,
        again=second["score"].to_numpy(np.float64),
        reloaded=first["score"].to_numpy(np.float64),
        served=served[MERGED_RESULT].assign(score=training.predict(estimator, served)["score"]),
        rules=outcomes,
        contract_violations=int((~np.isfinite(first.to_numpy(np.float64))).any(axis=1).sum()),
        budget=settings.selection_budget,
        has_champion=found.has_champion and not found.is_shared,
        objective=spec.objective,
    )


def _served(settings: Settings, candidate: Mapping[str, Any], test: pd.DataFrame) -> pd.DataFrame:
    """Rows of the newest judged runs, built as publishing builds them: project by project."""
    newest = test[["project", "run_id", "started_at"]].drop_duplicates("run_id").sort_values("started_at")
    newest, spec = newest.tail(SERVED_RUNS), models.load_model(candidate["model"])
    with open_warehouse(settings) as warehouse:
        snapshot = warehouse.snapshot(int(candidate["snapshot_id"]))
    as_of = datetime.fromisoformat(candidate["as_of"])
    if candidate["project"] != ALL_PROJECTS:
        (served,) = rows_to_score(settings, spec, snapshot, Queries.prediction(candidate["project"], newest, as_of))
        return served
    parts = []
    for project, runs in apart(newest):
        (rows,) = rows_to_score(settings, spec, snapshot, Queries.prediction(project, runs, as_of))
        parts.append(rows.assign(run_id=run_key(project, "") + rows["run_id"]))
    return pd.concat(parts, ignore_index=True)


def shared_rival(candidate: Mapping[str, Any]) -> ModelVersion | None:
    """The shared champion that a project's first own candidate is held against; None where there is none."""
    found = candidate.get("shared_champion")
    return ModelVersion(**found) if found else None


def split_of(candidate: Mapping[str, Any]) -> Split:
    """Periods of a candidate, from its reference."""
    return Split(**{name: _span(span) for name, span in candidate["split"].items()})


def _span(texts: list[str | None]) -> Interval:
    start, end = (datetime.fromisoformat(text) if text else None for text in texts)
    return Interval(start, end)
