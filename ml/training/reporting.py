"""What is worth keeping of every candidate and baseline: parameters, measures, figures."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ml import metrics, plots
from ml.spec import CandidateRecord, Measure, ModelSpec, Objective, Split
from ml.training.baselines import baseline_scores
from ml.training.cost import by_cost
from ml.training.evaluation import Yardstick, evaluate, outcomes, period_block, primary_by_run, scored
from ml.training.fitting import Fitted, predict
from ml.training.periods import Period, period_rows

SHARES = np.linspace(0, 1, 101)
FAILURES: Mapping[metrics.View, str] = {
    "all": "all failures",
    "new": "new failures",
    "regression": "regressions only",
    "first": "first-ever failures",
}
_ROWS_PER_CALL = 100_000  # bounds the memory of one call of a model; a call for each feature costs seconds more
IMPORTANCE_RUNS = 20
THRESHOLD = "decision_threshold_"
PREFIXES: Mapping[Period, str] = {"validate": "validation", "test": "test"}


def records(
    spec: ModelSpec, fitted: list[Fitted], frame: pd.DataFrame, split: Split, budget: float = 0.3
) -> tuple[CandidateRecord, ...]:
    """A record of every candidate and every baseline on the validate period.

    The test period is not looked at: it belongs to the gates and to the one chosen candidate (`judged_measures`).

    Args:
        spec: the model.
        fitted: candidates, in the order of the records.
        frame: feature frame with outcomes.
        split: periods.
        budget: share of tests (0..1) that a published selection runs.
    """
    rows = period_rows(frame, split, "validate")
    block = period_block(spec, frame, split, "validate")
    yardstick = Yardstick(spec.objective, block, budget=budget)
    baselines = _baseline_rows(spec, frame, split, rows)
    theirs_drawn = {name: _curves(spec, theirs) for name, theirs in baselines.items()}
    found = []
    for one in fitted:
        own = _scored(spec, one, rows)
        measures = evaluate(own, "validation", replace(yardstick, threshold=threshold(one, frame, split)))
        figures = _figures(one.name, own, {one.name: _curves(spec, own), **theirs_drawn}, budget)
        measures["fit_s"] = Measure(one.seconds, math.nan, math.nan)
        found.append(CandidateRecord(one.name, False, {**one.params, "block_runs_count": block}, measures, figures))
    for name, theirs in baselines.items():
        found.append(
            CandidateRecord(name, True, {"block_runs_count": block}, evaluate(theirs, "validation", yardstick))
        )
    return tuple(found)


def judged_measures(
    spec: ModelSpec, chosen: Fitted, frame: pd.DataFrame, split: Split, budget: float = 0.3
) -> Mapping[str, Mapping[str, Measure]]:
    """Measures on the test period of the chosen candidate and of each baseline, by name."""
    return _measures(spec, chosen, (frame, split, "test"), budget)


def validated_measures(
    spec: ModelSpec, one: Fitted, frame: pd.DataFrame, split: Split, budget: float = 0.3
) -> Mapping[str, Mapping[str, Measure]]:
    """The same on the validate period, as in `records`."""
    return _measures(spec, one, (frame, split, "validate"), budget)


def _measures(
    spec: ModelSpec, one: Fitted, data: tuple[pd.DataFrame, Split, Period], budget: float
) -> Mapping[str, Mapping[str, Measure]]:
    frame, split, period = data
    rows = period_rows(frame, split, period)
    yardstick = Yardstick(spec.objective, period_block(spec, frame, split, period), budget=budget)
    own = replace(yardstick, threshold=threshold(one, frame, split))
    prefix = PREFIXES[period]
    theirs = {
        name: evaluate(scores, prefix, yardstick) for name, scores in _baseline_rows(spec, frame, split, rows).items()
    }
    ours = _scored(spec, one, rows)
    return {one.name: evaluate(ours, prefix, own), **theirs}


def _baseline_rows(spec: ModelSpec, frame: pd.DataFrame, split: Split, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    scores = baseline_scores(spec, frame, split, rows)
    return {name: outcomes(spec, rows).join(found) for name, found in scores.items()}


def threshold(one: Fitted, frame: pd.DataFrame, split: Split) -> float:
    """Probability (0..1) from which a row counts as failing in F1: the best one on the calibrate period.

    For a model that decides by it, the chosen candidate's own (`with_threshold`).
    """
    if hasattr(one.estimator, THRESHOLD):
        return decision_threshold(one.estimator)
    rows = period_rows(frame, split, "calibrate")
    return metrics.best_threshold(rows["failed"], predict(one.estimator, rows)["probability"])


def with_threshold(spec: ModelSpec, one: Fitted, frame: pd.DataFrame, split: Split) -> Fitted:
    """The candidate with the threshold that its decisions take: the best F1 on the validate period.

    It is kept in the estimator itself, so that it is saved, judged, promoted and loaded with it.
    """
    if spec.objective is Objective.PROBABILITY:
        rows = period_rows(frame, split, "validate")
        limit = metrics.best_threshold(rows["failed"], predict(one.estimator, rows)["probability"])
        setattr(one.estimator, THRESHOLD, float(limit))
    return one


def decision_threshold(estimator: Any) -> float:
    """Probability (0..1) from which a model of probabilities chooses a row; see `with_threshold`."""
    return float(getattr(estimator, THRESHOLD))


def importance_figure(spec: ModelSpec, one: Fitted, frame: pd.DataFrame, split: Split) -> Figure:
    """What a candidate leans on, on the validate period; worth its time for the chosen one only."""
    losses = importance(spec, one.estimator, period_rows(frame, split, "validate"))
    measure = spec.primary_metric.rsplit("_", 1)[0]
    return plots.importance(losses, f"What {one.name} leans on", f"loss of mean {measure} when shuffled")


def importance(spec: ModelSpec, estimator: Any, rows: pd.DataFrame, seed: int = 0) -> pd.Series:
    """Loss of the mean primary measure when one feature is shuffled, by feature name: what the model leans on.

    Breiman, "Random forests", Machine Learning 45, 2001 (permutation importance). For a ranking, shuffled within each
    run, since only differences within a run can rank, and measured on the last runs with a failure, at most 20 of them.
    """
    is_ranking = spec.objective is Objective.RANKING
    sample = _last_countable(rows) if is_ranking else rows.reset_index(drop=True)
    features = [str(name) for name in estimator.feature_names_in_]
    if len(sample) == 0:
        return pd.Series(0.0, index=features)
    generator = np.random.default_rng(seed)
    run = pd.factorize(sample["run_id"])[0] if is_ranking else np.zeros(len(sample), np.int64)
    by_run = np.argsort(run, kind="stable")

    def mixed(name: str) -> pd.DataFrame:
        values = sample[name].to_numpy(copy=True)
        values[by_run] = sample[name].to_numpy()[np.lexsort((generator.random(len(sample)), run))]
        return sample.assign(**{name: values})

    full = _mean(spec, scored(spec, estimator, sample))
    losses = {}
    at_once = max(1, _ROWS_PER_CALL // len(sample))
    for start in range(0, len(features), at_once):
        names = features[start : start + at_once]
        shuffled = scored(spec, estimator, pd.concat([mixed(name) for name in names], ignore_index=True))
        for number, name in enumerate(names):
            losses[name] = full - _mean(spec, shuffled.iloc[number * len(sample) : (number + 1) * len(sample)])
    return pd.Series(losses)


def _last_countable(rows: pd.DataFrame) -> pd.DataFrame:
    countable = metrics.ranking_by_run(rows.assign(score=0.0), "score")["run_id"]
    return rows.loc[rows["run_id"].isin(countable.tail(IMPORTANCE_RUNS))].reset_index(drop=True)


def _mean(spec: ModelSpec, rows: pd.DataFrame) -> float:
    return float(primary_by_run(spec, rows).mean())


def _scored(spec: ModelSpec, one: Fitted, rows: pd.DataFrame) -> pd.DataFrame:
    """The outcomes of rows with score and probability, and for a model with a cost the score by cost."""
    return scored(spec, one.estimator, rows).join(by_cost(spec, one.estimator, rows))


def _curves(spec: ModelSpec, rows: pd.DataFrame) -> dict[metrics.View, pd.DataFrame]:
    """Selection curves by view; none where nothing is selected."""
    if spec.objective is not Objective.RANKING:
        return {}
    views = metrics.views_of(spec.objective, rows)
    return {view: metrics.selection_curve(rows, "score", SHARES, view) for view in views}


def _figures(
    name: str, own: pd.DataFrame, curves: Mapping[str, Mapping[metrics.View, pd.DataFrame]], budget: float
) -> dict[str, Figure]:
    title = f"Calibration of {name}, validation period"
    return {
        "calibration.png": plots.calibration(own["failed"], own["probability"], title),
        **{
            f"ranking_{view}.png": plots.ranking(
                {one: by_view[view] for one, by_view in curves.items()},
                f"Selection curve, {FAILURES[view]}, validation period",
                budget,
            )
            for view in curves[name]
        },
    }
