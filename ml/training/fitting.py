"""Candidates: fitted on one period, calibrated on a later one."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from ml.errors import NotEnoughData
from ml.spec import WEIGHT, ModelSpec, Objective, Split
from ml.training.periods import period_rows

QUANTILES = "scale__n_quantiles"


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit. `outage_share` (0..1): runs with a larger share of failed results teach nothing about their tests.

    `max_rows` bounds the rows fitted on, and with them time and memory; all failures are kept, and passes are sampled
    with importance weights. As many passes as failures stay at least, even if that makes more than `max_rows`.
    """

    seed: int
    threads: int
    outage_share: float = 0.5
    max_rows: int = 60_000


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibrated candidate. `estimator` consists of scikit-learn types only; `seconds` is its fitting time."""

    name: str
    estimator: Any
    params: dict[str, str | float | int]
    seconds: float


def fit_candidates(
    spec: ModelSpec,
    frame: pd.DataFrame,
    split: Split,
    options: FitOptions,
    on_progress: Callable[[str], None] = lambda name: None,
) -> list[Fitted]:
    """Fit every candidate of a model on the fit period and calibrate it on the calibrate period.

    A ranking is fitted on runs with a failure only: they are the ones whose order matters, and the others outnumber
    them. It is calibrated on every run that is no outage, so that probabilities have the true rate of failures: where
    the frame holds drawn runs only, by the weights of their rows. A model of probabilities takes every row of its
    frame, which leaves out what has no outcome.

    Args:
        spec: the model; its features are the only columns that an estimator sees.
        frame: feature frame with outcomes; one row per (run_id, variant, test_id).
        split: periods, as `split_by_time` makes them.
        options: seed, threads and limits.
        on_progress: called with the name of each candidate before it is fitted.

    Raises:
        NotEnoughData: fit or calibrate rows hold a single outcome.
    """
    rows, later = period_rows(frame, split, "fit"), period_rows(frame, split, "calibrate")
    if spec.objective is Objective.RANKING:
        rows, later = _telling(rows, options.outage_share), _without_outages(later, options.outage_share)
    rows, weight = _sampled(rows, options)
    _require_both_outcomes(rows, "fit")
    _require_both_outcomes(later, "calibrate")
    fitted = []
    for name in spec.candidates:
        on_progress(name)
        with threadpool_limits(options.threads):  # boosting would take every core, and starve what else runs
            fitted.append(_fit(spec, name, (rows, weight, later), options))
    return fitted


def refit(spec: ModelSpec, name: str, frame: pd.DataFrame, split: Split, options: FitOptions) -> Fitted:
    """One candidate again, e.g. with another seed for the stability gate; the rest as in `fit_candidates`."""
    return fit_candidates(replace(spec, candidates={name: spec.candidates[name]}), frame, split, options)[0]


def predict(estimator: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Score rows. The same row gets the same score in any company: scoring runs on one thread.

    Args:
        estimator: of a `Fitted`, or the same loaded from its file.
        frame: the columns that the estimator was fitted on; NaN is allowed in them. One that is not there is taken as
            NaN: a champion of an earlier release goes on serving without a feature that is no longer built, and is
            compared with its challengers as what it has become.

    Returns:
        score (float; the higher, the earlier the test should run) and probability (0..1, calibrated; of failing),
        with the index of `frame`.
    """
    features = frame.reindex(columns=estimator.feature_names_in_)
    if len(features) == 0:
        return pd.DataFrame({"score": np.empty(0), "probability": np.empty(0)}, index=frame.index)
    calibrator = estimator.calibrated_classifiers_[0]
    base = calibrator.estimator
    with threadpool_limits(1):
        raw = raw_scores(base, features)
    # The score is the uncalibrated value: calibration on few failures may flatten it, or turn it round.
    probability = calibrator.calibrators[0].predict(raw)
    return pd.DataFrame({"score": raw, "probability": np.clip(probability, 0.0, 1.0)}, index=frame.index)


def chance(estimator: Any, frame: pd.DataFrame) -> pd.Series:
    """Uncalibrated probability (0..1) of failing, for comparing tests: among rare failures calibration is nearly flat.

    Args:
        estimator: as for `predict`.
        frame: as for `predict`.
    """
    features = frame.reindex(columns=estimator.feature_names_in_)
    with threadpool_limits(1):
        found = estimator.calibrated_classifiers_[0].estimator.predict_proba(features)[:, 1]
    return pd.Series(found, index=frame.index)


def raw_scores(base: Any, features: pd.DataFrame | NDArray[np.float64]) -> NDArray[np.float64]:
    """Uncalibrated score of each row: the margin where the classifier has one, else the probability of failing."""
    has_margin = hasattr(base, "decision_function")
    scores: NDArray[np.float64] = base.decision_function(features) if has_margin else base.predict_proba(features)[:, 1]
    return scores


def _sampled(rows: pd.DataFrame, options: FitOptions) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    failed = rows["failed"].to_numpy(bool)
    passes = np.flatnonzero(~failed)
    room = max(options.max_rows - int(failed.sum()), int(failed.sum()), 1)
    share = min(1.0, room / max(len(passes), 1))
    weight = np.ones(len(rows))
    if share < 1:
        # Sampled passes stand for the others: without the weight, the learned rate would be that of the sample.
        kept = np.random.default_rng(options.seed).choice(passes, size=room, replace=False)
        weight[passes] = 0
        weight[kept] = 1 / share
    chosen = weight > 0
    return rows.loc[chosen], weight[chosen]


def _telling(rows: pd.DataFrame, outage_share: float) -> pd.DataFrame:
    """Rows of runs with a failure that are no outage: a green run has no order of tests to learn."""
    run, results, failures = _counts(rows)
    telling: pd.DataFrame = rows.loc[((failures > 0) & (failures <= outage_share * results))[run]]
    return telling


def _without_outages(rows: pd.DataFrame, outage_share: float) -> pd.DataFrame:
    run, results, failures = _counts(rows)
    kept: pd.DataFrame = rows.loc[(failures <= outage_share * results)[run]]
    return kept


def _counts(rows: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Run number of each row; results and failures of each run."""
    run = pd.factorize(rows["run_id"])[0]
    return run, np.bincount(run), np.bincount(run, weights=rows["failed"].to_numpy(bool))


def _require_both_outcomes(rows: pd.DataFrame, period: str) -> None:
    failures = int(rows["failed"].sum())
    if failures == 0 or failures == len(rows):
        raise NotEnoughData(
            f"the {period} period has {len(rows)} results outside outages, {failures} of them failed; "
            "at least one failed and one passed result are needed"
        )


def _fit(
    spec: ModelSpec, name: str, data: tuple[pd.DataFrame, NDArray[np.float64], pd.DataFrame], options: FitOptions
) -> Fitted:
    rows, weight, later = data
    # A feature that was never known so far has nothing to teach, and boosting refuses it.
    columns = [name for name in spec.features if rows[name].notna().any()]
    began = time.perf_counter()
    estimator = spec.candidates[name](options.seed, options.threads)
    if QUANTILES in estimator.get_params():  # more than there are rows would be cut to them, with a warning
        estimator.set_params(**{QUANTILES: min(estimator.get_params()[QUANTILES], len(rows))})
    target = f"{estimator.steps[-1][0]}__sample_weight" if isinstance(estimator, Pipeline) else "sample_weight"
    estimator.fit(rows[columns], rows["failed"].to_numpy(bool), **{target: weight})
    model = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    params = _params(model) | {"fit_rows": len(rows), "fit_failures": int(rows["failed"].sum())}
    if "n_jobs" in model.get_params():
        model.set_params(n_jobs=1)  # two threads add the trees up in a different order
    calibrated = CalibratedClassifierCV(FrozenEstimator(estimator), method="sigmoid")
    stands_for = later[WEIGHT].to_numpy(np.float64) if WEIGHT in later else None
    with warnings.catch_warnings():  # that the weights only calibrate, which is what is wanted of a frozen estimator
        warnings.filterwarnings("ignore", message="Since FrozenEstimator does not appear to accept sample_weight")
        calibrated.fit(later[columns], later["failed"].to_numpy(bool), sample_weight=stands_for)
    return Fitted(name, calibrated, params, time.perf_counter() - began)


def _params(model: Any) -> dict[str, str | float | int]:
    given = {"estimator": type(model).__name__} | model.get_params(deep=False)
    plain = {key: value for key, value in given.items() if isinstance(value, str | int | float)}
    return {key: value for key, value in plain.items() if not (isinstance(value, float) and math.isnan(value))}
