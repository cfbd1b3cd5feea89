"""Measures of scored runs with their intervals."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml import metrics
from ml.metrics.catalogue import at_change_recall
from ml.spec import Measure, ModelSpec, Objective, Split
from ml.training.baselines import baseline_scores
from ml.training.fitting import predict
from ml.training.periods import Period, period_rows

RUN_RESAMPLES = 2_000
# Each of these goes through all rows again.
PROBABILITY_RESAMPLES = 200
EARLIER: Mapping[Period, tuple[Period, ...]] = {
    "validate": ("fit", "calibrate"),
    "test": ("fit", "calibrate", "validate"),
}


def outcomes(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """What measures look at: all but the features, of which a copy per order that is measured would fill the memory."""
    return rows.drop(columns=list(spec.features), errors="ignore")


def scored(spec: ModelSpec, estimator: Any, rows: pd.DataFrame) -> pd.DataFrame:
    """The outcomes of rows with score and probability."""
    return outcomes(spec, rows).join(predict(estimator, rows))


def primary_by_run(spec: ModelSpec, rows: pd.DataFrame) -> pd.Series:
    """`spec.primary_metric` of each run that counts, in time order; rows as for `evaluate`."""
    measure, view = spec.primary_metric.rsplit("_", 1)
    table = metrics.measures_by_run(spec.objective, rows, metrics.Columns(), _view(view))
    values: pd.Series = table[measure].astype(np.float64)
    return values


def period_block(spec: ModelSpec, frame: pd.DataFrame, split: Split, period: Period) -> int:
    """Block length for intervals over a period's runs, from the best baseline's measures on the periods before it.

    Baselines learn nothing from the fit period, so their figures there are as good as later ones.
    """
    rows = pd.concat([period_rows(frame, split, name) for name in EARLIER[period]])
    scores, told = baseline_scores(spec, frame, split, rows), outcomes(spec, rows)
    del rows
    series = [primary_by_run(spec, told.join(one)) for one in scores.values()]
    best = max(series, key=lambda values: values.mean() if len(values) else 0.0)
    # Weak dependence adds up over many lags of which none stands out (ozone: 0.05 to 0.1 up to lag 8), so the
    # length is never below the usual rate of n^(1/3).
    return max(metrics.block_length(best), math.ceil(math.cbrt(len(best))), 1)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """How to measure: what the model is for, the block length in runs (`period_block`), and where its decisions lie.

    threshold: probability (0..1) from which a row counts as failing, chosen on earlier data; NaN leaves F1 out.
    budget: share (0..1) of tests, or of duration, that a selection may run.
    """

    objective: Objective
    block: int
    threshold: float = np.nan
    budget: float = 0.3


def evaluate(rows: pd.DataFrame, prefix: str, yardstick: Yardstick) -> dict[str, Measure]:
    """All measures of a period, with moving-block bootstrap intervals over its runs.

    Args:
        rows: rows of the period: run_id, started_at, failed, previous_failed, duration_s, score and, unless it is
            a baseline of a ranking, probability; `score_by_cost` (see `cost.by_cost`) where a cost is known; what the
            other views of a ranking need (`metrics.of_view`) where it is known.
        prefix: period name that leads the measure's name.
        yardstick: how to measure.

    Returns:
        For each view that the rows allow: `<prefix>.<measure>_<view>` for the measures of a run (0..1),
        `<prefix>.runs_<view>_count` (runs that count), and for a ranking `<prefix>.apfdc_by_cost_<view>` (0..1, APFDc
        of the cost-aware order) and the operating points (`metrics.catalogue.at_change_recall`). With probabilities
        `<prefix>.auc`, `.pr_auc`, `.brier`, `.ece`, `.f1` (0..1).
    """
    if "probability" in rows and not np.isnan(yardstick.threshold):
        rows = rows.assign(chosen=rows["probability"] >= yardstick.threshold)
    found: dict[str, Measure] = {}
    for view in metrics.views_of(yardstick.objective, rows):
        found |= _of_view(rows, view, yardstick)
    if "probability" in rows and len(rows):
        found |= _probabilities(rows, yardstick.block, yardstick.threshold)
    return {f"{prefix}.{name}": measure for name, measure in found.items()}


def _of_view(rows: pd.DataFrame, view: metrics.View, yardstick: Yardstick) -> dict[str, Measure]:
    table = metrics.measures_by_run(yardstick.objective, rows, metrics.Columns(), view, yardstick.budget)
    found = {f"runs_{view}_count": Measure(float(len(table)), np.nan, np.nan)}
    if len(table) == 0:
        return found
    block = min(yardstick.block, len(table))
    resamples = metrics.block_resamples(len(table), block, RUN_RESAMPLES, seed=len(table))
    found |= {
        f"{name}_{view}": metrics.interval(table[name].to_numpy(np.float64), resamples)
        for name in metrics.MEASURES[yardstick.objective]
        if table[name].notna().any()
    }
    if "score_by_cost" in rows:
        by_cost = metrics.ranking_by_run(rows, "score_by_cost", view, yardstick.budget)["apfdc"]
        found[f"apfdc_by_cost_{view}"] = metrics.interval(by_cost.to_numpy(np.float64), resamples)
    if yardstick.objective is Objective.RANKING:
        found |= _operating_points(rows, view, block)
    return found


def _operating_points(rows: pd.DataFrame, view: metrics.View, block: int) -> dict[str, Measure]:
    found = {}
    for point in metrics.operating_points(rows, "score", view, block):
        found[f"{at_change_recall('tests', point.target)}_{view}"] = point.tests
        if not np.isnan(point.duration.value):
            found[f"{at_change_recall('duration', point.target)}_{view}"] = point.duration
            found[f"{at_change_recall('saved', point.target)}_{view}_min"] = point.saved_min
    return found


def _probabilities(rows: pd.DataFrame, block: int, threshold: float) -> dict[str, Measure]:
    ordered = rows.sort_values(["started_at", "run_id"], kind="stable")
    failed, probability = ordered["failed"].to_numpy(np.float64), ordered["probability"].to_numpy(np.float64)
    run = pd.factorize(ordered["run_id"])[0]
    count = int(run.max()) + 1
    resamples = metrics.block_resamples(count, min(block, count), PROBABILITY_RESAMPLES, seed=count)
    stands_for = metrics.weights_of(ordered)
    weights = [np.bincount(drawn, minlength=count)[run] * stands_for for drawn in resamples]
    sample = metrics.Sample(failed, probability)
    measures: dict[str, Callable[..., float]] = {
        "auc": sample.auc,
        "pr_auc": sample.pr_auc,
        "brier": sample.brier,
        "ece": sample.ece,
    }
    if not np.isnan(threshold):
        measures["f1"] = lambda weight=None: metrics.f1(failed, probability, threshold, weight)
    found = {}
    for name, measure in measures.items():
        spread = [measure(weight) for weight in weights]
        low, high = np.nanquantile(spread, [0.025, 0.975]) if not np.isnan(spread).all() else (np.nan, np.nan)
        found[name] = Measure(measure(stands_for), float(low), float(high))
    return found


def _view(name: str) -> metrics.View:
    return "new" if name == "new" else "all"
