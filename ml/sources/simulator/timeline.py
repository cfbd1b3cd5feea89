"""What happens when: pull requests open, are repaired and merged; trunk breaks and is fixed; outages and bursts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from ml.sources.simulator.changes import Change, Regression, Scene, amend, draw_change, draw_fix
from ml.sources.simulator.execution import Conditions
from ml.sources.simulator.world import VARIANTS, Author, SimulatedTest, World, build_code_base

FIRST_HOUR, LAST_HOUR = 8, 18
SAME_START_SHARE = 0.02
BURST_SHARE = 0.008  # of runs begin a burst of lost packets
FIX_SHARE = 0.75  # of repair commits repair
CONTINUE_SHARE = 0.55  # of runs with an open pull request at hand go on with it


@dataclass(frozen=True)
class Plan:
    """One run before its execution: the change under test, where it is tested, and what is broken there."""

    index: int
    change: Change
    event: str
    branch: str
    commit_sha: str
    started_at: datetime
    tests: tuple[SimulatedTest, ...]
    regressions: tuple[Regression, ...]


@dataclass(frozen=True)
class _Open:
    change: Change
    is_red: bool
    ready_at: datetime


@dataclass(frozen=True)
class _TrunkBug:
    regression: Regression
    author: Author
    fix_index: int


class Timeline:
    """The project as it moves from run to run. `plan` a run, execute it, then `record` when it finished."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.base = build_code_base(world)
        self.ever: list[SimulatedTest] = list(self.base.tests)
        self._trunk = list(self.base.tests)
        self._next_number = [world.tests_per_module] * world.module_count
        self._bugs: list[_TrunkBug] = []
        self._open: list[_Open] = []
        self._clock = world.start
        self._burst_until = world.start

    def plan(self, index: int, rng: np.random.Generator) -> Plan:
        """Decide what run `index` (from 1) tests and when it starts."""
        self._clock = _advance(self._clock, self.world.runs_per_day, rng)
        if rng.random() < BURST_SHARE:
            self._burst_until = self._clock + timedelta(hours=float(rng.uniform(2, 8)))
        for bug in self._bugs:
            if bug.fix_index <= index:
                self._bugs.remove(bug)
                return self._planned(draw_fix(bug.regression, bug.author, index, rng), index, rng, on_trunk=True)
        ready = [entry for entry in self._open if entry.ready_at <= self._clock]
        if ready and rng.random() < CONTINUE_SHARE:
            self._open.remove(ready[0])
            return self._go_on(ready[0], index, rng)
        return self._planned(self._draw(index, rng), index, rng, on_trunk=False)

    def record(self, plan: Plan, finished_at: datetime) -> None:
        """Take note that a run has finished: its pull request can be repaired or merged from then on."""
        if plan.event == "pull_request":
            is_red = plan.change.regression is not None and not plan.change.slips
            self._open.append(_Open(plan.change, is_red, finished_at))

    def conditions(self, plan: Plan, variant: str, rng: np.random.Generator) -> Conditions:
        """The surroundings of one execution of `plan`."""
        outage, variants, share = _outage(self.world, plan.index)
        hour = plan.started_at.hour + plan.started_at.minute / 60
        is_drifted = plan.index > self.world.drift_index
        return Conditions(
            variant=variant,
            regressions=plan.regressions,
            load=1 + float(np.exp(-(((hour - 14) / 2) ** 2))) * float(rng.uniform(0.6, 1.0)),
            has_burst=plan.started_at < self._burst_until,
            outage=outage if variant in variants else None,
            outage_share=share,
            growth=plan.index / 1000,
            duration_factor=self.world.drift_duration_factor if is_drifted else 1.0,
            failure_factor=self.world.drift_failure_factor if is_drifted else 1.0,
        )

    def _draw(self, index: int, rng: np.random.Generator) -> Change:
        is_drifted = index > self.world.drift_index
        change = draw_change(Scene(self.world, self.base, self._trunk, self._next_number, is_drifted), index, rng)
        if change.new_test is not None:
            self._next_number[change.new_test.module] += 1
            self.ever.append(change.new_test)
        return change

    def _go_on(self, entry: _Open, index: int, rng: np.random.Generator) -> Plan:
        if entry.is_red:
            change = amend(entry.change, rng, is_fixed=bool(rng.random() < FIX_SHARE))
            return self._planned(change, index, rng, on_trunk=False)
        change = entry.change
        self._trunk = _suite(self._trunk, change)
        if change.regression is not None:
            self._bugs.append(_TrunkBug(change.regression, change.author, index + int(rng.integers(1, 6))))
        return self._planned(change, index, rng, on_trunk=True)

    def _planned(self, change: Change, index: int, rng: np.random.Generator, *, on_trunk: bool) -> Plan:
        own = () if on_trunk or change.slips or change.regression is None else (change.regression,)
        return Plan(
            index=index,
            change=change,
            event="push" if on_trunk else "pull_request",
            branch="main" if on_trunk else change.branch,
            commit_sha=rng.bytes(20).hex(),
            started_at=self._clock,
            tests=tuple(self._trunk if on_trunk else _suite(self._trunk, change)),
            # The fault of the change under test comes last: it explains a test that is broken twice.
            regressions=(*(bug.regression for bug in self._bugs), *own),
        )


def _suite(trunk: Sequence[SimulatedTest], change: Change) -> list[SimulatedTest]:
    kept = [test for test in trunk if test.test_id != change.removed]
    return kept if change.new_test is None else [*kept, change.new_test]


def _advance(moment: datetime, runs_per_day: float, rng: np.random.Generator) -> datetime:
    """The start of the next run: a random gap of working time later, in whole seconds."""
    if rng.random() < SAME_START_SHARE:
        return moment
    day_s = (LAST_HOUR - FIRST_HOUR) * 3600
    left = float(rng.exponential(day_s / runs_per_day))
    closing = moment.replace(hour=LAST_HOUR, minute=0, second=0)
    while left > (closing - moment).total_seconds():
        left -= (closing - moment).total_seconds()
        days = 3 if closing.weekday() == 4 else 1
        moment = (closing + timedelta(days=days)).replace(hour=FIRST_HOUR)
        closing = moment.replace(hour=LAST_HOUR)
    return moment + timedelta(seconds=round(left))


def _outage(world: World, index: int) -> tuple[str | None, tuple[str, ...], float]:
    """Name, variants and share of swallowed tests of the outage that run `index` falls into, if any."""
    stretch = (index - 1) // world.outage_every
    rng = np.random.default_rng([world.seed, 0, stretch + 1])
    first = stretch * world.outage_every + int(rng.integers(world.outage_every // 4, world.outage_every * 3 // 4))
    variants = VARIANTS if rng.random() < 0.5 else (VARIANTS[int(rng.integers(2))],)
    if not first <= index < first + int(rng.integers(3, 6)):
        return None, (), 0.0
    return f"outage-{stretch + 1}", variants, float(rng.uniform(0.7, 0.95))
