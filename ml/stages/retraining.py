"""Retraining: fit and log the candidates, judge the chosen one by four gates, promote it or say why not."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ml import gates, models, training
from ml.errors import ArtifactRefused, NotEnoughData, WarehouseError
from ml.gates.evidence import (
    ANCHOR,
    CANDIDATE,
    CHAMPION,
    SLICE,
    TEST_AGE_DAYS,
    columns_of,
    probability_column,
    score_column,
)
from ml.gates.report import gate_report
from ml.gates.statistical import compare, route
from ml.gates.thresholds import load_thresholds
from ml.registry import Registry
from ml.settings import GATES, Settings
from ml.spec import (
    FAILED_BEFORE,
    FAILURE_STATE,
    WEIGHT,
    ModelSpec,
    ModelVersion,
    Objective,
    Split,
    Status,
    TrainingRecord,
    Verdict,
)
from ml.stages import evidence
from ml.stages.all_projects import words_of
from ml.stages.describing import describe
from ml.stages.opening import (
    alone_if_large,
    candidate_folder,
    folder_of,
    head,
    key_of,
    now,
    open_registry,
    open_warehouse,
    replacing,
    report_url,
    serving_champion,
    without_nan,
    write_json,
)
from ml.stages.preparation import code_version, feature_set
from ml.stages.recipe import Recipe, choices, data_set, digest_of, libraries, split_texts
from ml.training import FitOptions, Fitted, Tuned
from ml.warehouse import Champion, Judgement, Promotion, Rollback, Route, Warehouse

log = logging.getLogger(__name__)

KEPT = ("project", "run_id", "variant", "test_id", "started_at", "known_at", "failed", "previous_failed", "duration_s")
EXAMPLE_ROWS = 5
DAY_S = 86_400


def train(settings: Settings, frame: Mapping[str, Any], dag_run: str = "") -> dict[str, Any]:
    """Fit the candidates, choose one on the validation period, log all of it and score the later test period.

    Args:
        settings: seed, threads, shares.
        frame: reference, as `preparation.features` returns it.
        dag_run: address of the run that asked for it; kept with the model.

    Returns:
        reference of the candidate; `version` is None where there is too little history, and `reason` says so.
    """
    with alone_if_large(settings, frame["rows"]):
        return _train(settings, frame, dag_run)


def _train(settings: Settings, frame: Mapping[str, Any], dag_run: str) -> dict[str, Any]:
    spec = models.load_model(str(frame["model"]))
    rows = pd.read_parquet(frame["path"])
    with open_warehouse(settings) as warehouse:
        champion = serving_champion(settings, warehouse, spec.name, frame["project"])
        used = warehouse.used_periods(spec.name, frame["project"])
        is_shared = champion is not None and champion.version.project != frame["project"]
        learned = warehouse.judged_period(champion.version).start if champion and is_shared else None
    try:
        needed = load_thresholds(settings.gates_file, spec.name).statistical.min_failing_runs
        period = training.fresh_period(training.runs_of(rows), used, settings.test_share, needed, learned)
        split = training.split_by_time(training.runs_of(rows), period)
        options = FitOptions(settings.seed, settings.outage_share, trials=settings.tuning_trials)
        tuned = training.tune(spec, rows, split, options, log.info)
        options = replace(options, parameters={name: one.parameters for name, one in tuned.items()})
        fitted = [_with_trials(one, tuned) for one in training.fit_candidates(spec, rows, split, options)]
        chosen = training.with_threshold(spec, training.choose(spec, fitted, rows, split, options), rows, split)
    except NotEnoughData as reason:
        return {**frame, "version": None, "reason": str(reason), "report_url": ""}
    recipe = _recipe(settings, frame, (chosen, rows, split))
    record = _record(settings, spec, frame, _Fit(fitted, chosen, rows, recipe), dag_run)
    registry = open_registry(settings)
    example = _example(chosen.estimator, rows)
    version = registry.log_training(record, chosen.estimator, example, chosen.estimator.predict_proba(example))
    folder = candidate_folder(settings, version)
    scored = _scored(registry, spec, champion, chosen, (rows, split))
    with replacing(folder / "scored.parquet") as scratch:
        scored.to_parquet(scratch, index=False)
    candidate = {
        **frame,
        "version": asdict(version),
        "name": chosen.name,
        "plan": asdict(chosen.plan),
        "split": split_texts(split),
        "champion_version": champion.version.version if champion and not is_shared else None,
        "champion_as_of": champion.as_of.isoformat() if champion and not is_shared else None,
        "shared_champion": asdict(champion.version) if champion and is_shared else None,
        "folder": str(folder),
        "report_url": registry.run_url(version.mlflow_run_id),
    }
    write_json(folder / "candidate.json", candidate)
    describe(settings, version)
    return candidate


def _with_trials(one: Fitted, tuned: Mapping[str, Tuned]) -> Fitted:
    return replace(one, params=one.params | tuned[one.name].params()) if one.name in tuned else one


def judge(settings: Settings, gate: str, candidate: Mapping[str, Any]) -> dict[str, Any]:
    """Hold a candidate against one gate; the verdict is kept beside the candidate."""
    thresholds = load_thresholds(settings.gates_file, str(candidate["model"]))
    with alone_if_large(settings, candidate["rows"]):
        found = evidence.gather(settings, gate, candidate)
    verdict: dict[str, Any] = without_nan(gates.judge(gate, found, thresholds).to_dict())
    write_json(Path(candidate["folder"]) / f"verdict_{gate}.json", verdict)
    return verdict


def promote(
    settings: Settings, candidate: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]], actor: str = "fourgate"
) -> dict[str, Any]:
    """Store the verdicts everywhere people look, and make the candidate champion if all four passed.

    Returns:
        promoted, reason, version, route and the address of the gate report.
    """
    version = ModelVersion(**candidate["version"])
    judged = [Verdict.from_dict(verdict) for verdict in verdicts]
    thresholds = load_thresholds(settings.gates_file, version.model)
    split = evidence.split_of(candidate)
    as_of = datetime.fromisoformat(candidate["as_of"])
    registry = open_registry(settings)
    html = _report(settings, candidate, judged)
    report = folder_of(settings, "reports", "gates") / f"{key_of(version.model, version.project, version.version)}.html"
    with replacing(report) as scratch:
        scratch.write_text(html, encoding="utf-8")
    registry.log_verdicts(version, judged, html)
    gate_report_uri = f"runs:/{version.mlflow_run_id}/gate_report.html"
    won = route(next(verdict for verdict in judged if verdict.gate == "statistical"))
    with open_warehouse(settings) as warehouse:
        judgement = Judgement(version, judged, thresholds.version, split.test, int(candidate["snapshot_id"]), as_of)
        warehouse.record_verdicts(judgement)
        passed = [verdict.gate for verdict in judged if verdict.status is Status.PASS]
        promoted = sorted(passed) == sorted(GATES) and won != gates.Route.NONE
        if promoted:
            request = Promotion(version, Route(won), gate_report_uri, as_of, actor, candidate["champion_version"])
            warehouse.promote(request)
            project_champion(warehouse, registry, version.model, version.project)
    describe(settings, version)
    return {
        "promoted": promoted,
        "reason": "all four gates passed" if promoted else _why_not(judged),
        "version": version.version,
        "project": version.project,
        "route": won,
        "report_url": report_url(settings, f"gates/{report.name}"),
    }


def rollback(
    settings: Settings, leaving: Mapping[str, Any], as_of: datetime | None, actor: str, reason: str
) -> dict[str, Any]:
    """Make the previous champion champion again, unless `leaving` went already: a repeat undoes nothing.

    Args:
        settings: warehouse and registry.
        leaving: the champion that is to go, as `serving.champion_of` gave it; with a `request_id`, this is done once
            for it, also when all of the request is repeated.
        as_of: moment taken as now.
        actor: who asks for it; kept in the audit log, as is `reason`.
        reason: why.

    Raises:
        WarehouseError: another version became champion meanwhile, or there is none before it.
    """
    model, project, version = leaving["model"], leaving["project"], leaving["version"]
    with open_warehouse(settings) as warehouse:
        champion = warehouse.champion(model, project)
        if champion is None or champion.version.version == version:
            moment = now(settings, head(warehouse), project, as_of)
            warehouse.rollback(Rollback(model, project, moment, actor, reason, leaving.get("request_id", "")))
        elif champion.previous is None or champion.previous.version != version:
            serving = champion.version.version
            raise WarehouseError(
                f"version {version} of {model} {project} was to be rolled back, but {serving} serves now"
            )
        champion = project_champion(warehouse, open_registry(settings), model, project)
    return {
        "model": model,
        "project": project,
        "champion": champion.version.version,
        "previous": champion.previous.version if champion.previous else None,
    }


def project_champion(warehouse: Warehouse, registry: Registry, model: str, project: str) -> Champion:
    """Point MLflow's aliases at what the champion's row says, whoever changed it meanwhile.

    Raises:
        WarehouseError: there is no champion.
    """
    with warehouse.projection_lock(model, project) as champion:
        if champion is None:
            raise WarehouseError(f"{model} {project} has no champion whose aliases could be set")
        registry.project_champion(champion.version, champion.previous)
    return champion


def newest_candidate(settings: Settings, model: str, project: str) -> dict[str, Any]:
    """Reference of the candidate trained last.

    Raises:
        NotEnoughData: none was trained here.
    """
    found = []
    for path in (settings.home.absolute() / "candidates").glob("*/candidate.json"):
        candidate = json.loads(path.read_text())
        if candidate["model"] == model and candidate["project"] == project:
            found.append(candidate)
    if not found:
        raise NotEnoughData(f"no candidate of {model} for {project} was trained here; `fourgate train` makes one")
    return max(found, key=lambda candidate: int(candidate["version"]["version"]))


def _example(estimator: Any, rows: pd.DataFrame) -> pd.DataFrame:
    """Input example of a model: what it was fitted on; a feature that was never known until then is not part of it."""
    return rows.reindex(columns=estimator.feature_names_in_).head(EXAMPLE_ROWS)


@dataclass(frozen=True, slots=True)
class _Fit:
    """What came of a fit on the rows of a frame."""

    fitted: list[Fitted]
    chosen: Fitted
    rows: pd.DataFrame
    recipe: Recipe


def _record(settings: Settings, spec: ModelSpec, frame: Mapping[str, Any], fit: _Fit, dag_run: str) -> TrainingRecord:
    recipe, chosen, split = fit.recipe, fit.chosen, evidence.split_of({"split": fit.recipe.split})
    key = key_of(spec.name, frame["project"], frame["path"], split, recipe.choices, recipe.code)
    params = {
        **recipe.choices,
        "snapshot_id": frame["snapshot_id"],
        "rows_count": frame["rows"],
        "runs_count": frame["runs"],
        "features_count": len(spec.features),
        **{f"period.{name}": " .. ".join(map(str, span)) for name, span in recipe.split.items()},
    }
    tags = {
        "key": key,
        "snapshot": str(frame["snapshot_id"]),
        "feature_set": feature_set(spec),
        "git_commit": recipe.code,
        "as_of": str(frame["as_of"]),
        "dag_run": dag_run,
    }
    contestants = [*(one for one in fit.fitted if one is not chosen), chosen]
    records = training.records(spec, contestants, fit.rows, split, settings.selection_budget)
    # the chosen one and the baselines are reported on the test period as well; the others never see it
    judged = training.judged_measures(spec, chosen, fit.rows, split, settings.selection_budget)
    drawn = {chosen.name: {"importance.png": training.importance_figure(spec, chosen, fit.rows, split)}}
    candidates = tuple(
        replace(
            one,
            metrics={**one.metrics, **judged.get(one.name, {})},
            figures={**one.figures, **drawn.get(one.name, {})},
        )
        for one in records
    )
    as_of = datetime.fromisoformat(frame["as_of"])
    return TrainingRecord(
        spec.name,
        frame["project"],
        as_of,
        params,
        tags,
        candidates,
        chosen.name,
        data_set(recipe, fit.rows),
        recipe.to_dict(),
    )


def _recipe(settings: Settings, frame: Mapping[str, Any], fit: tuple[Fitted, pd.DataFrame, Split]) -> Recipe:
    chosen, rows, split = fit
    with open_warehouse(settings) as warehouse:
        snapshot = warehouse.snapshot(int(frame["snapshot_id"]))
    return Recipe(
        model=frame["model"],
        project=frame["project"],
        candidate=chosen.name,
        snapshot_id=snapshot.snapshot_id,
        versions=snapshot.versions,
        as_of=frame["as_of"],
        digest=digest_of(rows),
        choices=choices(settings),
        split=split_texts(split),
        code=code_version(),
        libraries=libraries(),
        plan=asdict(chosen.plan),
    )


def _scored(
    registry: Registry,
    spec: ModelSpec,
    champion: Champion | None,
    chosen: Fitted,
    data: tuple[pd.DataFrame, Split],
) -> pd.DataFrame:
    """Rows of the validation and test periods with the scores of all contestants."""
    frame, split = data
    rows = pd.concat([training.period_rows(frame, split, "validate"), training.period_rows(frame, split, "test")])
    kept = [*KEPT, *(name for name in (FAILED_BEFORE, FAILURE_STATE, WEIGHT) if name in rows)]
    out = rows[kept].assign(**{f"{SLICE}{name}": label(rows) for name, label in spec.slices.items()})
    if "age_s" in rows:
        out[TEST_AGE_DAYS] = rows["age_s"] / DAY_S
    estimators = {CANDIDATE: chosen.estimator}
    if champion is not None:
        estimators[CHAMPION] = registry.load(champion.version)
        with suppress(ArtifactRefused):  # without its anchor a refresh is refused by the gate, a better model is not
            estimators[ANCHOR] = registry.load(champion.anchor)
    for name, estimator in estimators.items():
        predicted = training.predict(estimator, rows)
        out[score_column(name)] = predicted["score"]
        out[probability_column(name)] = predicted["probability"]
        if spec.objective is Objective.PROBABILITY:
            out[columns_of(name).chosen] = predicted["probability"] >= training.decision_threshold(estimator)
    for name, scores in training.baseline_scores(spec, frame, split, rows).items():
        for column, values in scores.items():
            out[f"{column}:{name}"] = values
    return out


def _report(settings: Settings, candidate: Mapping[str, Any], verdicts: list[Verdict]) -> str:
    thresholds = load_thresholds(settings.gates_file, str(candidate["model"]))
    ranking = evidence.ranking(settings, candidate)
    facts = {
        "model": str(candidate["model"]),
        "project": words_of(str(candidate["project"])),
        "version": f"{candidate['version']['version']} ({candidate['name']})",
        "champion": str(candidate["champion_version"] or _shared_words(candidate)),
        "snapshot": str(candidate["snapshot_id"]),
        "as of": str(candidate["as_of"]),
        "thresholds": thresholds.version,
    }
    limits, period = thresholds.statistical, evidence.split_of(candidate).test
    return gate_report(verdicts, facts, period, compare(ranking, limits), gates.selections(ranking, limits))


def _shared_words(candidate: Mapping[str, Any]) -> str:
    shared = evidence.shared_rival(candidate)
    return f"none of its own; the shared model, version {shared.version}" if shared else "none yet"


def _why_not(verdicts: Sequence[Verdict]) -> str:
    told = []
    for verdict in verdicts:
        if verdict.status is not Status.PASS:
            failed = [
                f"{check.name} ({check.detail or check.measured})" for check in verdict.checks if not check.passed
            ]
            told.append(f"{verdict.gate}: {verdict.status}: {', '.join(failed)}")
    return "; ".join(told)
