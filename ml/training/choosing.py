"""The choice on the validation period: which candidate, and how much it leans on which baseline."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import NotEnoughData
from ml.spec import ModelSpec, Objective, Split
from ml.training.evaluation import primary_by_run, scored
from ml.training.fitting import FitOptions, Fitted, Plan, calibration_rows, fit_baselines, lean, odds
from ml.training.leaning import LEAST_SLOPE, pooled
from ml.training.periods import period_rows

# Of a baseline beside a candidate. The whole way, the baseline alone, is tried once and not for each candidate.
WEIGHTS = (0.25, 0.5, 0.75)


def choose(spec: ModelSpec, fitted: list[Fitted], frame: pd.DataFrame, split: Split, options: FitOptions) -> Fitted:
    """What has the best `spec.primary_metric` on the validate period.

    Tried are each candidate, each candidate leaning on each baseline with each of `WEIGHTS`, and each baseline alone,
    where the model ranks and the baseline is a `Heuristic`. Of equals the first one is taken, so that a candidate leans
    on nothing that does not help.

    Args:
        spec: the model.
        fitted: candidates, as `fit_candidates` gives them.
        frame: feature frame with outcomes.
        split: periods.
        options: those that the candidates were fitted with.

    Raises:
        NotEnoughData: no run of the validate period counts.
    """
    rows = period_rows(frame, split, "validate")
    values = [_mean(spec, scored(one.estimator, rows)) for one in fitted]
    if all(np.isnan(values)):
        raise NotEnoughData(
            f"none of the {rows['run_id'].nunique()} runs of the validation period can be ranked for a choice; "
            "at least one with 6 results and at most half of them failed is needed"
        )
    best, most = fitted[int(np.nanargmax(values))], float(np.nanmax(values))
    baselines = fit_baselines(spec, frame, split, options) if spec.objective is Objective.RANKING else []
    baselines = [one for one in baselines if one.base.slope_ > LEAST_SLOPE]  # the others pointed the wrong way so far
    plan = best.plan
    # Green runs do not count, and most runs are green.
    telling = rows.loc[rows["failed"].astype(bool).groupby(rows["run_id"]).transform("any")]
    for other, score in _leaning(fitted, baselines, telling):
        value = _mean(spec, telling.assign(score=score))
        if value > most:
            plan, most = other, value
    if not plan.baseline:
        return best
    baseline = next(one for one in baselines if one.plan.baseline == plan.baseline)
    if not plan.candidate:
        return baseline
    candidate = next(one for one in fitted if one.plan.candidate == plan.candidate)
    return lean(candidate, baseline, plan.weight, calibration_rows(spec, frame, split, options))


def _leaning(
    fitted: list[Fitted], baselines: list[Fitted], rows: pd.DataFrame
) -> Iterator[tuple[Plan, NDArray[np.float64]]]:
    """Every way of leaning with the scores that it gives to some rows."""
    theirs = [(baseline.plan.baseline, odds(baseline, rows)) for baseline in baselines]
    for one in fitted if baselines else []:
        own = odds(one, rows)
        for (name, score), weight in product(theirs, WEIGHTS):
            yield replace(one.plan, baseline=name, weight=weight), pooled([own, score], [1 - weight, weight])
    for name, score in theirs:
        yield Plan("", name, 1.0), score


def _mean(spec: ModelSpec, rows: pd.DataFrame) -> float:
    return float(primary_by_run(spec, rows).mean())
