"""What running the first tests of every run catches and costs: the curve, and its points at a wanted recall."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import gammaln

from ml.metrics.intervals import block_resamples
from ml.metrics.runs import Floats, Ints, Ties, ties_by_run, ties_of_all
from ml.metrics.views import View
from ml.metrics.weights import weights_of
from ml.spec import Measure

Recall = Literal["change_recall", "test_recall"]

SHARES = np.linspace(0, 1, 1_001)
TARGETS = (0.9, 0.95, 0.99, 0.999)
RESAMPLES = 500
# Where fewer durations are known, a saving would mostly be made of guesses.
LEAST_KNOWN_SHARE = 0.5
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The least share of the tests that reaches a recall, and what it costs.

    Attributes:
        target: the recall asked for (0..1).
        run_count: failing runs that count.
        is_all: they are so few that a change recall of `target` leaves none out: the point is that of the hardest run.
        tests: share (0..1) of the tests of every run, in steps of `SHARES`. Without bounds if `is_all`: no resample
            has a harder run than those seen.
        duration: share (0..1) of the duration of all runs, green ones too; NaN where durations are unknown.
        saved_min: minutes of test time saved per run, green ones too; NaN where durations are unknown. The bounds of
            both are their values at the bounds of `tests`.
    """

    target: float
    run_count: int
    is_all: bool
    tests: Measure
    duration: Measure
    saved_min: Measure


def selection_curve(
    rows: pd.DataFrame, score: str, shares: Sequence[float] | Floats = SHARES, view: View = "all"
) -> pd.DataFrame:
    """What running the first tests of each run catches and costs. Grain of the result: share.

    Tests with equal scores count with the expectation over their random orders.

    Args:
        rows: as for `ranking_by_run`; all runs, green ones too.
        score: column to rank by.
        shares: shares (0..1, ascending) of the tests of each run that are run, rounded down to whole tests.
        view: which failures count.

    Returns:
        share; test_recall and change_recall (means over the runs that count, 0..1; NaN when none does); duration_share
        (of the duration of all runs, 0..1) and saved_min (minutes per run, over all runs), NaN where more than half of
        the durations are unknown, of which the others count as the median of the known ones.
    """
    asked = np.asarray(shares, dtype=np.float64)
    ties = ties_by_run(rows, score, view)[0]
    return pd.DataFrame(
        {
            "share": asked,
            "test_recall": _mean(_tests_caught(ties, asked)),
            "change_recall": _mean(_runs_caught(ties, asked)),
            **_costs(rows, score, asked),
        }
    )


def operating_points(
    rows: pd.DataFrame, score: str, view: View = "all", block: int = 1, recall: Recall = "change_recall"
) -> tuple[OperatingPoint, ...]:
    """The points of a selection curve that reach each of `TARGETS`, with 95 % intervals over time-ordered runs.

    Args:
        rows: as for `selection_curve`.
        score: column to rank by.
        view: which failures count.
        block: length of the blocks of the bootstrap, in runs (`block_length`).
        recall: of faulty changes (share of the failing runs of which a failing test is run), or of failing tests.

    Returns:
        one point per target; none when no run counts.
    """
    ties, keys = ties_by_run(rows, score, view)
    caught = (_runs_caught if recall == "change_recall" else _tests_caught)(ties, SHARES)
    if len(caught) == 0:
        return ()
    caught = caught[pd.DataFrame(keys).sort_values(["started_at", "run_id"]).index]
    resampled = _resampled(caught, block)
    costs = _costs(rows, score, SHARES)
    points = []
    for target in TARGETS:
        is_all = recall == "change_recall" and math.ceil(target * len(caught) - _ROUNDING) == len(caught)
        at = int(_reached(caught.mean(axis=0), target))
        low, high = np.quantile(_reached(resampled, target), [0.025, 0.975], method="inverted_cdf").astype(int)
        tests, duration, saved = (
            _measure(values, at, None if is_all else (first, last))
            for values, first, last in (
                (SHARES, low, high),
                (costs["duration_share"], low, high),
                (costs["saved_min"], high, low),
            )
        )
        points.append(OperatingPoint(target, len(caught), is_all, tests, duration, saved))
    return tuple(points)


def _measure(values: Floats, at: int, bounds: tuple[int, int] | None) -> Measure:
    if bounds is None:
        return Measure(float(values[at]), math.nan, math.nan)
    return Measure(float(values[at]), float(values[bounds[0]]), float(values[bounds[1]]))


def _reached(recall: Floats, target: float) -> Ints:
    """Place of the first share that reaches the target, along the last axis; the last share reaches every one."""
    found: Ints = np.argmax(recall >= target - _ROUNDING, axis=-1)
    return found


def _resampled(caught: Floats, block: int) -> Floats:
    """Mean over the runs of each resample, shape (resamples, shares)."""
    count = len(caught)
    drawn = block_resamples(count, min(block, count), RESAMPLES, seed=count)
    weights = np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)
    means: Floats = weights @ caught / count
    return means


def _runs_caught(ties: Ties, shares: Floats) -> Floats:
    """Chance that a failing test of a run is among the first tests, shape (runs, shares).

    A random order of `size` tests, `bad` of them failing, has none of those among the first `drawn` with probability
    C(size - bad, drawn) / C(size, drawn). Only the first tie group with a failure decides.
    """
    failing = np.flatnonzero(ties.failures > 0)
    first = failing[np.unique(ties.run[failing], return_index=True)[1]]
    size, bad, ahead = (values[first][:, None] for values in (ties.size, ties.failures, ties.before(ties.size)))
    slots = np.floor(shares * ties.total(ties.size)[:, None] + _ROUNDING)
    drawn = np.clip(slots - ahead, 0, size)
    left = np.maximum(size - bad - drawn, 0)
    missed = np.exp(gammaln(size - bad + 1) + gammaln(size - drawn + 1) - gammaln(left + 1) - gammaln(size + 1))
    missed[drawn > size - bad] = 0.0
    missed[drawn == 0] = 1.0
    chance: Floats = 1 - np.minimum(missed, 1.0)
    return chance


def _tests_caught(ties: Ties, shares: Floats) -> Floats:
    """Share of a run's failing tests that are among the first tests, shape (runs, shares)."""
    run, place = _places(ties, shares)
    width = len(shares) + 1
    each = np.repeat(ties.failures / ties.size, ties.size.astype(np.int64))
    added = np.bincount(run * width + place, each, minlength=len(ties.starts) * width).reshape(-1, width)
    recall: Floats = added[:, :-1].cumsum(axis=1) / ties.total(ties.failures)[:, None]
    return recall


def _costs(rows: pd.DataFrame, score: str, shares: Floats) -> dict[str, Floats]:
    unknown = np.full(len(shares), np.nan)
    if len(rows) == 0 or rows["duration_s"].notna().mean() < LEAST_KNOWN_SHARE:
        return {"duration_share": unknown, "saved_min": unknown}
    ties, first = ties_of_all(rows, score)
    weight = weights_of(rows.iloc[first])
    cost = ties.cost * weight[ties.run]
    total = float(cost.sum())
    each = np.repeat(cost / ties.size, ties.size.astype(np.int64))
    spent = np.bincount(_places(ties, shares)[1], each, minlength=len(shares) + 1)[:-1].cumsum()
    if total == 0:
        return {"duration_share": unknown, "saved_min": unknown}
    return {"duration_share": spent / total, "saved_min": (total - spent) / weight.sum() / 60}


def _places(ties: Ties, shares: Floats) -> tuple[Ints, Ints]:
    """Of each test, in rank order: its run, and the place of the first share that runs it (one beyond the last: none).

    Tests of one tie group stand in any order: what is counted for each is the mean of the group.
    """
    size = ties.size.astype(np.int64)
    run = np.repeat(ties.run, size)
    count = ties.total(ties.size)
    first = np.cumsum(count) - count
    rank = np.arange(1, len(run) + 1) - first[run]
    return run, np.searchsorted(shares, (rank - _ROUNDING) / count[run])


def _mean(by_run: Floats) -> Floats:
    return by_run.mean(axis=0) if len(by_run) else np.full(by_run.shape[1], np.nan)
