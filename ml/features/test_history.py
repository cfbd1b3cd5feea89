"""How a test behaved before: counts, rates, decays, streaks, age and durations per (variant, test_id).

A renamed test keeps its history: all is counted per lineage (`ml.features.lineage`).

Form: all executions, those of a lineage together and in the order of becoming known, sorted once
(`ml.features.sequences`). Each query finds the latest one known strictly before it, and every feature is told from
there by differences of counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.features.assembly import Named, Rows
from ml.features.executions import Executions
from ml.features.queries import Engine
from ml.features.sequences import Facts, Numbers, Values, rate, starts, total, where, without

WEEK_US = 7 * 86_400_000_000
KEEP = {"ewma": 0.8, "slow_ewma": 0.95}
# What is 0 for a test without a known execution; all else of it is unknown.
ZERO_AT_FIRST = (
    "executions_count",
    "failures_count",
    "failures_in_a_row_count",
    "ewma_failure_rate",
    "slow_ewma_failure_rate",
    "executions_7d",
    "failures_7d",
)


@dataclass(frozen=True)
class History:
    """Executions with totals before each of them and after the last, from which every feature is a difference.

    Attributes:
        done: All executions.
        facts: The same, by lineage.
        failures, flips, new_failures, recoveries: How many there are.
        timed, whole_ms: Durations that are known, and their sum.
        same_since: Of each execution, the first of those before it that ended alike.
        failed_at: The executions that failed.
        levels: Both averages right after each of `failed_at`.
    """

    done: Executions
    facts: Facts
    failures: Numbers
    flips: Numbers
    new_failures: Numbers
    recoveries: Numbers
    timed: Numbers
    whole_ms: Numbers
    same_since: Numbers
    failed_at: Numbers
    levels: Mapping[str, Values]

    @classmethod
    def of(cls, done: Executions) -> "History":
        """What these executions tell."""
        facts, failed_at = Facts.of(done.moments, done.codes), np.flatnonzero(done.failed)
        whole_ms = _whole_ms(done.duration_s)
        known = ~np.isnan(whole_ms)
        same_since = np.maximum.accumulate(np.where(done.is_flip, np.arange(len(done.start)), done.start))
        levels = {name: _levels(keep, failed_at, done.start[failed_at]) for name, keep in KEEP.items()}
        return cls(
            done,
            facts,
            total(done.failed),
            total(done.is_flip),
            total(done.is_flip & done.failed),
            total(done.is_flip & (1 - done.failed)),
            total(known),
            total(np.where(known, whole_ms, 0).astype(np.int64)),
            same_since,
            failed_at,
            levels,
        )

    def features(self, rows: Rows) -> Named:
        """Name and value of each row asked for, NaN or 0 where its test has no known execution."""
        before, week_ago = (self.facts.latest(rows["lineage_no"], rows[known]) for known in ("before", "week_before"))
        unknown = np.flatnonzero(before < 0)
        for name, values in self._told(np.maximum(before, 0), week_ago, rows["at_us"]):
            yield name, without(values, unknown, 0 if name in ZERO_AT_FIRST else np.nan)

    def _told(self, at: Numbers, week_ago: Numbers, at_us: Numbers) -> Named:
        """What the executions up to and with `at` tell; `week_ago` is -1 where the test had none then."""
        done, flips = self.done, self.flips
        start, end = done.start[at], at + 1
        count, failed_before = end - start, self.failures[end]
        yield "executions_count", count
        failed = failed_before - self.failures[start]
        yield "failures_count", failed
        yield "failure_rate", rate(failed, count)
        for back in (5, 10, 30):
            first = np.maximum(end - back, start)
            yield f"failure_rate_last_{back}", rate(failed_before - self.failures[first], end - first)
        yield "is_failing", done.failed[at]
        yield "flip_rate_last_20", rate(flips[end] - flips[np.maximum(at - 19, start)], np.minimum(count - 1, 20))
        yield from self._changes(at, start)
        yield from self._last_failure(at, at_us, failed > 0)
        known_us = done.moments.known_us
        yield "since_execution_s", (at_us - known_us[done.place[at]]) / 1e6
        yield "age_s", (at_us - known_us[done.place[start]]) / 1e6
        week_start = np.where(week_ago < 0, start, week_ago + 1)
        yield "executions_7d", end - week_start
        yield "failures_7d", failed_before - self.failures[week_start]
        yield from self._durations(at, start)

    def _changes(self, at: Numbers, start: Numbers) -> Named:
        """How often a failure came after a pass, ever and lately, and a pass after a failure."""
        failures, new, recovered = self.failures, self.new_failures, self.recoveries
        failed, start_30 = failures[at] - failures[start], np.maximum(at - 30, start)
        passes_30 = at - start_30 - (failures[at] - failures[start_30])
        yield "new_failure_rate", rate(new[at + 1] - new[start], at - start - failed)
        yield "new_failure_rate_last_30", rate(new[at + 1] - new[np.maximum(at - 29, start)], passes_30)
        yield "recovery_rate", rate(recovered[at + 1] - recovered[start], failed)

    def _last_failure(self, at: Numbers, at_us: Numbers, has: npt.NDArray[np.bool_]) -> Named:
        """How long ago it was, how many it ended in a row, and both averages, which only decay after it."""
        done, same_since = self.done, self.same_since
        nth = self.failures[at + 1][has] - 1
        last = self.failed_at[nth]
        streak, ago = last + 1 - same_since[last], at[has] - last
        yield "failures_in_a_row_count", np.where(done.failed[at], at + 1 - same_since[at], 0)
        yield "executions_since_failure_count", where(has, ago)
        yield "executions_since_new_failure_count", where(has, ago + streak - 1)
        yield "since_failure_s", where(has, (at_us[has] - done.moments.known_us[done.place[last]]) / 1e6)
        for name, keep in KEEP.items():
            yield f"{name}_failure_rate", where(has, self.levels[name][nth] * keep**ago, 0.0)

    def _durations(self, at: Numbers, start: Numbers) -> Named:
        mean = rate(self.whole_ms[at + 1] - self.whole_ms[start], self.timed[at + 1] - self.timed[start])
        last = _whole_ms(self.done.duration_s[at])
        yield "mean_duration_s", mean / 1e3
        yield "last_duration_s", last / 1e3
        yield "duration_deviation_s", (last - mean) / 1e3


def _whole_ms(seconds: Values) -> Values:
    return np.floor(seconds * 1000 + 0.5)


def _levels(keep: float, place: Numbers, start: Numbers) -> Values:
    """The moving average s <- keep s + (1 - keep) failed right after each failure; step by step, so in one order."""
    gaps = np.diff(place, prepend=0)
    kept = np.where(np.diff(start, prepend=-1) == 0, keep**gaps, 0.0)
    level, found = 0.0, []
    for share in kept.tolist():
        level = level * share + (1 - keep)
        found.append(level)
    return np.array(found, np.float64)


@dataclass(frozen=True)
class FailuresBy:
    """Failures of each test in the runs of one change, author, ..., in the order of becoming known.

    Attributes:
        tests: How many numbers tests have.
        facts: The failures, by key and lineage.
        nth: Which of its key and lineage each one is (1, 2, ...); 0 after the last.
        asked: Number of the key of each run asked for, by query_no - 1; -1 without one.
    """

    tests: int
    facts: Facts
    nth: Numbers
    asked: Numbers

    @classmethod
    def of(cls, engine: Engine, done: Executions, key: str, among: str = "TRUE") -> "FailuresBy":
        """Of runs with the same `key`, a column of ``run_result`` and ``query_run``; `among` is said of the former."""
        runs = engine.fetch(
            f"SELECT CASE WHEN {among} THEN o.{key} END AS text FROM run AS r "
            "LEFT JOIN run_result AS o ON o.run_no = r.run_no ORDER BY r.run_no"
        )
        asked = engine.fetch(f"SELECT {key} AS text FROM query_run ORDER BY query_no")
        numbers, _ = pd.factorize(pd.concat([runs["text"], asked["text"]]))
        failed = np.flatnonzero(done.failed)
        keys, tests = numbers[done.run_no[failed] - 1], int(done.series_no.max(initial=0)) + 1
        pairs, place = keys * tests + done.lineage_no[failed], done.place[failed]
        codes = np.sort(done.moments.codes(pairs, place)[keys >= 0])
        nth = np.arange(len(codes)) + 1 - starts(done.moments.groups(codes))
        return cls(tests, Facts.of(done.moments, codes), np.append(nth, 0), numbers[len(runs) :])

    def before(self, rows: Rows) -> Numbers:
        """How many each row may know of; 0 without a key."""
        pairs = self.asked[rows["query_no"] - 1] * self.tests + rows["lineage_no"]
        return self.nth[self.facts.latest(pairs, rows["before"])]

    def of_change(self, rows: Rows) -> Named:
        """The feature that this is, where the key is the change."""
        yield "change_failures_count", self.before(rows)
