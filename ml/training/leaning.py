"""Candidates that lean on a trivial baseline: its odds, and those of a model, in one weighted score."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

# Keeps rates of 0 and durations of 0 apart from nothing.
PART = 0.001
# The same for levels, 0 and 1 being two ends: a few runs that all failed say less than a thousand.
ROOM = 0.05
# An order that was worthless so far keeps its direction: what it is worth is for the validation period to say.
LEAST_SLOPE = 0.01


class Odds(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier that gives log-odds of a failure."""

    def decision_function(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Log-odds of a failure, row by row."""
        raise NotImplementedError

    def predict_proba(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Probabilities (0..1) of passing and of failing, row by row."""
        failing = expit(self.decision_function(rows))
        return np.column_stack([1 - failing, failing])

    def predict(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Whether a failure is the likelier outcome, row by row."""
        likelier: NDArray[np.bool_] = self.decision_function(rows) > 0
        return likelier


class Heuristic(Odds):
    """An order by one feature, as a trivial baseline; fitted, it is a classifier of one logistic curve as well.

    Args:
        column: a rate (0..1), or a count of what happened since; the higher rate, or the lower count, comes first.
        is_count: whether it is a count.
        per: column of seconds that the rate is divided by; empty if it is not.
    """

    def __init__(self, column: str, is_count: bool = False, per: str = "") -> None:
        self.column = column
        self.is_count = is_count
        self.per = per

    @property
    def columns(self) -> list[str]:
        """The features that it looks at."""
        return [self.column, self.per] if self.per else [self.column]

    def __call__(self, rows: pd.DataFrame) -> "pd.Series[float]":
        """What ranks the tests of a run, highest first; NaN, which comes last, where the feature is unknown."""
        rate = 1 / (1 + rows[self.column]) if self.is_count else rows[self.column]
        # The small terms rank tests that never failed by duration, and tests without a duration first.
        return (rate + PART) / (rows[self.per].fillna(0.0) + PART) if self.per else rate

    def fit(self, rows: pd.DataFrame, failed: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the curve that gives the order its odds; `sample_weight` as scikit-learn has it."""
        curve = LogisticRegression().fit(self._scale(rows), failed, sample_weight=sample_weight)
        self.classes_ = curve.classes_
        self.feature_names_in_ = np.array(rows.columns, dtype=object)
        self.n_features_in_ = rows.shape[1]
        self.slope_ = max(float(curve.coef_[0, 0]), LEAST_SLOPE)
        self.intercept_ = float(curve.intercept_[0])
        return self

    def decision_function(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Log-odds of a failure; in the same order as what a call gives."""
        odds: NDArray[np.float64] = self.intercept_ + self.slope_ * self._scale(rows)[:, 0]
        return odds

    def _scale(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        # What was never seen counts as never failed. Chances fall with a power of the executions since a failure.
        known = rows.assign(**{self.column: rows[self.column].fillna(np.inf if self.is_count else 0.0)})
        value = self(known).to_numpy(np.float64)
        scale: NDArray[np.float64] = np.log(value if self.per else value + PART)[:, None]
        return scale


class Level(Heuristic):
    """A rate that says how likely a failure is: a trivial baseline of probabilities, near 1 as well as near 0.

    Args:
        column: a rate (0..1); one that is unknown counts as the share of failures in what was fitted on.
    """

    def __init__(self, column: str) -> None:
        super().__init__(column)

    def fit(self, rows: pd.DataFrame, failed: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the curve over the log-odds of the rate; `sample_weight` as scikit-learn has it."""
        weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
        self.usual_ = float(np.average(np.asarray(failed, np.float64), weights=weights))
        return super().fit(rows, failed, sample_weight)

    def _scale(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        rate = rows[self.column].fillna(self.usual_).to_numpy(np.float64)
        scale: NDArray[np.float64] = (np.log(rate + ROOM) - np.log(1 - rate + ROOM))[:, None]
        return scale


class Pool(Odds):
    """Weighted mean of the log-odds of fitted classifiers: the logarithmic opinion pool.

    Genest & Zidek, "Combining probability distributions", Statistical Science 1, 1986. The score of a row does not
    depend on the rows beside it, and what no part lowers, the pool does not lower.

    Args:
        parts: fitted classifiers of the same columns, with log-odds as their decision function.
        weights: of each part; 0..1, their sum is 1.
    """

    def __init__(self, parts: Sequence[Any], weights: Sequence[float]) -> None:
        self.parts = parts
        self.weights = weights

    @property
    def classes_(self) -> NDArray[np.bool_]:
        """Passed and failed."""
        classes: NDArray[np.bool_] = self.parts[0].classes_
        return classes

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Columns that the parts were fitted on."""
        names: NDArray[Any] = self.parts[0].feature_names_in_
        return names

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, rows: pd.DataFrame, failed: ArrayLike) -> Self:
        """Nothing: the parts are fitted. scikit-learn takes nothing without this for a classifier."""
        return self

    def decision_function(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Weighted mean of the parts' log-odds, row by row."""
        return pooled([part.decision_function(rows) for part in self.parts], self.weights)


def pooled(odds: Sequence[NDArray[np.float64]], weights: Sequence[float]) -> NDArray[np.float64]:
    """Weighted mean of log-odds."""
    total: NDArray[np.float64] = sum(
        (weight * one for weight, one in zip(weights, odds, strict=True)), np.zeros(len(odds[0]))
    )
    return total
