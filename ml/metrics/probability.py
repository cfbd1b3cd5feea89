"""Measures of scores and probabilities over rows, whatever run they are of."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Sample:
    """Rows sorted once by their value, so that each resampling of them costs no further sort.

    Args:
        failed: outcome of each row, shape (n,).
        value: score or probability of each row, shape (n,).
    """

    def __init__(self, failed: ArrayLike, value: ArrayLike) -> None:
        truth, values, _ = _rows(failed, value, None)
        self._order = np.argsort(values, kind="stable")
        self._truth, self._value = truth[self._order], values[self._order]
        self._firsts = np.searchsorted(self._value, self._value, side="left")
        self._starts = np.unique(self._firsts)
        distinct = np.flatnonzero(np.diff(self._value[::-1]))
        self._ends = np.append(distinct, len(values) - 1) if len(values) else np.empty(0, np.int64)

    def pr_auc(self, weight: ArrayLike | None = None) -> float:
        """See `pr_auc`; `weight` of shape (n,), in the order of the rows given."""
        count = self._counts(weight)[::-1]
        found = np.cumsum(self._truth[::-1] * count)[self._ends]
        seen = np.cumsum(count)[self._ends]
        if len(self._ends) == 0 or found[-1] == 0:
            return math.nan
        precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
        return float((np.diff(found, prepend=0.0) * precision).sum() / found[-1])

    def auc(self, weight: ArrayLike | None = None) -> float:
        """See `auc`."""
        count = self._counts(weight)
        failed, passed = self._truth * count, (1 - self._truth) * count
        pairs = failed.sum() * passed.sum()
        if pairs == 0:
            return math.nan
        ties_failed, ties_passed = np.add.reduceat(failed, self._starts), np.add.reduceat(passed, self._starts)
        below = np.cumsum(ties_passed) - ties_passed
        return float((ties_failed * (below + ties_passed / 2)).sum() / pairs)

    def brier(self, weight: ArrayLike | None = None) -> float:
        """See `brier`."""
        count = self._counts(weight)
        total = count.sum()
        return float(((self._value - self._truth) ** 2 * count).sum() / total) if total else math.nan

    def ece(self, weight: ArrayLike | None = None, bins: int = 15) -> float:
        """See `ece`."""
        count = self._counts(weight)
        total = count.sum()
        if total == 0:
            return math.nan
        middle = (np.cumsum(count) - count)[self._firsts]
        bin_of = np.minimum((middle / total * bins).astype(np.int64), bins - 1)
        gap = np.bincount(bin_of, weights=(self._truth - self._value) * count, minlength=bins)
        return float(np.abs(gap).sum() / total)

    def _counts(self, weight: ArrayLike | None) -> Floats:
        if weight is None:
            return np.ones(len(self._order))
        return np.asarray(weight, dtype=np.float64)[self._order]


def pr_auc(failed: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under precision over recall as average precision: ``sum (R_k - R_k-1) P_k`` over distinct scores.

    Davis and Goadrich, "The relationship between precision-recall and ROC curves", ICML 2006 (no linear
    interpolation). `weight` counts a row more than once, or not at all. NaN without a failure.
    """
    return Sample(failed, score).pr_auc(weight)


def auc(failed: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Chance that a failed row has a higher score than a passed one, ties counting half; 0.5 for a random order.

    Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 143(1), 1982. NaN unless both
    outcomes occur.
    """
    return Sample(failed, score).auc(weight)


def brier(failed: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean of ``(probability - failed)^2``, 0 is best. Brier, Monthly Weather Review 78, 1950. NaN without rows."""
    return Sample(failed, probability).brier(weight)


def ece(failed: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass: ``sum (n_b / n) |mean failed - mean probability|``.

    Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019 (adaptive binning): with rare
    failures, bins of equal width would put nearly every row into the first. Rows with one probability stay in one
    bin, so the row order does not matter. NaN without rows.
    """
    return Sample(failed, probability).ece(weight, bins)


def f1(failed: ArrayLike, probability: ArrayLike, threshold: float, weight: ArrayLike | None = None) -> float:
    """F1 of the rule ``probability >= threshold``: ``2 TP / (2 TP + FP + FN)``; NaN without a failure."""
    truth, value, count = _rows(failed, probability, weight)
    chosen, failures = count * (value >= threshold), float((truth * count).sum())
    return 2 * float((truth * chosen).sum()) / float(chosen.sum() + failures) if failures else math.nan


def best_threshold(failed: ArrayLike, probability: ArrayLike) -> float:
    """Threshold with the highest F1 (the highest such one); NaN without a failure. Choose it on earlier data."""
    truth, value, _ = _rows(failed, probability, None)
    if not truth.any():
        return math.nan
    order = np.argsort(-value, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(value[order])), len(order) - 1)
    scores = 2 * np.cumsum(truth[order])[ends] / (ends + 1 + truth.sum())
    return float(value[order][ends[int(np.argmax(scores))]])


def _rows(failed: ArrayLike, value: ArrayLike, weight: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    truth = np.asarray(failed, dtype=np.float64)
    count = np.ones(len(truth)) if weight is None else np.asarray(weight, dtype=np.float64)
    return truth, np.asarray(value, dtype=np.float64), count
