"""Means over time-ordered runs with intervals. Neighbouring runs depend on each other, hence blocks.

An iid bootstrap would call equal models different several times too often.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml.spec import Measure

Ints = NDArray[np.int64]


def block_length(values: ArrayLike) -> int:
    """Block length for a circular block bootstrap of the mean of a time-ordered series, in 1..n/4.

    Politis and White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews 23(1),
    2004, with the correction of Patton, Politis and White, 28(4), 2009. Choose it on earlier data than the data that
    is judged. One for a constant series or fewer than 8 values.
    """
    series = np.asarray(values, dtype=np.float64)
    n = len(series)
    if n < 8 or np.ptp(series) == 0:
        return 1
    centred = series - series.mean()
    quiet = max(5, math.ceil(math.sqrt(math.log10(n))))
    longest = min(n - 1, math.ceil(math.sqrt(n)) + quiet)
    covariance = np.array([centred[: n - lag] @ centred[lag:] / n for lag in range(longest + 1)])
    small = np.abs(covariance[1:] / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
    spans = [bool(small[lag : lag + quiet].all()) for lag in range(longest - quiet + 1)]
    lag = spans.index(True) if True in spans else longest - quiet
    window = min(2 * max(lag, 1), longest)
    lags = np.arange(1, window + 1)
    flat_top = np.minimum(1.0, 2 * (1 - lags / window))
    bias = 2 * float((flat_top * lags * covariance[1 : window + 1]).sum())
    spectrum = float(covariance[0] + 2 * (flat_top * covariance[1 : window + 1]).sum())
    if spectrum <= 0 or lag == 0:
        return 1
    length = math.ceil((2 * bias**2 / (4 / 3 * spectrum**2)) ** (1 / 3) * n ** (1 / 3))
    return int(min(max(length, 1), n // 4))


def block_resamples(n: int, length: int, count: int, seed: int) -> Ints:
    """Indexes (count, n) of circular moving-block resamples of n time-ordered values.

    Politis and Romano, "A circular block-resampling procedure for stationary data", 1992. Use one array for all
    checks on the same runs: they then see the same resamples.
    """
    blocks = -(-n // length)
    starts = np.random.default_rng(seed).integers(0, n, size=(count, blocks))
    indexes = (starts[:, :, None] + np.arange(length)) % n
    return indexes.reshape(count, blocks * length)[:, :n].astype(np.int64)


def interval(values: ArrayLike, resamples: Ints, level: float = 0.95) -> Measure:
    """Mean of time-ordered values with its percentile interval over `resamples` (from `block_resamples`).

    For a paired comparison give the differences. NaN values are left out of each mean. Bounds are NaN with fewer
    than two known values; all three are NaN with none.
    """
    series = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(series)
    if not known.any():
        return Measure(math.nan, math.nan, math.nan)
    centre = float(series[known].mean())
    if known.sum() < 2:
        return Measure(centre, math.nan, math.nan)
    counts = known[resamples].sum(axis=1)
    sums = np.where(known, series, 0.0)[resamples].sum(axis=1)
    means = sums[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Measure(centre, float(low), float(high))


def block_bootstrap(values: ArrayLike, length: int, seed: int, resamples: int = 2_000) -> Measure:
    """`interval` of time-ordered values over their own circular blocks of `length`."""
    series = np.asarray(values, dtype=np.float64)
    if len(series) == 0:
        return Measure(math.nan, math.nan, math.nan)
    return interval(series, block_resamples(len(series), length, resamples, seed))


def paired_difference(ours: ArrayLike, theirs: ArrayLike, length: int, seed: int) -> Measure:
    """Interval of the mean of ``ours - theirs`` over the same time-ordered runs."""
    return block_bootstrap(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64), length, seed)


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values in the given order. Holm, Scandinavian Journal of Statistics 6, 1979."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return [float(value) for value in adjusted]
