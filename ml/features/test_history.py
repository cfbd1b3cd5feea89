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
import pyarrow as pa

from ml.features.lineage import joined
from ml.features.queries import Engine
from ml.features.sequences import Moments, Numbers, Values, latest, rate, starts, total, where, without

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
COLUMNS = """
    SELECT e.series_no, e.run_no, COALESCE(l.lineage_no, e.series_no) AS lineage_no, e.failed,
        CAST(ROUND(e.duration_s * 1000) AS BIGINT) AS duration_ms
    """


@dataclass(frozen=True)
class Executions:
    """All executions, ordered by lineage, then by place in the order of becoming known, then by series.

    Attributes:
        moments: When runs became known.
        codes: `Moments.codes` of lineage and place.
        lineage_no, series_no, run_no, place: Of each execution.
        start: Where its lineage starts.
        failed: 0 or 1.
        is_flip: Whether the execution before it ended otherwise.
        duration_ms: NaN where unknown.
    """

    moments: Moments
    codes: Numbers
    lineage_no: Numbers
    series_no: Numbers
    run_no: Numbers
    place: Numbers
    start: Numbers
    failed: Numbers
    is_flip: Numbers
    duration_ms: Values


def executions(engine: Engine) -> Executions:
    """Sort them; and create ``failure_place``, a row per failed one, for what is told of failures alone.

    Its columns: lineage_no, series_no, run_no, known_us, n (1, 2, ... among all executions of the lineage), previous
    (outcome of the execution before), next_failed and next_us (outcome of the next one, and when it was known); null
    where there is none.
    """
    found = _sorted(engine, Moments.of(engine))
    at = np.flatnonzero(found.failed)
    has_next = np.zeros(len(found.codes), bool)
    has_next[:-1] = found.lineage_no[1:] == found.lineage_no[:-1]
    after = np.minimum(at + 1, len(found.codes) - 1)
    known_us = found.moments.known_us[found.place]
    columns = {
        **{name: pa.array(getattr(found, name)[at], pa.int32()) for name in ("lineage_no", "series_no", "run_no")},
        "known_us": pa.array(known_us[at], pa.int64()),
        "n": pa.array(at + 1 - found.start[at], pa.int64()),
        "previous": pa.array(1 - found.is_flip[at], pa.int32(), mask=found.start[at] == at),
        "next_failed": pa.array(found.failed[after], pa.int32(), mask=~has_next[at]),
        "next_us": pa.array(known_us[after], pa.int64(), mask=~has_next[at]),
    }
    engine.register_frame("failure_place", pa.table(columns))
    return found


def _sorted(engine: Engine, moments: Moments) -> Executions:
    found = engine.fetch(
        f"{COLUMNS} FROM execution AS e {joined('test_lineage', 'series_no', 'e.series_no', 'e.known_us')}"
    )
    place = moments.place[found["run_no"].to_numpy() - 1]
    codes = moments.codes(found["lineage_no"].to_numpy(), place)
    order = np.argsort(codes)
    ordered = codes[order]
    if (ordered[1:] == ordered[:-1]).any():  # a test that ran under its old and its new name
        order = np.lexsort((found["series_no"].to_numpy(), codes))
    lineage_no, failed = found["lineage_no"].to_numpy()[order], found["failed"].to_numpy(np.int8)[order]
    start = starts(lineage_no)
    is_flip = np.zeros(len(order), np.int8)
    is_flip[1:] = (failed[1:] != failed[:-1]) & (start[1:] != np.arange(1, len(order)))
    return Executions(
        moments,
        ordered,
        lineage_no,
        found["series_no"].to_numpy()[order],
        found["run_no"].to_numpy()[order],
        place[order],
        start,
        failed,
        is_flip,
        found["duration_ms"].to_numpy(np.float64, na_value=np.nan)[order],
    )


def features(done: Executions, rows: Mapping[str, Numbers]) -> dict[str, Values]:
    """Name to value of each row asked for (lineage_no, at_us), NaN or 0 where its test has no known execution."""
    before, week_ago = (_latest(done, rows["lineage_no"], rows["at_us"] - back) for back in (0, WEEK_US))
    told = _told(done, np.maximum(before, 0), week_ago, rows["at_us"])
    unknown = np.flatnonzero(before < 0)
    return {name: without(values, unknown, 0 if name in ZERO_AT_FIRST else np.nan) for name, values in told.items()}


def _latest(done: Executions, lineage_no: Numbers, at_us: Numbers) -> Numbers:
    codes = done.moments.codes
    return latest(done.codes, codes(lineage_no, 0), codes(lineage_no, done.moments.before(at_us)))


def _told(done: Executions, at: Numbers, week_ago: Numbers, at_us: Numbers) -> dict[str, Values]:
    """What the executions up to and with `at` tell; `week_ago` is -1 where the test had none then."""
    failures, flips = total(done.failed), total(done.is_flip)
    start = done.start[at]
    count, failed = at + 1 - start, failures[at + 1] - failures[start]
    week_start = np.where(week_ago < 0, start, week_ago + 1)
    known_us = done.moments.known_us[done.place]
    return {
        "executions_count": count,
        "failures_count": failed,
        "failure_rate": rate(failed, count),
        **{f"failure_rate_last_{back}": _rate_since(failures, at, start, back) for back in (5, 10, 30)},
        "is_failing": done.failed[at],
        "flip_rate_last_20": rate(flips[at + 1] - flips[np.maximum(at - 19, start)], np.minimum(count - 1, 20)),
        **_changes(done, failures, at),
        **_last_failure(done, failures, at, at_us),
        "since_execution_s": (at_us - known_us[at]) / 1e6,
        "age_s": (at_us - known_us[start]) / 1e6,
        "executions_7d": at + 1 - week_start,
        "failures_7d": failures[at + 1] - failures[week_start],
        **_durations(done, at),
    }


def _rate_since(failures: Numbers, at: Numbers, start: Numbers, back: int) -> Values:
    first = np.maximum(at + 1 - back, start)
    return rate(failures[at + 1] - failures[first], at + 1 - first)


def _changes(done: Executions, failures: Numbers, at: Numbers) -> dict[str, Values]:
    """How often a failure came after a pass, ever and lately, and a pass after a failure."""
    new, recovered = total(done.is_flip & done.failed), total(done.is_flip & (1 - done.failed))
    start = done.start[at]
    failed, start_30 = failures[at] - failures[start], np.maximum(at - 30, start)
    passes_30 = at - start_30 - (failures[at] - failures[start_30])
    return {
        "new_failure_rate": rate(new[at + 1] - new[start], at - start - failed),
        "new_failure_rate_last_30": rate(new[at + 1] - new[np.maximum(at - 29, start)], passes_30),
        "recovery_rate": rate(recovered[at + 1] - recovered[start], failed),
    }


def _last_failure(done: Executions, failures: Numbers, at: Numbers, at_us: Numbers) -> dict[str, Values]:
    """How long ago it was, how many it ended in a row, and both averages, which only decay after it."""
    has = failures[at + 1] > failures[done.start[at]]
    place = np.flatnonzero(done.failed)
    nth = failures[at + 1][has] - 1
    last = place[nth]
    same_since = np.maximum.accumulate(np.where(done.is_flip, np.arange(len(done.start)), done.start))
    streak, ago = last + 1 - same_since[last], at[has] - last
    found = {
        "failures_in_a_row_count": np.where(done.failed[at], at + 1 - same_since[at], 0),
        "executions_since_failure_count": where(has, ago),
        "executions_since_new_failure_count": where(has, ago + streak - 1),
        "since_failure_s": where(has, (at_us[has] - done.moments.known_us[done.place[last]]) / 1e6),
    }
    for name, keep in KEEP.items():
        level = _levels(keep, place, done.start[place])[nth] * keep**ago
        found[f"{name}_failure_rate"] = where(has, level, 0.0)
    return found


def _levels(keep: float, place: Numbers, start: Numbers) -> Values:
    """The moving average s <- keep s + (1 - keep) failed right after each failure; step by step, so in one order."""
    gaps = np.diff(place, prepend=0)
    kept = np.where(np.diff(start, prepend=-1) == 0, keep**gaps, 0.0)
    level, found = 0.0, []
    for share in kept.tolist():
        level = level * share + (1 - keep)
        found.append(level)
    return np.array(found, np.float64)


def _durations(done: Executions, at: Numbers) -> dict[str, Values]:
    known = ~np.isnan(done.duration_ms)
    count, sums = total(known), total(np.where(known, done.duration_ms, 0).astype(np.int64))
    start = done.start[at]
    mean = rate(sums[at + 1] - sums[start], count[at + 1] - count[start])
    last = done.duration_ms[at]
    return {"mean_duration_s": mean / 1e3, "last_duration_s": last / 1e3, "duration_deviation_s": (last - mean) / 1e3}


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
