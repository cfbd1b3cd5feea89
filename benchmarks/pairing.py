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
    """What was measured, in the order of the rounds; `ratio` is ours / peer in wall seconds: below 1 ours is faster.

    CPU seconds are those of this process alone, so without the work of a PostgreSQL server.
    """

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
    ours_cpu_s: tuple[float, ...]
    peer_cpu_s: tuple[float, ...]
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
    ours: list[tuple[float, float]] = []
    peer: list[tuple[float, float]] = []
    for number in range(rounds):
        turns = [(pairing.ours, ours), (pairing.peer, peer)]
        for contender, seconds in turns if number % 2 == 0 else reversed(turns):
            seconds.append(_seconds(contender))
    (ours_s, ours_cpu_s), (peer_s, peer_cpu_s) = zip(*ours, strict=True), zip(*peer, strict=True)
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
        ours_s=ours_s,
        peer_s=peer_s,
        ours_cpu_s=ours_cpu_s,
        peer_cpu_s=peer_cpu_s,
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
    """Per family with several sizes: how the least CPU seconds of each side grow from its first to its last size.

    CPU, because the sizes are timed minutes apart and the machine may be busier at one than at the other.
    """
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
                "ours": exponent((first.count, min(first.ours_cpu_s)), (last.count, min(last.ours_cpu_s))),
                "peer": exponent((first.count, min(first.peer_cpu_s)), (last.count, min(last.peer_cpu_s))),
            }
        )
    return found


def _seconds(contender: Contender) -> tuple[float, float]:
    """Wall and CPU seconds of one round."""
    work = contender.ready()
    gc.collect()
    began, began_cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - began_cpu
