"""Measures of every run of a frame at once, ties in expectation. The functions of `ranking` define them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.metrics.views import MAX_FAILED_SHARE, View, of_view

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

MIN_RESULTS = 6
RANKING_COLUMNS = (
    "run_id",
    "started_at",
    "test_count",
    "failure_count",
    "apfd",
    "apfdc",
    "napfd",
    "napfd_time",
    "test_recall",
    "test_recall_time",
    "change_recall",
    "change_recall_time",
    "selection_rate",
)


def ranking_by_run(
    rows: pd.DataFrame, score: str, view: View = "all", budget: float = 0.3, target: float = 0.95
) -> pd.DataFrame:
    """Measures of each run's ranking by a score column, highest first. Grain of the result: run.

    A run counts with at least 6 results, at least one failure and at most half of them failing, of the rows that the
    view looks at (`of_view`).

    Tests with equal scores count with the expectation over their random orders, so neither the names of the tests nor
    the order of the rows matters. For a budget of duration, tied tests are taken to cost their mean.

    Args:
        rows: one row per (run_id, variant, test_id), skipped results left out: run_id, started_at, failed (bool),
            duration_s (s; a NaN counts as the median of the known ones, or 1 s if none is known), `score`, and what
            the view needs.
        score: column to rank by; NaN goes last.
        view: which failures count.
        budget: share (0..1) of tests for napfd, test_recall, change_recall; of duration for those with `_time`.
        target: test recall (0..1) that selection_rate reaches.

    Returns:
        RANKING_COLUMNS, ordered by (started_at, run_id); no row when no run counts. No value is null, but apfdc is
        NaN when a run's durations sum to zero.
    """
    ties, keys = ties_by_run(rows, score, view)
    table = pd.DataFrame(keys | _measure(ties, budget, target), columns=list(RANKING_COLUMNS))
    return table.sort_values(["started_at", "run_id"], ignore_index=True)


def ties_by_run(rows: pd.DataFrame, score: str, view: View) -> tuple["Ties", dict[str, Any]]:
    """Tie groups of the runs that count, and each run's id and start."""
    kept = _countable(of_view(rows, view))
    run = pd.factorize(kept["run_id"], sort=True)[0]
    firsts = np.unique(run, return_index=True)[1]
    ties = _ties(kept, score, run, _costs(kept, _ordinary_s(rows)))
    first = kept.iloc[firsts]
    return ties, {"run_id": first["run_id"].to_numpy(object), "started_at": first["started_at"].array}


def ties_of_all(rows: pd.DataFrame, score: str) -> tuple["Ties", Ints]:
    """Tie groups of every run, and the place of each run's first row: a selection costs in green runs too."""
    run = pd.factorize(rows["run_id"])[0]
    return _ties(rows, score, run, _costs(rows, _ordinary_s(rows))), np.unique(run, return_index=True)[1]


def _ordinary_s(rows: pd.DataFrame) -> float:
    known = rows["duration_s"].dropna()
    return float(known.median()) if len(known) else 1.0


def _costs(rows: pd.DataFrame, ordinary_s: float) -> Floats:
    costs = rows["duration_s"].to_numpy(np.float64)
    filled: Floats = np.where(np.isnan(costs), ordinary_s, costs)
    return filled


def _countable(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that count."""
    run = pd.factorize(rows["run_id"])[0]
    results = np.bincount(run)
    failures = np.bincount(run, weights=rows["failed"].to_numpy(bool))
    good = (results >= MIN_RESULTS) & (failures >= 1) & (failures <= MAX_FAILED_SHARE * results)
    return rows.loc[good[run]]


@dataclass(frozen=True, slots=True)
class Ties:
    """Tests of one run with one score, in rank order."""

    starts: Ints  # first group of each run
    run: Ints
    size: Floats
    failures: Floats
    cost: Floats

    def total(self, values: Floats) -> Floats:
        """Sum of each run."""
        return np.add.reduceat(values, self.starts) if len(self.starts) else np.empty(0)

    def before(self, values: Floats) -> Floats:
        """Sum over the groups ahead in the same run."""
        ahead = np.cumsum(values) - values
        return ahead - ahead[self.starts][self.run]


def _ties(rows: pd.DataFrame, score: str, run: Ints, cost: Floats) -> Ties:
    value, failed = rows[score].to_numpy(np.float64), rows["failed"].to_numpy(bool)
    value = np.where(np.isnan(value), -np.inf, value)
    order = np.lexsort((-value, run))
    run, value = run[order], value[order]
    is_first = np.ones(len(run), dtype=bool)
    is_first[1:] = (run[1:] != run[:-1]) | (value[1:] != value[:-1])
    at = np.flatnonzero(is_first)
    if len(at) == 0:
        return Ties(at, at, np.empty(0), np.empty(0), np.empty(0))
    sums = [np.add.reduceat(column[order].astype(np.float64), at) for column in (np.ones(len(run)), failed, cost)]
    starts = np.flatnonzero(np.diff(run[at], prepend=-1))
    return Ties(starts, run[at], sums[0], sums[1], sums[2])


def _measure(ties: Ties, budget: float, target: float) -> dict[str, Floats]:
    """All measures of each run, in expectation over ties; the single-run functions above define them."""
    count, failures, cost = ties.total(ties.size), ties.total(ties.failures), ties.total(ties.cost)
    left = cost[ties.run] - ties.before(ties.cost) - ties.cost / 2
    with np.errstate(invalid="ignore"):
        cost_aware = ties.total(ties.failures * left) / (failures * cost)
    by_count = np.maximum(1.0, np.floor(budget * count + 1e-9))[ties.run] - ties.before(ties.size)
    money = (budget * cost * (1 + 1e-12))[ties.run] - ties.before(ties.cost)
    by_time = np.where(money >= ties.cost, ties.size, np.floor(money / np.maximum(ties.cost, 1e-300) * ties.size))
    full = _within(ties, ties.size)
    counted, timed = _within(ties, by_count), _within(ties, by_time)
    return {
        "test_count": count.astype(np.int64),
        "failure_count": failures.astype(np.int64),
        "apfd": full[0],
        "apfdc": cost_aware,
        "napfd": counted[0],
        "napfd_time": timed[0],
        "test_recall": counted[1],
        "test_recall_time": timed[1],
        "change_recall": counted[2],
        "change_recall_time": timed[2],
        "selection_rate": _selection_rates(ties, target),
    }


def _within(ties: Ties, slots: Floats) -> tuple[Floats, Floats, Floats]:
    """NAPFD, test recall and change recall of each run when `slots` tests of each tie group run (clipped to it)."""
    ran = np.clip(slots, 0, ties.size)
    failures, executed = ties.total(ties.failures), np.maximum(ties.total(ran), 1)
    hits = ties.failures * ran / ties.size
    ranks = ties.total(hits * (ties.before(ties.size) + (ran + 1) / 2))
    recall = ties.total(hits) / failures
    all_missed = np.where((ties.failures > 0) & (ran == ties.size), 0.0, 1.0)
    for at in np.flatnonzero((ties.failures > 0) & (ran > 0) & (ran < ties.size)):  # at most one per run
        size, bad, drawn = int(ties.size[at]), int(ties.failures[at]), int(ran[at])
        all_missed[at] = math.comb(size - bad, drawn) / math.comb(size, drawn)
    missed = np.multiply.reduceat(all_missed, ties.starts) if len(ties.starts) else np.empty(0)
    return recall - ranks / (executed * failures) + recall / (2 * executed), recall, 1 - missed


def _selection_rates(ties: Ties, target: float) -> Floats:
    needed = np.maximum(1.0, np.ceil(target * ties.total(ties.failures) - 1e-9))[ties.run]
    ahead = ties.before(ties.failures)
    reached = (ahead < needed) & (ahead + ties.failures >= needed)
    # The j-th of f failing tests in a random order of s stands at (s + 1) j / (f + 1) on average.
    position = ties.before(ties.size) + (needed - ahead) * (ties.size + 1) / (ties.failures + 1)
    return position[reached] / ties.total(ties.size)
