"""Candidates: fitted on one period, calibrated on a later one."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from ml import metrics
from ml.errors import LibraryMissing, NotEnoughData
from ml.spec import FAILURE_STATE, SETTLED_AT, FailureState, ModelSpec, Objective, Split
from ml.training.calibration import calibrate
from ml.training.heads import TwoHeads
from ml.training.leaning import Heuristic, Pool
from ml.training.periods import period_rows
from ml.training.ranker import Ranker

log = logging.getLogger(__name__)

QUANTILES = "scale__n_quantiles"


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit. `outage_share` (0..1): runs with a larger share of failed results teach nothing about their tests.

    `max_rows` bounds the rows fitted on, and with them time and memory; all failures are kept, and passes are sampled
    with importance weights. As many passes as failures stay at least, even if that makes more than `max_rows`.
    `parameters` are those that tuning found, by candidate; the declared ones hold for the others. `trials` is how many
    sets of parameters tuning tries per candidate.
    """

    seed: int
    outage_share: float = 0.5
    max_rows: int = 60_000
    parameters: Mapping[str, Mapping[str, float | int]] = field(default_factory=dict)
    trials: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What `refit` needs to make a model again: which candidate, and how much it leans on which baseline.

    `weight` is that of the baseline, 0..1; with 1 there is no candidate, and with 0 no baseline. `parameters` are the
    candidate's tuned ones.
    """

    candidate: str
    baseline: str = ""
    weight: float = 0.0
    parameters: Mapping[str, float | int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the model, without the weight."""
        if not self.baseline:
            return self.candidate
        return f"{self.candidate}_leaning_on_{self.baseline}" if self.candidate else f"{self.baseline}_alone"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibrated model. `estimator` consists of `artifact.ALLOWED_TYPES`; `seconds` is its fitting time."""

    plan: Plan
    estimator: Any
    params: dict[str, str | float | int]
    seconds: float

    @property
    def name(self) -> str:
        """Name that it is logged by."""
        return self.plan.name

    @property
    def base(self) -> Any:
        """The fitted classifier without its calibration."""
        return self.estimator.calibrated_classifiers_[0].estimator.estimator


@dataclass(frozen=True, slots=True)
class _Learned:
    """Rows to fit on with the weight of each, and whether it is known to be a flaky failure; rows to calibrate on."""

    rows: pd.DataFrame
    weight: NDArray[np.float64]
    is_flaky: NDArray[np.bool_]
    later: pd.DataFrame


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
        options: seed and limits.
        on_progress: called with the name of each candidate before it is fitted.

    Returns:
        the candidates, without those whose library this system cannot load; the log names them.

    Raises:
        NotEnoughData: fit or calibrate rows hold a single outcome.
        LibraryMissing: the libraries of all of them are lacking.
    """
    data = _learned_from(spec, frame, split, options)
    fitted: list[Fitted] = []
    lacking = None
    for name in spec.candidates:
        on_progress(name)
        try:
            with threadpool_limits(1):  # rows are bounded, and threads of boosting that wait for a busy core spin
                fitted.append(_fit(spec, name, data, options))
        except LibraryMissing as reason:
            log.warning("candidate %s of %s is left out: %s", name, spec.name, reason)
            lacking = reason
    if lacking and not fitted:
        raise lacking
    return fitted


def fit_baselines(spec: ModelSpec, frame: pd.DataFrame, split: Split, options: FitOptions) -> list[Fitted]:
    """The baselines that a candidate can lean on, each as a calibrated model of its own; arguments as above.

    A baseline whose features were never known in the fit period is left out.
    """
    found = {name: one for name, one in spec.baselines.items() if isinstance(one, Heuristic)}
    if not found:
        return []
    data = _learned_from(spec, frame, split, options)
    known = {name: one for name, one in found.items() if data.rows[one.columns].notna().any().all()}
    return [_fit_baseline(spec, name, one, data) for name, one in known.items()]


def lean(spec: ModelSpec, one: Fitted, baseline: Fitted, weight: float, later: pd.DataFrame) -> Fitted:
    """A candidate whose log-odds are averaged with those of a baseline.

    Args:
        spec: the model.
        one: the candidate.
        baseline: one of `fit_baselines`.
        weight: of the baseline, between 0 and 1.
        later: rows to calibrate on, as `calibration_rows` gives them.
    """
    pool = Pool([one.base, baseline.base], [1 - weight, weight])
    plan = replace(one.plan, baseline=baseline.plan.baseline, weight=weight)
    params = one.params | {"leans_on": baseline.plan.baseline, "leaning_weight": weight}
    columns = list(one.estimator.feature_names_in_)
    return Fitted(plan, _calibrated(spec, pool, later, columns), params, one.seconds + baseline.seconds)


def refit(spec: ModelSpec, plan: Plan, frame: pd.DataFrame, split: Split, options: FitOptions) -> Fitted:
    """A model again, e.g. with another seed for the stability gate; the rest as in `fit_candidates`."""
    chosen = {plan.baseline: spec.baselines[plan.baseline]} if plan.baseline else {}
    baselines = fit_baselines(replace(spec, baselines=chosen), frame, split, options)
    if not plan.candidate:
        return baselines[0]
    candidates = {plan.candidate: spec.candidates[plan.candidate]}
    options = replace(options, parameters={plan.candidate: plan.parameters})
    [one] = fit_candidates(replace(spec, candidates=candidates), frame, split, options)
    if not baselines:
        return one
    return lean(spec, one, baselines[0], plan.weight, calibration_rows(spec, frame, split, options))


def calibration_rows(spec: ModelSpec, frame: pd.DataFrame, split: Split, options: FitOptions) -> pd.DataFrame:
    """Rows that models are calibrated on, in time order: of every run that is no outage."""
    later = period_rows(frame, split, "calibrate").sort_values(["started_at", "run_id"], kind="stable")
    return _without_outages(later, options.outage_share) if spec.objective is Objective.RANKING else later


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
    # The score is the uncalibrated value: calibration on few failures may flatten it.
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


def odds(one: Fitted, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Uncalibrated log-odds of a failure, row by row."""
    with threadpool_limits(1):
        return raw_scores(one.base, rows.reindex(columns=one.estimator.feature_names_in_))


def raw_scores(base: Any, features: pd.DataFrame | NDArray[np.float64]) -> NDArray[np.float64]:
    """Uncalibrated score of each row: log-odds of failing, but its probability for a forest of an earlier release."""
    has_margin = hasattr(base, "decision_function")
    scores: NDArray[np.float64] = base.decision_function(features) if has_margin else base.predict_proba(features)[:, 1]
    return scores


def _learned_from(spec: ModelSpec, frame: pd.DataFrame, split: Split, options: FitOptions) -> _Learned:
    rows, later = period_rows(frame, split, "fit"), calibration_rows(spec, frame, split, options)
    if spec.objective is Objective.RANKING:
        rows = _telling(rows, options.outage_share)
    rows, weight = _sampled(rows, options)
    _require_both_outcomes(rows, "fit")
    _require_both_outcomes(later, "calibrate")
    return _Learned(rows, weight, _known_to_be_flaky(rows, split), later)


def _known_to_be_flaky(rows: pd.DataFrame, split: Split) -> NDArray[np.bool_]:
    """Failures whose label said so, and had settled, when validation began: later ones know the judged runs."""
    if FAILURE_STATE not in rows or split.validate.start is None:
        return np.zeros(len(rows), bool)
    settled = rows[SETTLED_AT] < split.validate.start
    found: NDArray[np.bool_] = (settled & (rows[FAILURE_STATE] == FailureState.FLAKY)).to_numpy(bool)
    return found


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


def _fit(spec: ModelSpec, name: str, data: _Learned, options: FitOptions) -> Fitted:
    rows = data.rows
    # A feature that was never known so far has nothing to teach, and boosting refuses it.
    columns = [name for name in spec.features if rows[name].notna().any()]
    began = time.perf_counter()
    tuned = options.parameters.get(name, {})
    estimator = spec.candidates[name](options.seed).set_params(**tuned)
    if QUANTILES in estimator.get_params():  # more than there are rows would be cut to them, with a warning
        estimator.set_params(**{QUANTILES: min(estimator.get_params()[QUANTILES], len(rows))})
    target = f"{estimator.steps[-1][0]}__sample_weight" if isinstance(estimator, Pipeline) else "sample_weight"
    more: dict[str, Any] = {target: data.weight}
    if isinstance(estimator, Ranker):
        more["run"] = rows.groupby(["started_at", "run_id"]).ngroup()
    if isinstance(estimator, TwoHeads):
        more["is_flaky"] = data.is_flaky
    estimator.fit(rows[columns], rows["failed"].to_numpy(bool), **more)
    model = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    params = _params(model) | {"fit_rows": len(rows), "fit_failures": int(rows["failed"].sum())}
    calibrated = _calibrated(spec, estimator, data.later, columns)
    return Fitted(Plan(name, parameters=tuned), calibrated, params, time.perf_counter() - began)


def _fit_baseline(spec: ModelSpec, name: str, baseline: Heuristic, data: _Learned) -> Fitted:
    rows = data.rows
    began = time.perf_counter()
    fitted = clone(baseline).fit(rows[baseline.columns], rows["failed"].to_numpy(bool), data.weight)
    params = _params(fitted) | {"fit_rows": len(rows), "fit_failures": int(rows["failed"].sum())}
    calibrated = _calibrated(spec, fitted, data.later, baseline.columns)
    return Fitted(Plan("", name, 1.0), calibrated, params, time.perf_counter() - began)


def _calibrated(spec: ModelSpec, classifier: Any, later: pd.DataFrame, columns: list[str]) -> CalibratedClassifierCV:
    # A ranking learns from runs with a failure only: its own probabilities are none of every run's.
    shrinks = spec.objective is Objective.PROBABILITY
    return calibrate(
        classifier, later[columns], later["failed"].to_numpy(bool), metrics.weights_of(later), shrinks=shrinks
    )


def _params(model: Any) -> dict[str, str | float | int]:
    given = {"estimator": type(model).__name__} | model.get_params(deep=False)
    plain = {key: value for key, value in given.items() if isinstance(value, str | int | float)}
    return {key: value for key, value in plain.items() if not (isinstance(value, float) and math.isnan(value))}
