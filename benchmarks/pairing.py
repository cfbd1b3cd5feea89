"""Two ways to do one job, timed in turns on one machine; what is told is their ratio, not their seconds.

Neighbours on the machine slow down both members of a pair alike, and the order within a pair alternates, so that
neither side always finds the warmer cache. The first round is not timed: it proves that both did the same job.
"""

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

Work = Callable[[], Any]
ROUNDS = 3


class Unequal(Exception):
    """Both sides ran, and their results differ: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One side. `ready` prepares a round, untimed, and returns the work that is timed."""

    name: str
    ready: Callable[[], Work]


@dataclass(frozen=True, slots=True)
class Pairing:
    """Ours against a peer on `count` pieces of `unit`.

    `check` gets both results of the untimed round, raises `Unequal` or says what was found equal. `family` joins
    pairings that differ in size only. `note` says what one side does and the other does not.
    """

    family: str
    size: str
    count: int
    unit: str
    ours: Contender
    peer: Contender
    check: Callable[[Any, Any], str]
    note: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured: seconds in the order of the rounds; `ratio` is ours / peer, so below 1 ours is faster."""

    family: str
    size: str
    count: int
    unit: str
    ours: str
    peer: str
    equal: str
    note: str
    ours_s: tuple[float, ...]
    peer_s: tuple[float, ...]
    ratios: tuple[float, ...]
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, with rates by the median second."""
        rates = {"ours_per_s": self.count / median(self.ours_s), "peer_per_s": self.count / median(self.peer_s)}
        return {**asdict(self), **rates}


def measure(pairing: Pairing, rounds: int = ROUNDS) -> Outcome:
    """Check once, then time both sides in turns.

    Raises:
        Unequal: the sides disagree on the result.
    """
    equal = pairing.check(pairing.ours.ready()(), pairing.peer.ready()())
    ours_s: list[float] = []
    peer_s: list[float] = []
    for number in range(rounds):
        turns = [(pairing.ours, ours_s), (pairing.peer, peer_s)]
        for contender, seconds in turns if number % 2 == 0 else reversed(turns):
            seconds.append(_seconds(contender))
    ratios = pairwise_ratios(ours_s, peer_s)
    return Outcome(
        family=pairing.family,
        size=pairing.size,
        count=pairing.count,
        unit=pairing.unit,
        ours=pairing.ours.name,
        peer=pairing.peer.name,
        equal=equal,
        note=pairing.note,
        ours_s=tuple(ours_s),
        peer_s=tuple(peer_s),
        ratios=ratios,
        ratio=median(ratios),
    )


def pairwise_ratios(ours_s: Sequence[float], peer_s: Sequence[float]) -> tuple[float, ...]:
    """Ours / peer, round by round."""
    return tuple(ours / peer for ours, peer in zip(ours_s, peer_s, strict=True))


def exponent(first: tuple[int, float], last: tuple[int, float]) -> float:
    """Slope b of seconds ~ count^b between two (count, seconds); 1 is linear. NaN between equal counts."""
    if first[0] == last[0]:
        return math.nan
    return math.log(last[1] / first[1]) / math.log(last[0] / first[0])


def slopes(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Per family with several sizes: how the median second of each side grows from its first to its last size."""
    found = []
    for family in dict.fromkeys(outcome.family for outcome in outcomes):
        members = [outcome for outcome in outcomes if outcome.family == family]
        first, last = members[0], members[-1]
        if first.count == last.count:
            continue
        found.append(
            {
                "family": family,
                "from": first.count,
                "to": last.count,
                "unit": first.unit,
                "ours": exponent((first.count, median(first.ours_s)), (last.count, median(last.ours_s))),
                "peer": exponent((first.count, median(first.peer_s)), (last.count, median(last.peer_s))),
            }
        )
    return found


def _seconds(contender: Contender) -> float:
    work = contender.ready()
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
