"""Measures of scores and probabilities over rows, whatever run they are of."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def pr_auc(failed: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under precision over recall as average precision: ``sum (R_k - R_k-1) P_k`` over distinct scores.

    Davis and Goadrich, "The relationship between precision-recall and ROC curves", ICML 2006 (no linear
    interpolation). `weight` counts a row more than once, or not at all. NaN without a failure.
    """
    truth, value, count = _rows(failed, score, weight)
    order = np.argsort(-value, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(value[order])), len(order) - 1) if len(order) else np.empty(0, np.int64)
    found = np.cumsum((truth * count)[order])[ends]
    seen = np.cumsum(count[order])[ends]
    if len(ends) == 0 or found[-1] == 0:
        return math.nan
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return float((np.diff(found, prepend=0.0) * precision).sum() / found[-1])


def brier(failed: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean of ``(probability - failed)^2``, 0 is best. Brier, Monthly Weather Review 78, 1950. NaN without rows."""
    truth, value, count = _rows(failed, probability, weight)
    return float(((value - truth) ** 2 * count).sum() / count.sum()) if count.sum() else math.nan


def ece(failed: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass: ``sum (n_b / n) |mean failed - mean probability|``.

    Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019 (adaptive binning): with rare
    failures, bins of equal width would put nearly every row into the first. Rows with one probability stay in one
    bin, so the row order does not matter. NaN without rows.
    """
    truth, value, count = _rows(failed, probability, weight)
    total = count.sum()
    if total == 0:
        return math.nan
    order = np.argsort(value, kind="stable")
    truth, value, count = truth[order], value[order], count[order]
    firsts = np.searchsorted(value, value, side="left")
    middle = (np.cumsum(count) - count)[firsts]
    bin_of = np.minimum((middle / total * bins).astype(np.int64), bins - 1)
    gap = np.bincount(bin_of, weights=(truth - value) * count, minlength=bins)
    return float(np.abs(gap).sum() / total)


def f1(failed: ArrayLike, probability: ArrayLike, threshold: float) -> float:
    """F1 of the rule ``probability >= threshold``: ``2 TP / (2 TP + FP + FN)``; NaN without a failure."""
    truth, value, _ = _rows(failed, probability, None)
    chosen = value >= threshold
    hits = float((truth * chosen).sum())
    return 2 * hits / float(chosen.sum() + truth.sum()) if truth.any() else math.nan


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
