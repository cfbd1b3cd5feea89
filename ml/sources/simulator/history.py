"""A simulated history as a value: the three frames of the lake, and the truth behind every failure and test."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import numpy as np
import pandas as pd

from ml.errors import SourceError
from ml.schemas import ChangedFiles, Runs, TestResults, columns
from ml.sources.reports.failure_text import read_failure
from ml.sources.simulator.execution import Cause, Execution, execute
from ml.sources.simulator.texts import Message, message_of, subject_of
from ml.sources.simulator.timeline import FIRST_HOUR, Plan, Timeline
from ml.sources.simulator.world import VARIANTS, SimulatedTest, World
from ml.spec import Outcome

SETUP_S = 150.0
RERUN_SHARE = {Cause.FLAKY: 0.6, Cause.INFRASTRUCTURE: 0.3, Cause.REGRESSION: 0.15}
FAILURE_COLUMNS = ["run_id", "attempt", "variant", "test_id", "state", "cause", "path", "thrown", "message"]
TEST_COLUMNS = ["test_id", "path", "dependencies", "flakiness", "first_run_id", "last_run_id"]


@dataclass(frozen=True)
class History:
    """What a world produced, as the collector will read it, and what only the simulator knows.

    Attributes:
        world: the parameters.
        runs: columns of `ml.schemas.Runs`, in order of start; announced runs have status ``announced`` and no
            `finished_at`. `author_id` is the plain simulated name, which no person has.
        test_results: columns of `ml.schemas.TestResults`, in order of execution; `position` counts through the whole
            suite of a variant, of which the written reports, one per module, tell the order within themselves only.
        changed_files: columns of `ml.schemas.ChangedFiles`.
        failures: truth, one row per failed or errored result: run_id, attempt, variant, test_id, state (regression,
            flaky or infrastructure), cause (change id, kind of flakiness or outage), path (the broken file; None
            unless a regression), and what the report says: thrown and message.
        tests: truth, one row per test that ever ran: test_id, path (its own file), dependencies (tuple of every path
            that can break it), flakiness (kind or None), first_run_id, last_run_id.
    """

    world: World
    runs: pd.DataFrame = field(repr=False)
    test_results: pd.DataFrame = field(repr=False)
    changed_files: pd.DataFrame = field(repr=False)
    failures: pd.DataFrame = field(repr=False)
    tests: pd.DataFrame = field(repr=False)


def simulate(world: World) -> History:
    """Simulate a world, run by run.

    Every run draws from a stream of its own (seeded by the world's seed and the number of the run), and nothing
    looks at the length of the history: a longer simulation begins with the shorter one.

    Raises:
        SourceError: a size of the world is out of range.
    """
    _check(world)
    timeline, record = Timeline(world), _Record(world)
    for index in range(1, world.run_count + world.announced_count + 1):
        rng = np.random.default_rng([world.seed, index])
        plan = timeline.plan(index, rng)
        record.add_change(plan)
        is_announced = index > world.run_count
        if is_announced:
            record.add_run(plan, 1, plan.started_at, None)
        # An announced run is executed too, unrecorded: the next one must be what it will be once both are over.
        timeline.record(plan, _run(plan, timeline, _Record(world) if is_announced else record, rng))
    return record.history(world, timeline.ever)


def _check(world: World) -> None:
    least = {"run_count": 1, "announced_count": 0, "module_count": 1, "tests_per_module": 1, "files_per_module": 1}
    least |= {"author_count": 1, "outage_every": 8, "seed": 0}
    for name, minimum in least.items():
        if getattr(world, name) < minimum:
            raise SourceError(f"World.{name} is {getattr(world, name)}; it must be {minimum} or more")
    for name in ("regression_rate", "flaky_share", "drift_at"):
        share = getattr(world, name)
        if share is not None and not 0 <= share < 1:
            raise SourceError(f"World.{name} is {share}; it must be at least 0 and below 1")
    for name in ("runs_per_day", "drift_duration_factor", "drift_failure_factor"):
        if not 0 < getattr(world, name) < float("inf"):
            raise SourceError(f"World.{name} is {getattr(world, name)}; it must be above 0 and finite")
    if world.start.utcoffset() != timedelta(0) or world.start.weekday() > 4 or world.start.hour != FIRST_HOUR:
        raise SourceError(
            f"World.start is {world.start}; it must be in UTC, Monday to Friday, in the hour from {FIRST_HOUR}:00"
        )


def _run(plan: Plan, timeline: Timeline, record: _Record, rng: np.random.Generator) -> datetime:
    """Execute a plan, a second time if someone asks for it; returns when the last attempt finished."""
    started_at = plan.started_at
    for attempt in (1, 2):
        executions = [
            (variant, execute(plan.tests, timeline.conditions(plan, variant, rng), rng)) for variant in VARIANTS
        ]
        slowest = max(sum(execution.durations_s) for _, execution in executions)
        finished_at = started_at + timedelta(seconds=round(SETUP_S + slowest))
        record.add_run(plan, attempt, started_at, finished_at)
        for variant, execution in executions:
            record.add_results(plan, attempt, variant, execution)
        states = {failure.state for _, execution in executions for failure in execution.failures.values()}
        patience = min((RERUN_SHARE[state] for state in states), default=0.0)
        if attempt == 1 and rng.random() >= patience:
            break
        started_at = finished_at + timedelta(seconds=int(rng.integers(60, 900)))
    return finished_at


class _Record:
    """Collects rows while the simulation runs, and turns them into frames once."""

    def __init__(self, world: World) -> None:
        self._project, self._seed = world.project, world.seed
        self._runs: list[dict[str, Any]] = []
        self._files: list[dict[str, Any]] = []
        self._failures: list[tuple[Any, ...]] = []
        self._told: dict[int, Message] = {}
        self._results: dict[str, list[Any]] = defaultdict(list)
        self._seen: dict[str, list[str]] = {}

    def add_change(self, plan: Plan) -> None:
        for file in plan.change.files:
            lines = {"path": file.path, "added": file.added, "deleted": file.deleted}
            self._files.append({"project": self._project, "run_id": _run_id(plan), **lines, "change_source": "exact"})

    def add_run(self, plan: Plan, attempt: int, started_at: datetime, finished_at: datetime | None) -> None:
        self._runs.append(
            {
                "project": self._project,
                "run_id": _run_id(plan),
                "attempt": attempt,
                "workflow": "ci",
                "event": plan.event,
                "branch": plan.branch,
                "commit_sha": plan.commit_sha,
                "change_id": plan.change.change_id,
                "change_title": subject_of(self._seed, plan.change, plan.index),
                "author_id": plan.change.author.name,
                "started_at": started_at,
                "finished_at": finished_at,
                "status": "announced" if finished_at is None else "success",
            }
        )

    def add_results(self, plan: Plan, attempt: int, variant: str, execution: Execution) -> None:
        run_id, tests = _run_id(plan), len(execution.tests)
        first = len(self._results["run_id"])
        test_ids = [test.test_id for test in execution.tests]
        for name, value in (("run_id", run_id), ("attempt", attempt), ("variant", variant)):
            self._results[name] += [value] * tests
        self._results["test_id"] += test_ids
        self._results["outcome"] += [outcome.value for outcome in execution.outcomes]
        self._results["duration_s"] += execution.durations_s
        places = count(1)
        self._results["position"] += [
            None if outcome is Outcome.SKIPPED else next(places) for outcome in execution.outcomes
        ]
        for test_id in test_ids:
            self._seen.setdefault(test_id, [run_id, run_id])[1] = run_id
        for position, failure in execution.failures.items():
            key = (run_id, attempt, variant, test_ids[position])
            place = (plan.index, attempt, VARIANTS.index(variant))
            message = message_of(self._seed, failure, test_ids[position], place)
            self._failures.append((*key, failure.state.value, failure.cause, failure.path, *message))
            self._told[first + position] = message
            self._runs[-1]["status"] = "failure"

    def history(self, world: World, tests: list[SimulatedTest]) -> History:
        runs = pd.DataFrame(self._runs, columns=columns(Runs))
        for name in ("started_at", "finished_at"):
            runs[name] = pd.to_datetime(runs[name], utc=True).astype("datetime64[us, UTC]")
        results = pd.DataFrame(self._results).assign(project=self._project, imputed=False)
        texts = [read_failure(*self._told[row]) if row in self._told else None for row in range(len(results))]
        results["failure_kind"] = pd.Series([text and text.kind for text in texts], dtype=object)
        results["failure_fingerprint"] = pd.Series([text and text.fingerprint for text in texts], dtype=object)
        files = pd.DataFrame(self._files, columns=columns(ChangedFiles))
        return History(
            world=world,
            runs=runs.astype({"is_fork": "boolean"}),
            test_results=results[columns(TestResults)].astype({"position": "Int64"}),
            changed_files=files.astype({"added": "Int64", "deleted": "Int64"}),
            failures=pd.DataFrame(self._failures, columns=FAILURE_COLUMNS).astype({"path": object}),
            tests=pd.DataFrame([self._truth(test) for test in tests if test.test_id in self._seen]),
        )

    def _truth(self, test: SimulatedTest) -> dict[str, Any]:
        kind = None if test.flakiness is None else test.flakiness.value
        facts = (test.test_id, test.path, tuple(test.breaks), kind, *self._seen[test.test_id])
        return dict(zip(TEST_COLUMNS, facts, strict=True))


def _run_id(plan: Plan) -> str:
    return f"run-{plan.index:05d}"
