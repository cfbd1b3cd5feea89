"""Order of tests on real histories: the shipped `test_selection` against its baselines and the optimum.

Run: ``python -m experiments.test_selection <history folder> ...``

Protocol: runs by time; the last 40 % are judged once, every run of them, in four parts. Before each part a model is
chosen, fitted and calibrated on the runs before it, as the pipeline does every night (which draws runs from a long
history); the one of the first part is judged on all parts too. Attempts are merged, skipped results left out. A run
counts with at least six results, one failure, and at most half failing. Features of a run look at what was known when
it started, so they go on learning in the judged period, as baselines do.

The best baseline is the best one on the judged runs, in hindsight: a harder rival than anyone could have picked.
"""

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.behind import behind
from experiments.hindsight import Evidence, learned_in_hindsight
from experiments.histories import opened, with_results_on_disk
from experiments.misses import by_kind, by_run, missed
from experiments.rows import RESULTS, Row, block_within, figures, libraries, number, write
from experiments.selection_points import CURVE_SHARES, selection_points
from ml import labels, metrics, training
from ml.engine import Engine
from ml.errors import NotEnoughData
from ml.features import Context, Queries, build, build_pieces
from ml.models import load_model
from ml.models.test_selection import add_labels
from ml.settings import Settings
from ml.spec import (
    END,
    MERGED_RESULT,
    Interval,
    Measure,
    ModelSpec,
    Split,
)
from ml.training import FitOptions, Fitted
from ml.training.evaluation import primary_by_run, scored

EXPERIMENT = "test_selection"
LEARNED_SHARE = 0.6
PARTS = 4
LEARNED_ROWS: int = Settings.model_fields["max_frame_rows"].default
PIECE_ROWS = 500_000  # of the judged runs at a time: 0.4 GB, and as much again while they are scored
OPTIONS = FitOptions(seed=1)
VIEWS: tuple[metrics.View, ...] = ("all", "new")
MEASURES = ("apfd", "apfdc", "napfd_time")
HINDSIGHT = datetime(2100, 1, 1, tzinfo=UTC)  # labels tell misses apart; no order sees them
TIME_BUDGET = 0.5  # of napfd_time, as peers report it
RESAMPLES = 2_000
OPTIMAL, RANDOM = "optimal", "random"
MODEL, ONCE = "model", "model_learned_once"
BY_COST, ONCE_BY_COST = (f"{name}_by_cost" for name in (MODEL, ONCE))
MODELS = (MODEL, BY_COST, ONCE, ONCE_BY_COST)
TOLD = "learned_in_hindsight"  # new failures only
LIMITS = (TOLD, OPTIMAL)
KEPT = ["run_id", "variant", "test_id", "started_at", "failed", "previous_failed", "duration_s"]
MEASURED = KEPT[:1] + KEPT[3:]
KEPT += ["executions_count", "failures_count", "executions_since_failure_count"]


@dataclass(frozen=True)
class Learned:
    """What was chosen on the first part of the runs; `model` is None where `refused` says why there is none."""

    model: Fitted | None
    validation: Mapping[str, float | None]
    refused: str = ""


def judged_period(runs: pd.DataFrame) -> Interval:
    """The last 40 % of all runs by time, those without results too."""
    return Interval(_start(runs, LEARNED_SHARE), None)


def judged_parts(runs: pd.DataFrame) -> list[Interval]:
    """The judged period in parts of as many runs; a model learns again before each."""
    shares = [LEARNED_SHARE + (1 - LEARNED_SHARE) * part / PARTS for part in range(PARTS)]
    starts = sorted({_start(runs, share) for share in shares})
    return [Interval(*span) for span in pairwise([*starts, None])]


def _start(runs: pd.DataFrame, share: float) -> datetime:
    ordered = runs.drop_duplicates("run_id").sort_values(["started_at", "run_id"], ignore_index=True)
    moment: datetime = ordered["started_at"].iloc[math.ceil(share * len(ordered))].to_pydatetime()
    return moment


def learn(spec: ModelSpec, frame: pd.DataFrame, period: Interval) -> Learned:
    """Fit every candidate and choose one, as the pipeline does, before the judged period."""
    try:
        split = training.split_by_time(training.runs_of(frame), period)
        fitted = training.fit_candidates(spec, frame, split, OPTIONS, lambda name: print(f"  fits {name}", flush=True))
        chosen = training.choose(spec, fitted, frame, split, OPTIONS)
    except NotEnoughData as reason:
        return Learned(None, {}, str(reason))
    rows = training.period_rows(frame, split, "validate")
    found = {one.name: primary_by_run(spec, scored(spec, one.estimator, rows)).mean() for one in (*fitted, chosen)}
    found |= {
        name: primary_by_run(spec, rows.join(scores)).mean()
        for name, scores in training.baseline_scores(spec, frame, split, rows).items()
    }
    return Learned(chosen, {name: number(value) for name, value in found.items()})


def ranked(spec: ModelSpec, rows: pd.DataFrame, models: Mapping[str, Fitted | None]) -> pd.DataFrame:
    """Outcomes, and a column of scores per method: baselines, the optimum, and the models, which may be lacking."""
    scores: dict[str, Any] = {name: rank(rows) for name, rank in spec.baselines.items()}
    # No score at all is every order at once: the expectation, not one draw.
    scores |= {RANDOM: 0.0, "failures_count": rows["failures_count"], OPTIMAL: _optimal(rows)}
    for name, model in models.items():
        if model is not None:
            scores[name] = training.predict(model.estimator, rows)["score"]
            scores[f"{name}_by_cost"] = training.by_cost(spec, model.estimator, rows)["score_by_cost"]
    renamed = {"failures_count": "failure_count"}
    return rows[KEPT].assign(**{renamed.get(name, name): values for name, values in scores.items()})


def _optimal(rows: pd.DataFrame) -> pd.Series:
    """Failing tests first, the quickest of them ahead: no order has a higher APFD or APFDc."""
    costs = rows["duration_s"].fillna(rows["duration_s"].median()).fillna(1.0).clip(lower=0)
    return (1 / (1 + costs)).where(rows["failed"].astype(bool), -1.0)


def methods_of(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Names of baselines, and of the orders of models."""
    names = [str(name) for name in table if name not in KEPT]
    models = [name for name in names if name in MODELS]
    return [name for name in names if name not in (*models, *LIMITS)], models


def earlier_block(spec: ModelSpec, frame: pd.DataFrame, period: Interval) -> int:
    """Block length of the bootstrap, from the best baseline on all runs before the judged ones."""
    nothing = Interval(period.start, period.start)
    split = Split(Interval(None, period.start), nothing, nothing, period)
    return training.period_block(spec, frame, split, "test")


def compare(table: pd.DataFrame, view: metrics.View, block: int) -> Iterator[Row]:
    """Rows of one view: each method, and for the model its lead over the best baseline and the gap it closes."""
    baselines, models = methods_of(table)
    models += [TOLD] if TOLD in table and view == "new" else []
    by_order = {
        name: metrics.ranking_by_run(table[[*MEASURED, name]], name, view, TIME_BUDGET)
        for name in (*baselines, *models, OPTIMAL)
    }
    count = len(by_order[OPTIMAL])
    if count == 0:
        return
    resamples = metrics.block_resamples(count, block_within(block, count), RESAMPLES, seed=count)
    for measure in MEASURES:
        values = {name: found[measure].to_numpy(np.float64) for name, found in by_order.items()}
        about = {"measure": f"{measure}_{view}", "runs": count}
        for name, series in values.items():
            yield {"method": name, **about, **figures(metrics.interval(series, resamples), count)}
        best = max(baselines, key=lambda name, found=values: float(np.nanmean(found[name])))
        for name in models:
            against = {"method": name, "runs": count, "against": best}
            lead = metrics.interval(values[name] - values[best], resamples)
            yield {**against, "measure": f"{measure}_{view}_lead", **figures(lead, count)}
            closed = gap_closed(values[name], values[best], values[OPTIMAL], resamples)
            yield {**against, "measure": f"{measure}_{view}_gap_closed", **figures(closed, count)}


def gap_closed(ours: metrics.Floats, best: metrics.Floats, optimal: metrics.Floats, resamples: metrics.Ints) -> Measure:
    """Share of the way from the best baseline to the optimum, of the means; below 0 behind it."""
    led, gap = ours - best, optimal - best
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = led[resamples].mean(axis=1) / gap[resamples].mean(axis=1)
        value = led.mean() / gap.mean()
    known = spread[np.isfinite(spread)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (math.nan, math.nan)
    return Measure(float(value), float(low), float(high))


def measure(
    spec: ModelSpec, name: str, tables: Mapping[str, pd.DataFrame | Path], looks: int = 1, max_rows: int = LEARNED_ROWS
) -> dict[str, Any]:
    """All that is reported of one history.

    Args:
        spec: the model.
        name: of the set.
        tables: runs (a frame), test_results, changed_files; as `opened` takes them.
        looks: how often the last 40 % were judged by this experiment, this time included.
        max_rows: of the frame that is learned from.

    Returns:
        about (of the set), rows, curves, and if there is a model misses (by kind), missed_runs, and where a baseline is
        ahead in the mean, behind and behind_runs; ready for JSON.
    """
    runs = tables["runs"]
    if isinstance(runs, Path):
        raise TypeError("the runs are asked for as a frame: periods are made of them")
    project, parts = str(runs["project"].iloc[0]), judged_parts(runs)
    period = judged_period(runs)
    with opened(tables) as engine:
        counts = _counts(engine)
        print(f"{name}: {counts['results']} merged results of {counts['runs']} runs", flush=True)
        states = labels.label(engine, project, HINDSIGHT)[[*MERGED_RESULT, "state"]]
    with opened(tables) as engine:
        told = [labels.states(engine, project, part.start or END) for part in parts]
        frame = build(engine, Queries.training(project, max_rows=max_rows), Context())
    learned = []
    for part, known in zip(parts, told, strict=True):
        print(f"{name}: learns from what is before {part.start:%Y-%m-%d}", flush=True)
        add_labels(frame, known)
        learned.append(learn(spec, frame, Interval(part.start, None)))
    block = earlier_block(spec, frame, period)
    counts["has_change_rate"] = number(float(np.average(frame["has_change"], weights=metrics.weights_of(frame))))
    del frame  # not beside the judged rows
    with opened(tables) as engine:
        asked = Queries.training(project, Interval(period.start, None))
        pieces = build_pieces(engine, asked, Context(), PIECE_ROWS)
        table, evidence = _judged_and_evidence(spec, pieces, parts, learned)
    told_all = learned_in_hindsight(table, evidence)
    if told_all is not None:
        table[TOLD] = told_all
    del evidence  # its features would lie beside the measures' copies
    labelled = table.assign(state=_states(table, states))
    shared = {"experiment": EXPERIMENT, "set": name, "project": project}
    found = [{**shared, **row} for view in VIEWS for row in compare(table, view, block)]
    best = {row["measure"]: row for row in found if row["method"] == MODEL and "against" in row}
    rival = best["apfd_new_lead"]["against"] if "apfd_new_lead" in best else "failure_rate_with_decay"
    shown = [name for name in (MODEL, BY_COST, rival, RANDOM) if name in table]
    found += [{**shared, **row} for view in VIEWS for row in selection_points(table, shown, view, block)]
    led = [behind(labelled, *of) for of in _led(found)]
    late = missed(labelled, MODEL, rival, OPTIMAL) if MODEL in table else labelled.iloc[:0]
    return {
        "about": _about(shared | counts, table, learned) | {"block": block, "looks": looks, "rival": rival},
        "rows": found,
        "curves": [curve for name in shown if name != BY_COST for curve in _curve(table, name)],
        "misses": list(by_kind(late)),
        "missed_runs": list(by_run(late)),
        "behind": [summary for summary, _ in led],
        "behind_runs": [run for _, runs in led for run in runs],
    }


def _led(rows: Iterable[Row]) -> Iterator[tuple[str, str, str]]:
    """Measure, order of the model, and baseline, wherever the baseline is ahead."""
    served = {"apfd": MODEL, "apfdc": BY_COST}
    for row in rows:
        measured, _, what = row["measure"].rpartition("_")
        if what == "lead" and row["method"] == served.get(measured.partition("_")[0]) and row["value"] < 0:
            yield measured, row["method"], row["against"]


def judged(spec: ModelSpec, rows: pd.DataFrame, parts: list[Interval], learned: list[Learned]) -> pd.DataFrame:
    """`ranked` rows, each by the model of its part; a model goes on serving where there is none to follow it."""
    found, model = [], learned[0].model
    for part, new in zip(parts, learned, strict=True):
        # without a first one the set counts as one without a model
        model = new.model if model and new.model else model
        started = rows["started_at"]
        inside = (started >= part.start) & (part.end is None or started < part.end)
        if inside.any():
            found.append(ranked(spec, rows.loc[inside], {MODEL: model, ONCE: learned[0].model}))
    return pd.concat(found).reindex(rows.index)


def _judged_and_evidence(
    spec: ModelSpec, pieces: Iterable[pd.DataFrame], parts: list[Interval], learned: list[Learned]
) -> tuple[pd.DataFrame, Evidence]:
    found, evidence = [], Evidence(spec.features)
    for rows in pieces:
        found.append(judged(spec, rows, parts, learned))
        evidence.add(rows)
    return pd.concat(found, ignore_index=True), evidence


def _states(table: pd.DataFrame, labels: pd.DataFrame) -> pd.Series:
    """Label of each failure; null where a result passed."""
    failures = table.loc[table["failed"].to_numpy(bool), MERGED_RESULT]
    told = failures.merge(labels, on=MERGED_RESULT, how="left", validate="one_to_one")["state"]
    return told.set_axis(failures.index).reindex(table.index)


def _curve(table: pd.DataFrame, name: str) -> Iterator[Row]:
    points = metrics.selection_curve(table, name, CURVE_SHARES, "new").round(4)
    yield {"method": name, "view": "new", **{str(column): points[column].tolist() for column in points}}


def _counts(engine: Engine) -> Row:
    """Runs with results, merged results and failures of the whole history."""
    found = engine.fetch(
        """
        SELECT COUNT(DISTINCT run_id) AS runs, COUNT(*) AS results, SUM(failed) AS failures
        FROM (SELECT run_id, MAX(CASE WHEN outcome IN ('failed', 'error') THEN 1 ELSE 0 END) AS failed
              FROM test_results WHERE outcome <> 'skipped' GROUP BY run_id, variant, test_id)
        """
    )
    return {str(name): int(found[name].iloc[0]) for name in found}


def _about(shared: Row, table: pd.DataFrame, learned: list[Learned]) -> Row:
    models = [one.model for one in learned]
    return shared | {
        "judged_runs": int(table["run_id"].nunique()),
        "chosen": [model.name if model else None for model in models] if models[0] else [],
        "refused": learned[0].refused,
        "fit_rows": [model.params["fit_rows"] if model else 0 for model in models],
        "validation": learned[0].validation,
        "seed": OPTIONS.seed,
        "libraries": libraries(),
    }


def results_file(name: str, folder: Path = RESULTS) -> Path:
    """Where the results of one set lie."""
    return folder / f"{EXPERIMENT}_{name}.json"


def judge(folder: Path, results: Path = RESULTS) -> dict[str, Any]:
    """Measure the history in a folder and write what was found, with one look more than before."""
    path = results_file(folder.name, results)
    looks = json.loads(path.read_text(encoding="utf-8"))["about"]["looks"] if path.exists() else 0
    found = measure(load_model(EXPERIMENT), folder.name, with_results_on_disk(folder), looks + 1)
    write(path, found)
    _tell(found)
    return found


def _tell(found: Mapping[str, Any]) -> None:
    for measured in ("apfd_all", "apfdc_all", "apfd_new", "apfdc_new"):
        values = {row["method"]: row["value"] for row in found["rows"] if row["measure"] == measured}
        print(f"  {measured}:", ", ".join(f"{name} {value}" for name, value in values.items()), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge the given histories, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="history folders of Parquet tables")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    given = parser.parse_args(arguments)
    for folder in given.folders:
        judge(folder, given.results)


if __name__ == "__main__":
    main()
