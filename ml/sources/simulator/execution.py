"""One execution of the test suite on one variant: what each test answers, how long it takes, and why it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ml.sources.simulator.changes import Regression
from ml.sources.simulator.world import Flakiness, SimulatedTest
from ml.spec import Outcome

# Seen per execution: rare enough that most failing runs are the fault of a change, frequent enough to be learnt.
TIMING_RATE = 0.002  # at load 1, grows with the square of the load
ORDER_RATE = 0.5  # when the test runs directly after its polluter
BURST_RATE, CALM_RATE = 0.5, 0.0003  # network tests inside and outside a burst of lost packets
PLATFORM_RATE = 0.008  # on windows only
WINDOWS_SLOWDOWN = 1.3


class Cause(StrEnum):
    """True state of a failure."""

    REGRESSION = "regression"
    FLAKY = "flaky"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True)
class Failure:
    """Why a test failed. `cause` is a change id, a kind of flakiness or an outage; `path` the broken file or None."""

    state: Cause
    cause: str
    path: str | None = None


@dataclass(frozen=True)
class Conditions:
    """What surrounds an execution.

    `load` is 1 at night and 2 at the peak; `outage` names the outage that swallows `outage_share` of the tests;
    `growth` is the run index in thousands.
    """

    variant: str
    regressions: Sequence[Regression]
    load: float
    has_burst: bool
    outage: str | None
    outage_share: float
    growth: float
    duration_factor: float
    failure_factor: float


@dataclass(frozen=True)
class Execution:
    """Results in the order of execution; `failures` maps a position to the truth of that failure."""

    tests: tuple[SimulatedTest, ...]
    outcomes: tuple[Outcome, ...]
    durations_s: tuple[float, ...]
    failures: dict[int, Failure]


def execute(tests: Sequence[SimulatedTest], conditions: Conditions, rng: np.random.Generator) -> Execution:
    """Run the tests in a random order under the given conditions."""
    order = rng.permutation(len(tests))
    chances, swallowed = rng.random(len(tests)), rng.random(len(tests)) < conditions.outage_share
    broken = {
        test_id: regression
        for regression in conditions.regressions
        for variant, test_id in regression.broken
        if variant == conditions.variant
    }
    failures: dict[int, Failure] = {}
    skipped: set[int] = set()
    for position, index in enumerate(order):
        test = tests[index]
        if test.is_skipped_on_windows and conditions.variant == "windows":
            skipped.add(position)
        elif conditions.outage is not None and swallowed[position]:
            failures[position] = Failure(Cause.INFRASTRUCTURE, conditions.outage)
        elif test.test_id in broken:
            regression = broken[test.test_id]
            failures[position] = Failure(Cause.REGRESSION, regression.change_id, regression.path)
        elif test.flakiness is not None:
            # Its polluter is the test before it in the suite; shuffling brings the two together now and then.
            is_polluted = position > 0 and order[position - 1] == (index - 1) % len(tests)
            if chances[position] < _flaky_rate(test.flakiness, conditions, is_polluted=is_polluted):
                failures[position] = Failure(Cause.FLAKY, test.flakiness.value)
    ordered = tuple(tests[index] for index in order)
    durations = _durations(ordered, failures, skipped, conditions, rng)
    outcomes = tuple(_outcome(position, failures, skipped) for position in range(len(ordered)))
    return Execution(ordered, outcomes, durations, failures)


def _flaky_rate(kind: Flakiness, conditions: Conditions, *, is_polluted: bool) -> float:
    rates = {
        Flakiness.TIMING: TIMING_RATE * conditions.load**2,
        Flakiness.ORDER: ORDER_RATE if is_polluted else 0.0,
        Flakiness.NETWORK: BURST_RATE if conditions.has_burst else CALM_RATE,
        Flakiness.PLATFORM: PLATFORM_RATE if conditions.variant == "windows" else 0.0,
    }
    return rates[kind] * conditions.failure_factor


def _outcome(position: int, failures: dict[int, Failure], skipped: set[int]) -> Outcome:
    if position in skipped:
        return Outcome.SKIPPED
    if position not in failures:
        return Outcome.PASSED
    return Outcome.ERROR if failures[position].state is Cause.INFRASTRUCTURE else Outcome.FAILED


def _durations(
    tests: Sequence[SimulatedTest],
    failures: dict[int, Failure],
    skipped: set[int],
    conditions: Conditions,
    rng: np.random.Generator,
) -> tuple[float, ...]:
    median = np.array([test.log_duration_s + test.trend * conditions.growth for test in tests])
    slowdown = WINDOWS_SLOWDOWN if conditions.variant == "windows" else 1.0
    noise = rng.normal(0.0, 0.15, len(tests))
    seconds = np.exp(median + noise) * slowdown * conditions.load**0.3 * conditions.duration_factor
    for position, failure in failures.items():
        # A failure stops early, a timeout waits, and without infrastructure nothing starts.
        is_timeout = failure.cause in (Flakiness.TIMING, Flakiness.NETWORK)
        seconds[position] *= 0.05 if failure.state is Cause.INFRASTRUCTURE else 3.0 if is_timeout else 0.7
    for position in skipped:
        seconds[position] = 0.0
    return tuple(float(value) for value in np.round(seconds, 3))
