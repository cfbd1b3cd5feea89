"""Measures of one ranked run. An array holds one entry per test of the run, first to be executed first."""

import math

import numpy as np
from numpy.typing import ArrayLike


def budget_count(test_count: int, share: float) -> int:
    """How many of `test_count` tests a budget of `share` (0..1) may run: rounded down, at least one."""
    return max(1, math.floor(share * test_count + 1e-9))


def affordable_count(costs: ArrayLike, share: float) -> int:
    """How many tests, taken in order, fit into `share` (0..1) of the total cost; zero if the first is too dear."""
    spent = np.cumsum(np.asarray(costs, dtype=np.float64))
    return int(np.searchsorted(spent, share * spent[-1] * (1 + 1e-12), side="right"))


def apfd(ranked: ArrayLike) -> float:
    """Average percentage of faults detected: ``1 - sum(rank)/(n m) + 1/(2n)``, in 0..1.

    Rothermel et al., "Prioritizing test cases for regression testing", IEEE TSE 27(10), 2001. Each failing test is
    taken as one fault, as in RETECS. NaN without a failure.
    """
    failed = np.asarray(ranked, dtype=bool)
    return napfd(failed, len(failed))


def napfd(ranked: ArrayLike, count: int) -> float:
    """Normalised APFD when only the first `count` tests run: ``p - sum(rank)/(k m) + p/(2k)``.

    p is the share of failing tests within the first k = `count`, and the sum runs over those. Qu, Cohen and Woolf,
    "Combinatorial interaction regression testing", ICSM 2007. Give `budget_count` or `affordable_count` as `count`;
    zero when nothing runs, NaN without a failure.
    """
    failed = np.asarray(ranked, dtype=bool)
    total = int(failed.sum())
    if total == 0:
        return math.nan
    if count == 0:
        return 0.0
    ranks = np.flatnonzero(failed[:count]) + 1
    found = len(ranks) / total
    return float(found - ranks.sum() / (count * total) + found / (2 * count))


def apfdc(ranked: ArrayLike, costs: ArrayLike) -> float:
    """Cost-cognisant APFD with equal fault severities, in 0..1.

    ``sum over failing i of (cost from i to the end - cost_i / 2) / (m * total cost)``. Elbaum, Malishevsky and
    Rothermel, "Incorporating varying test costs and fault severities into test case prioritization", ICSE 2001.
    `costs` in seconds, ranked like `ranked`; NaN without a failure or when the costs sum to zero.
    """
    failed, cost = np.asarray(ranked, dtype=bool), np.asarray(costs, dtype=np.float64)
    total = float(cost.sum())
    if not failed.any() or total == 0:
        return math.nan
    remaining = total - np.cumsum(cost) + cost
    return float((remaining - cost / 2)[failed].sum() / (failed.sum() * total))


def test_recall(ranked: ArrayLike, count: int) -> float:
    """Share (0..1) of the failing tests that are among the first `count`; NaN without a failure.

    Machalica et al., "Predictive test selection", ICSE-SEIP 2019, section IV.
    """
    failed = np.asarray(ranked, dtype=bool)
    return float(failed[:count].sum() / failed.sum()) if failed.any() else math.nan


def change_recall(ranked: ArrayLike, count: int) -> float:
    """One if a failing test is among the first `count`, else zero; NaN without a failure.

    Its mean over runs is the share of faulty changes that the selection catches (Machalica et al. 2019).
    """
    failed = np.asarray(ranked, dtype=bool)
    return float(failed[:count].any()) if failed.any() else math.nan


def selection_rate(ranked: ArrayLike, target: float) -> float:
    """Smallest share (0..1) of the tests, in order, that holds at least `target` (0..1) of the failing ones.

    Machalica et al. 2019, section IV. NaN without a failure.
    """
    positions = np.flatnonzero(np.asarray(ranked, dtype=bool)) + 1
    if len(positions) == 0:
        return math.nan
    needed = max(1, math.ceil(target * len(positions) - 1e-9))
    return float(positions[needed - 1] / np.size(ranked))
