"""Facts of many groups in the order of becoming known, sorted once: running counts, windows and the latest before.

Every run has a place in the order of becoming known (then of run_no): 0, 1, ... A fact has the place of its run, and a
question of moment `at_us` may see the places below the number of runs known strictly before it. So one sort of whole
numbers stands for each window and each as-of join over moments; and counts, which are cumulative over all groups,
are taken as differences: equal to the last bit whatever facts come later.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.features.queries import Engine

DENSE = 4
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


def latest(codes: Numbers, groups: Numbers, wanted: Numbers) -> Numbers:
    """Where the latest fact of each question's group below its place is in `codes` (ascending); -1 without one.

    Args:
        codes: `Moments.codes` of the facts.
        groups: `Moments.codes` of the questions' groups and place 0.
        wanted: `Moments.codes` of the questions' groups and the number of places they may see.
    """
    found = below(codes, wanted) - 1
    return np.where((found >= 0) & (codes.take(found, mode="clip") >= groups), found, -1) if len(codes) else found


def below(codes: Numbers, wanted: Numbers) -> Numbers:
    """How many of `codes` (ascending) are below each of `wanted`."""
    size = int(max(codes.max(initial=0), wanted.max(initial=0))) + 1
    if size <= DENSE * (len(codes) + len(wanted)):
        return total(np.bincount(codes, minlength=size))[np.maximum(wanted, 0)]
    order = np.argsort(wanted)  # a walk through both in order is faster than a search for each
    found = np.empty(len(order), np.int64)
    found[order] = np.searchsorted(codes, wanted[order])
    return found


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
