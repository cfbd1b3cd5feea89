"""Measures of scored runs with their intervals, and the choice of the candidate."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ml import metrics
from ml.errors import NotEnoughData
from ml.spec import Measure, ModelSpec, Split
from ml.training.fitting import Fitted, predict
from ml.training.periods import Period, period_rows

RANKED = tuple(name for name in metrics.RANKING_COLUMNS[4:])
VIEWS: tuple[metrics.View, ...] = ("all", "new")
RANKING_RESAMPLES = 2_000
# Each of these goes through all rows again.
PROBABILITY_RESAMPLES = 200
COST_EXPONENT = 0.75
MIN_COST_S = 0.1
EARLIER: Mapping[Period, tuple[Period, ...]] = {
    "validate": ("fit", "calibrate"),
    "test": ("fit", "calibrate", "validate"),
}


def choose(spec: ModelSpec, fitted: list[Fitted], frame: pd.DataFrame, split: Split) -> Fitted:
    """The candidate with the best `spec.primary_metric` on the validate period; the first one of equals.

    Raises:
        NotEnoughData: no run of the validate period can be ranked.
    """
    rows = period_rows(frame, split, "validate")
    measure, view = spec.primary_metric.rsplit("_", 1)
    values = []
    for one in fitted:
        ranked = metrics.ranking_by_run(rows.assign(score=predict(one.estimator, rows)["score"]), "score", _view(view))
        values.append(float(ranked[measure].mean()))
    if all(np.isnan(values)):
        raise NotEnoughData(
            f"none of the {rows['run_id'].nunique()} runs of the validation period can be ranked for a choice; "
            "at least one with 6 results and at most half of them failed is needed"
        )
    return fitted[int(np.nanargmax(values))]


def period_block(spec: ModelSpec, frame: pd.DataFrame, split: Split, period: Period) -> int:
    """Block length for intervals over a period's runs, from the best baseline's measures on the periods before it.

    Baselines learn nothing from the fit period, so their figures there are as good as later ones.
    """
    parts = [period_rows(frame, split, name) for name in EARLIER[period]]
    rows = pd.concat(parts) if parts else frame.iloc[:0]
    measure, view = spec.primary_metric.rsplit("_", 1)
    series = [
        metrics.ranking_by_run(rows.assign(score=rank(rows)), "score", _view(view))[measure].to_numpy()
        for rank in spec.baselines.values()
    ]
    best = max(series, key=lambda values: values.mean() if len(values) else 0.0)
    # Weak dependence adds up over many lags of which none stands out (ozone: 0.05 to 0.1 up to lag 8), so the
    # length is never below the usual rate of n^(1/3).
    return max(metrics.block_length(best), math.ceil(math.cbrt(len(best))), 1)


def evaluate(
    scored: pd.DataFrame, prefix: str, block: int, threshold: float = np.nan, budget: float = 0.3
) -> dict[str, Measure]:
    """All measures of a period, with moving-block bootstrap intervals over its runs.

    Args:
        scored: rows of the period: run_id, started_at, failed, previous_failed, duration_s, score and, unless it is
            a baseline, probability; `score_by_cost` (see `score_by_cost`) where a cost is known.
        prefix: period name that leads the measure's name.
        block: block length in runs, chosen on earlier data (`period_block`).
        threshold: probability (0..1) from which F1 takes a test as failing, chosen on earlier data; NaN leaves F1 out.
        budget: share (0..1) of tests, or of duration, that a selection may run.

    Returns:
        `<prefix>.<measure>_<view>` for the ranking measures (0..1, views all and new), `<prefix>.runs_<view>` (count
        of ranked runs), `<prefix>.apfdc_by_cost_<view>` (0..1, APFDc of the cost-aware order), and with probabilities
        `<prefix>.pr_auc`, `.brier`, `.ece`, `.f1` (0..1).
    """
    found: dict[str, Measure] = {}
    for view in VIEWS:
        table = metrics.ranking_by_run(scored, "score", view, budget)
        found[f"{prefix}.runs_{view}"] = Measure(float(len(table)), np.nan, np.nan)
        if len(table) == 0:
            continue
        resamples = metrics.block_resamples(len(table), min(block, len(table)), RANKING_RESAMPLES, seed=len(table))
        found |= {
            f"{prefix}.{name}_{view}": metrics.interval(table[name].to_numpy(np.float64), resamples) for name in RANKED
        }
        if "score_by_cost" in scored:
            by_cost = metrics.ranking_by_run(scored, "score_by_cost", view, budget)["apfdc"].to_numpy(np.float64)
            found[f"{prefix}.apfdc_by_cost_{view}"] = metrics.interval(by_cost, resamples)
    if "probability" in scored:
        found |= {f"{prefix}.{name}": value for name, value in _probabilities(scored, block, threshold).items()}
    return found


def score_by_cost(chance: pd.Series, cost_s: pd.Series) -> pd.Series:
    """What to order tests by when time is what counts: chance of a failure per (second ^ `COST_EXPONENT`).

    With certain knowledge chance / cost minimises the expected time to failures (Smith, "Various optimizers for
    single-stage production", 1956). Chances of rare failures are estimated, and a full division would put too many
    quick tests first: the exponent was chosen on validation periods.

    Args:
        chance: 0..1, uncalibrated (`fitting.chance`): a calibration that is flat leaves the cost to decide alone.
        cost_s: expected duration in seconds; one that is unknown counts as the median of the known, and none as less
            than `MIN_COST_S`.

    Returns:
        The score, highest first, with the index of `chance`.
    """
    usual = cost_s.median() if cost_s.notna().any() else 1.0
    return chance / cost_s.fillna(usual).clip(lower=MIN_COST_S) ** COST_EXPONENT


def _probabilities(scored: pd.DataFrame, block: int, threshold: float) -> dict[str, Measure]:
    ordered = scored.sort_values(["started_at", "run_id"], kind="stable")
    failed, probability = ordered["failed"].to_numpy(np.float64), ordered["probability"].to_numpy(np.float64)
    run = pd.factorize(ordered["run_id"])[0]
    count = int(run.max()) + 1
    resamples = metrics.block_resamples(count, min(block, count), PROBABILITY_RESAMPLES, seed=count)
    weights = [np.bincount(drawn, minlength=count)[run].astype(np.float64) for drawn in resamples]
    sample = metrics.Sample(failed, probability)
    found = {}
    for name, measure in {"pr_auc": sample.pr_auc, "brier": sample.brier, "ece": sample.ece}.items():
        spread = [measure(weight) for weight in weights]
        low, high = np.nanquantile(spread, [0.025, 0.975]) if not np.isnan(spread).all() else (np.nan, np.nan)
        found[name] = Measure(measure(), float(low), float(high))
    if not np.isnan(threshold):
        found["f1"] = Measure(metrics.f1(failed, probability, threshold), np.nan, np.nan)
    return found


def _view(name: str) -> metrics.View:
    return "new" if name == "new" else "all"
