"""Probabilities out of scores: a sigmoid over log-odds, fitted on runs later than those that were learned from."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

# What a probability of 0 or 1 stands for: by bare log-odds, the few failures where no tree of a forest saw one would
# outweigh all others. Added, not a bound, so that rows that were apart stay apart.
NEVER = 1e-3
# Chosen on the first 60 % of six histories of builds, folds in time order: mean Brier score 0.1460, against 0.1489 by
# the calibration period alone, and 0.1506 without calibration. Twice or half as much of either changes it by 0.0005.
PRIOR_RUNS = 10.0
HALF_LIFE = 200
# A sigmoid that falls, or is flat, would turn the order of the scores round or hide it.
LEAST_SLOPE = 0.01
Floats = NDArray[np.float64]


class LogOdds(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier that knows probabilities only (forest, vote), with log-odds as its decision function.

    A sigmoid over probabilities is nearly flat where failures are rare: all of them lie at one end of 0..1.
    """

    def __init__(self, estimator: Any) -> None:
        """`estimator`: with `predict_proba` of two classes."""
        self.estimator = estimator

    def fit(self, features: pd.DataFrame, failed: NDArray[np.bool_]) -> "LogOdds":
        """Fit the estimator. scikit-learn takes nothing as a classifier that cannot."""
        self.estimator.fit(features, failed)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Whether the estimator is."""
        return hasattr(self.estimator, "classes_")

    @property
    def classes_(self) -> NDArray[Any]:
        """The two classes of the estimator."""
        classes: NDArray[Any] = self.estimator.classes_
        return classes

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Columns that the estimator was fitted on."""
        names: NDArray[Any] = self.estimator.feature_names_in_
        return names

    def predict(self, features: pd.DataFrame) -> NDArray[Any]:
        """The likelier class."""
        likelier: NDArray[Any] = self.estimator.predict(features)
        return likelier

    def predict_proba(self, features: pd.DataFrame) -> Floats:
        """Probabilities of both classes, as the estimator gives them."""
        probability: Floats = self.estimator.predict_proba(features)
        return probability

    def decision_function(self, features: pd.DataFrame) -> Floats:
        """Logarithm of the odds of the second class; finite, and in the order of the probabilities."""
        passed, failed = self.predict_proba(features).T
        odds: Floats = np.log(failed + NEVER) - np.log(passed + NEVER)
        return odds


def calibrate(
    estimator: Any,
    features: pd.DataFrame,
    failed: NDArray[np.bool_],
    stands_for: Floats | None = None,
    *,
    shrinks: bool,
) -> Any:
    """Fit the curve from an estimator's log-odds to probabilities.

    Platt, "Probabilistic outputs for support vector machines", 1999, over log-odds instead of margins.

    Args:
        estimator: fitted.
        features: rows that it was not fitted on, in time order.
        failed: their outcomes, both of them among these.
        stands_for: how many rows each one stands for; None for one each.
        shrinks: lean towards the estimator's own probabilities, and to later rows: for an estimator that was fitted on
            rows with the true rate of failures, and a calibration period that the next one need not resemble.

    Returns:
        A `CalibratedClassifierCV` whose probabilities have the order of the scores.
    """
    base = estimator if hasattr(estimator, "decision_function") else LogOdds(estimator)
    # All rows as one fold: a frozen estimator learns nothing, and folds would want five rows of each outcome.
    every = np.arange(len(failed))
    calibrated = CalibratedClassifierCV(FrozenEstimator(base), method="sigmoid", cv=[(every, every)])
    with warnings.catch_warnings():  # that the weights only calibrate, which is what is wanted of a frozen estimator
        warnings.filterwarnings("ignore", message="Since FrozenEstimator does not appear to accept sample_weight")
        calibrated.fit(features, failed, sample_weight=stands_for).set_params(cv=None)
    sigmoid = calibrated.calibrated_classifiers_[0].calibrators[0]  # 1 / (1 + exp(a_ * score + b_))
    if shrinks or sigmoid.a_ > -LEAST_SLOPE:
        slope, intercept = shrunk(base.decision_function(features), failed, stands_for)
        sigmoid.a_, sigmoid.b_ = -slope, -intercept
    return calibrated


def shrunk(log_odds: Floats, failed: NDArray[np.bool_], stands_for: Floats | None = None) -> tuple[float, float]:
    """Slope and intercept of the sigmoid where `calibrate` shrinks: normal priors at 1 and 0; arguments as there."""
    weight = 0.5 ** (np.arange(len(failed))[::-1] / HALF_LIFE)
    weight = weight if stands_for is None else weight * stands_for

    def loss(line: Floats) -> tuple[float, Floats]:
        slope, intercept = line
        given = slope * log_odds + intercept
        apart = weight * (expit(given) - failed)
        moved = np.array([slope - 1, intercept])
        value = weight @ (np.logaddexp(0, given) - failed * given) + PRIOR_RUNS / 2 * moved @ moved
        return float(value), np.array([apart @ log_odds, apart.sum()]) + PRIOR_RUNS * moved

    found = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(LEAST_SLOPE, None), (None, None)]
    )
    return float(found.x[0]), float(found.x[1])
