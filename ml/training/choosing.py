"""The choice on later runs than those learned from: which candidate, and how much it leans on which baseline."""

from contextlib import suppress

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from ml import metrics
from ml.errors import NotEnoughData
from ml.spec import ModelSpec, Objective, Split
from ml.training.calibration import shrunk
from ml.training.evaluation import outcomes, primary_by_run
from ml.training.fitting import (
    FitOptions,
    Fitted,
    calibration_rows,
    fit_baselines,
    fit_candidates,
    lean,
    odds,
)
from ml.training.leaning import LEAST_SLOPE, pooled
from ml.training.periods import period_rows, runs_of, windows

# Of a baseline beside a candidate. The whole way, the baseline alone, is tried once and not for each candidate.
WEIGHTS = (0.25, 0.5, 0.75)
# Candidate, baseline and weight, as in a `Plan`.
Way = tuple[str, str, float]


def choose(spec: ModelSpec, fitted: list[Fitted], frame: pd.DataFrame, split: Split, options: FitOptions) -> Fitted:
    """What has the best mean of `spec.primary_metric`: on the validate period, for probabilities on windows before too.

    Tried are each candidate, each candidate leaning on each baseline with each of `WEIGHTS`, and each baseline alone,
    where the baseline is a `Heuristic`. Of equals the first one is taken, so that a candidate leans on nothing that
    does not help. How often something fails drifts: a probability that was good in one period may have been lucky with
    its level, so it is judged in several `windows`, each by what is fitted before it.

    Args:
        spec: the model.
        fitted: candidates, as `fit_candidates` gives them.
        frame: feature frame with outcomes.
        split: periods.
        options: those that the candidates were fitted with.

    Raises:
        NotEnoughData: no run of the validate period counts.
    """
    baselines = [
        one
        for one in fit_baselines(spec, frame, split, options)
        if one.base.slope_ > LEAST_SLOPE  # the others pointed the wrong way so far
    ]
    later, rows = calibration_rows(spec, frame, split, options), period_rows(frame, split, "validate")
    if spec.objective is Objective.RANKING:
        measured = [_orders(spec, fitted, baselines, rows)]
    else:
        measured = [_probabilities(spec, fitted, baselines, (later, rows))]
        for window in windows(runs_of(frame), split)[1:]:
            with suppress(NotEnoughData):
                measured.append(_in_window(spec, frame, window, options))
    values = {way: float(np.mean([one.get(way, np.nan) for one in measured])) for way in measured[0]}
    known = {way: value for way, value in values.items() if not np.isnan(value)}
    if not known:
        raise NotEnoughData(
            f"none of the {rows['run_id'].nunique()} runs of the validation period can be ranked for a choice; "
            "at least one with 6 results and at most half of them failed is needed"
        )
    name, leant_on, weight = max(known, key=lambda way: known[way])
    candidate = next((one for one in fitted if one.plan.candidate == name), None)
    baseline = next((one for one in baselines if one.plan.baseline == leant_on), None)
    if candidate and baseline:
        return lean(spec, candidate, baseline, weight, later)
    return next(one for one in (candidate, baseline) if one)


def _orders(spec: ModelSpec, fitted: list[Fitted], baselines: list[Fitted], rows: pd.DataFrame) -> dict[Way, float]:
    """Every way's mean measure on rows to rank. No calibration changes an order, so none is fitted."""
    # Green runs do not count, and most runs are green.
    telling = rows.loc[rows["failed"].astype(bool).groupby(rows["run_id"]).transform("any")]
    scores, told = _odds_of_ways(fitted, baselines, telling), outcomes(spec, telling)
    return {way: _mean(spec, told.assign(score=score)) for way, score in scores.items()}


def _probabilities(
    spec: ModelSpec, fitted: list[Fitted], baselines: list[Fitted], periods: tuple[pd.DataFrame, pd.DataFrame]
) -> dict[Way, float]:
    """Every way's mean measure on the second period, calibrated on the first one."""
    later, rows = periods
    earlier_odds, told, found = _odds_of_ways(fitted, baselines, later), outcomes(spec, rows), {}
    for way, score in _odds_of_ways(fitted, baselines, rows).items():
        slope, intercept = shrunk(earlier_odds[way], later["failed"].to_numpy(bool), metrics.weights_of(later))
        found[way] = _mean(spec, told.assign(score=score, probability=expit(slope * score + intercept)))
    return found


def _odds_of_ways(fitted: list[Fitted], baselines: list[Fitted], rows: pd.DataFrame) -> dict[Way, NDArray[np.float64]]:
    own = {_way(one): odds(one, rows) for one in fitted}
    theirs = {_way(one): odds(one, rows) for one in baselines}
    leaning = {
        (name, leant_on, weight): pooled([ours, others], [1 - weight, weight])
        for (name, _, _), ours in own.items()
        for (_, leant_on, _), others in theirs.items()
        for weight in WEIGHTS
    }
    return own | leaning | theirs


def _in_window(spec: ModelSpec, frame: pd.DataFrame, window: Split, options: FitOptions) -> dict[Way, float]:
    fitted = fit_candidates(spec, frame, window, options)
    baselines = fit_baselines(spec, frame, window, options)
    periods = calibration_rows(spec, frame, window, options), period_rows(frame, window, "validate")
    return _probabilities(spec, fitted, baselines, periods)


def _way(one: Fitted) -> Way:
    return one.plan.candidate, one.plan.baseline, one.plan.weight


def _mean(spec: ModelSpec, rows: pd.DataFrame) -> float:
    return float(primary_by_run(spec, rows).mean())
