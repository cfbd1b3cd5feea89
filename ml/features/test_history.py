"""How a test behaved before: counts, rates, decays, streaks, age and durations per (variant, test_id).

A renamed test keeps its history: all is counted per lineage (`ml.features.lineage`).

Form: all executions, those of a lineage together and in the order of becoming known, sorted once
(`ml.features.sequences`). Each query finds the latest one known strictly before it, and every feature is told from
there by differences of counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.features.assembly import Named
from ml.features.executions import Executions
from ml.features.queries import Engine
from ml.features.sequences import Numbers, Values, latest, rate, starts, total, where, without

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


def features(done: Executions, rows: Mapping[str, Numbers]) -> Named:
    """Name and value of each row asked for, NaN or 0 where its test has no known execution."""
    before, week_ago = (_latest(done, rows["lineage_no"], rows[known]) for known in ("before", "week_before"))
    told = _told(done, np.maximum(before, 0), week_ago, rows["at_us"])
    unknown = np.flatnonzero(before < 0)
    for name, values in told:
        yield name, without(values, unknown, 0 if name in ZERO_AT_FIRST else np.nan)


def _latest(done: Executions, lineage_no: Numbers, before: Numbers) -> Numbers:
    codes = done.moments.codes
    return latest(done.codes, codes(lineage_no, 0), codes(lineage_no, before))


def _told(done: Executions, at: Numbers, week_ago: Numbers, at_us: Numbers) -> Named:
    """What the executions up to and with `at` tell; `week_ago` is -1 where the test had none then."""
    failures, flips = total(done.failed), total(done.is_flip)
    start, end = done.start[at], at + 1
    count, failed_before = end - start, failures[end]
    yield "executions_count", count
    failed = failed_before - failures[start]
    yield "failures_count", failed
    yield "failure_rate", rate(failed, count)
    for back in (5, 10, 30):
        first = np.maximum(end - back, start)
        yield f"failure_rate_last_{back}", rate(failed_before - failures[first], end - first)
    yield "is_failing", done.failed[at]
    yield "flip_rate_last_20", rate(flips[end] - flips[np.maximum(at - 19, start)], np.minimum(count - 1, 20))
    yield from _changes(done, failures, at)
    yield from _last_failure(done, failures, at, at_us)
    known_us = done.moments.known_us[done.place]
    yield "since_execution_s", (at_us - known_us[at]) / 1e6
    yield "age_s", (at_us - known_us[start]) / 1e6
    week_start = np.where(week_ago < 0, start, week_ago + 1)
    yield "executions_7d", end - week_start
    yield "failures_7d", failed_before - failures[week_start]
    yield from _durations(done, at)


def _changes(done: Executions, failures: Numbers, at: Numbers) -> Named:
    """How often a failure came after a pass, ever and lately, and a pass after a failure."""
    new, recovered = total(done.is_flip & done.failed), total(done.is_flip & (1 - done.failed))
    start = done.start[at]
    failed, start_30 = failures[at] - failures[start], np.maximum(at - 30, start)
    passes_30 = at - start_30 - (failures[at] - failures[start_30])
    yield "new_failure_rate", rate(new[at + 1] - new[start], at - start - failed)
    yield "new_failure_rate_last_30", rate(new[at + 1] - new[np.maximum(at - 29, start)], passes_30)
    yield "recovery_rate", rate(recovered[at + 1] - recovered[start], failed)


def _last_failure(done: Executions, failures: Numbers, at: Numbers, at_us: Numbers) -> Named:
    """How long ago it was, how many it ended in a row, and both averages, which only decay after it."""
    has = failures[at + 1] > failures[done.start[at]]
    place = np.flatnonzero(done.failed)
    nth = failures[at + 1][has] - 1
    last = place[nth]
    same_since = np.maximum.accumulate(np.where(done.is_flip, np.arange(len(done.start)), done.start))
    streak, ago = last + 1 - same_since[last], at[has] - last
    yield "failures_in_a_row_count", np.where(done.failed[at], at + 1 - same_since[at], 0)
    yield "executions_since_failure_count", where(has, ago)
    yield "executions_since_new_failure_count", where(has, ago + streak - 1)
    yield "since_failure_s", where(has, (at_us[has] - done.moments.known_us[done.place[last]]) / 1e6)
    for name, keep in KEEP.items():
        level = _levels(keep, place, done.start[place])[nth] * keep**ago
        yield f"{name}_failure_rate", where(has, level, 0.0)


def _levels(keep: float, place: Numbers, start: Numbers) -> Values:
    """The moving average s <- keep s + (1 - keep) failed right after each failure; step by step, so in one order."""
    gaps = np.diff(place, prepend=0)
    kept = np.where(np.diff(start, prepend=-1) == 0, keep**gaps, 0.0)
    level, found = 0.0, []
    for share in kept.tolist():
        level = level * share + (1 - keep)
        found.append(level)
    return np.array(found, np.float64)


def _durations(done: Executions, at: Numbers) -> Named:
    known, whole_ms = ~np.isnan(done.duration_s), np.floor(done.duration_s * 1000 + 0.5)
    count, sums = total(known), total(np.where(known, whole_ms, 0).astype(np.int64))
    start = done.start[at]
    mean = rate(sums[at + 1] - sums[start], count[at + 1] - count[start])
    last = whole_ms[at]
    yield "mean_duration_s", mean / 1e3
    yield "last_duration_s", last / 1e3
    yield "duration_deviation_s", (last - mean) / 1e3


@dataclass(frozen=True)
class FailuresBy:
    """Failures of each test in the runs of one change, author, ..., in the order of becoming known.

    Attributes:
        done: All executions.
        codes: `Moments.codes` of key and lineage, and place; ascending.
        asked: Number of the key of each run asked for, by query_no - 1; -1 without one.
    """

    done: Executions
    codes: Numbers
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
        keys = numbers[done.run_no - 1]
        at = np.flatnonzero((done.failed == 1) & (keys >= 0))
        pairs = _pair(done, keys[at], done.lineage_no[at])
        return cls(done, np.sort(done.moments.codes(pairs, done.place[at])), numbers[len(runs) :])

    def before(self, rows: Mapping[str, Numbers]) -> Numbers:
        """How many each row may know of; 0 without a key."""
        codes, pairs = self.done.moments.codes, _pair(self.done, self.asked[rows["query_no"] - 1], rows["lineage_no"])
        found = latest(self.codes, codes(pairs, 0), codes(pairs, rows["before"]))
        nth = np.arange(len(self.codes)) + 1 - starts(self.done.moments.groups(self.codes))
        return np.append(nth, 0)[found]


def _pair(done: Executions, key: Numbers, lineage_no: Numbers) -> Numbers:
    return key.astype(np.int64) * (int(done.series_no.max(initial=0)) + 1) + lineage_no
