"""Facts of many groups in the order of becoming known, sorted once: running counts, windows and the latest before.

Every run has a place in the order of becoming known (then of run_no): 0, 1, ... A fact has the place of its run, and a
question of moment `at_us` may see the places below the number of runs known strictly before it. So one sort of whole
numbers stands for each window and each as-of join over moments; and counts, which are cumulative over all groups,
are taken as differences: equal to the last bit whatever facts come later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.features.queries import Engine

DENSE = 4
GROUP_BITS = 2**20 - 1
Numbers = npt.NDArray[Any]  # whole, of any width
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """When each run became known: `known_us` by place, ascending; `place` by run_no - 1."""

    known_us: Numbers
    place: Numbers

    @classmethod
    def of(cls, engine: Engine) -> "Moments":
        """Those of the table ``run``."""
        known = engine.fetch("SELECT known_us FROM run ORDER BY run_no")["known_us"].to_numpy(np.int64)
        order = np.argsort(known, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return cls(known[order], place)

    def before(self, at_us: Numbers) -> Numbers:
        """How many runs were known strictly before each moment."""
        return np.searchsorted(self.known_us, at_us)

    def codes(self, group: Numbers, place: Numbers | int) -> Numbers:
        """A number that orders by group, then by place (or number of places)."""
        found: Numbers = group.astype(np.int64) * (len(self.place) + 1) + place
        return found

    def groups(self, codes: Numbers) -> Numbers:
        """The group of each code."""
        return codes // (len(self.place) + 1)

    def places(self, codes: Numbers) -> Numbers:
        """The place (or number of places) of each code."""
        return codes % (len(self.place) + 1)


@dataclass(frozen=True)
class Facts:
    """Facts of many groups, made ready to be asked which one was the latest before.

    Attributes:
        moments: When runs became known.
        codes: `Moments.codes` of group and place; ascending.
        counts: How many codes are below each number; None where these numbers lie too far apart.
        has: By the last bits of a group's number, whether there is a fact of it; rules most groups without one out.
    """

    moments: Moments
    codes: Numbers
    counts: Numbers | None
    has: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, moments: Moments, codes: Numbers) -> "Facts":
        """Facts with these codes."""
        size = int(codes.max(initial=0)) + 1
        if is_dense(size, len(codes)):
            return cls(moments, codes, total(np.bincount(codes, minlength=size)), np.ones(0, bool))
        has = np.zeros(GROUP_BITS + 1, bool)
        has[moments.groups(codes) & GROUP_BITS] = True
        return cls(moments, codes, None, has)

    def latest(self, group: Numbers, before: Numbers) -> Numbers:
        """Where the latest fact of each question's group below its number of places is; -1 without one."""
        if self.counts is None:
            found = np.full(len(group), -1, np.int64)
            asked = np.flatnonzero(self.has[group & GROUP_BITS])
            found[asked] = self._searched(group[asked], before[asked])
            return found
        least, wanted = self.moments.codes(group, 0), self.moments.codes(group, before)
        found, earlier = (self.counts.take(code, mode="clip") for code in (wanted, least))
        return np.where(found > earlier, found, 0) - 1

    def count(self, group: Numbers, before: Numbers) -> Numbers:
        """How many facts of each question's group are below its number of places."""
        least, wanted = self.moments.codes(group, 0), self.moments.codes(group, before)
        return below(self.codes, wanted) - below(self.codes, least)

    def _searched(self, group: Numbers, before: Numbers) -> Numbers:
        found = below(self.codes, self.moments.codes(group, before)) - 1
        is_there = (found >= 0) & (self.codes.take(found, mode="clip") >= self.moments.codes(group, 0))
        return np.where(is_there, found, -1)


def is_dense(size: int, count: int) -> bool:
    """Whether so many numbers below `size` are quicker looked up in a table than searched."""
    return size <= DENSE * count


def below(codes: Numbers, wanted: Numbers) -> Numbers:
    """How many of `codes` (ascending) are below each of `wanted`."""
    order = np.argsort(wanted)  # a walk through both in order is faster than a search for each
    found = np.empty(len(order), np.int64)
    found[order] = np.searchsorted(codes, wanted[order])
    return found


def order_of(codes: Numbers) -> Numbers:
    """As argsort, of numbers that are all different."""
    size = int(codes.max(initial=0)) + 1
    if not is_dense(size, len(codes)):
        return np.argsort(codes)
    place = np.full(size, -1, np.int64)
    place[codes] = np.arange(len(codes))
    return place[place >= 0]


def tally(codes: Numbers) -> tuple[Numbers, Numbers]:
    """The different codes, ascending, and how often there is each."""
    size = int(codes.max(initial=0)) + 1
    if not is_dense(size, len(codes)):
        return np.unique(codes, return_counts=True)
    counts = np.bincount(codes, minlength=size)
    found = np.flatnonzero(counts)
    return found, counts[found]


def numbered(codes: Numbers) -> tuple[Numbers, Numbers]:
    """The different codes, ascending, and which of them each one is: 0, 1, ..."""
    size = int(codes.max(initial=0)) + 1
    if not is_dense(size, len(codes)):
        return np.unique(codes, return_inverse=True)
    found = np.flatnonzero(np.bincount(codes, minlength=size))
    number = np.zeros(size, np.int64)
    number[found] = np.arange(len(found))
    return found, number[codes]


def total(values: Numbers) -> Numbers:
    """Sums of whole numbers: that of ``values[a:b]`` is ``total[b] - total[a]``; flags are counted in 32 bits."""
    sums = np.zeros(len(values) + 1, np.int32 if values.itemsize == 1 else np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def starts(groups: Numbers) -> Numbers:
    """Where the group of each fact starts, facts of one group lying together."""
    is_first = np.ones(len(groups), bool)
    is_first[1:] = groups[1:] != groups[:-1]
    return np.maximum.accumulate(np.where(is_first, np.arange(len(groups)), 0))


def spans(first: Numbers, end: Numbers) -> tuple[Numbers, Numbers]:
    """All of ``first[i] .. end[i] - 1``, one span after another: i, and the number."""
    sizes = end - first
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return owner, np.arange(len(owner)) + (first - total(sizes)[:-1])[owner]


def batches(owner: Numbers, sizes: Numbers, most: int) -> Iterator[slice]:
    """Parts of whole owners (ascending) with at most some `most` in sizes; at least one part."""
    start, end, sums = 0, len(owner), total(sizes)
    while True:
        final = min(max(np.searchsorted(sums, sums[start] + most, side="right") - 2, start), end - 1)
        stop = int(np.searchsorted(owner, owner[final], side="right")) if start < end else start
        yield slice(start, stop)
        if stop >= end:
            return
        start = stop


def rate(part: Numbers, whole: Numbers) -> Values:
    """The part by the whole, NaN where the whole, and so the part, is 0."""
    with np.errstate(invalid="ignore"):
        found: Values = part / whole
    return found


def where(there: npt.NDArray[np.bool_], values: Numbers | Values, absent: float = np.nan) -> Values:
    """As doubles, `values` in the places that are there, and `absent` elsewhere."""
    found = np.full(len(there), absent, np.float64)
    found[there] = values
    return found


def without(values: Numbers | Values, unknown: Numbers, absent: float = np.nan) -> Values:
    """As doubles, `values` but for the places that are `unknown`."""
    found = values.astype(np.float64, copy=False)
    found[unknown] = absent
    return found
