"""What ran right before a test, from typed positions."""

from typing import Any

import pandas as pd
import pyarrow as pa

from ml.engine import open_engine
from ml.labels import executions, neighbours
from tests.feature_builders import RESULT_TYPES, RUN_TYPES, at, run

PLACED = RESULT_TYPES.append(pa.field("position", pa.int64()))
OUTCOMES = {"p": "passed", "f": "failed", "s": "skipped"}
Told = list[tuple[str, str, bool, str | None]]


def placed(run_id: str, order: str, attempt: int = 1, variant: str = "v", start: int = 1) -> list[dict[str, Any]]:
    """Results in order, as ``ap bf``: test and outcome; ``.`` leaves a position out, with ``?`` a result has none."""
    rows: list[dict[str, Any]] = []
    position = start
    for word in order.split():
        if word != ".":
            named = {"run_id": run_id, "attempt": attempt, "variant": variant, "test_id": word[0], "duration_s": 1.0}
            rows.append({**named, "outcome": OUTCOMES[word[1]], "position": None if word[2:] else position})
        position += 0 if word[2:] else 1
    return rows


def told(rows: list[dict[str, Any]], test: str = "t", as_of: float = 10_000) -> Told:
    """run, attempt or variant, failed and what ran before, of one test."""
    attempts = sorted({(row["run_id"], row["attempt"]) for row in rows})
    runs = [
        run(run_id, 100 * int(run_id[1:]) + attempt, 100 * int(run_id[1:]) + attempt + 50, attempt=attempt)
        for run_id, attempt in attempts
    ]
    frames = {"runs": pd.DataFrame(runs), "test_results": pd.DataFrame(rows)}
    with open_engine("duckdb", threads=1) as engine:
        for name, schema in (("runs", RUN_TYPES.append(pa.field("commit_sha", pa.string()))), ("test_results", PLACED)):
            frame = frames[name].reindex(columns=schema.names)
            engine.register_frame(name, pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
        executions(engine, at(as_of))
        found = neighbours(engine)
    found = found[found["test_id"] == test]
    before = [None if pd.isna(name) else str(name) for name in found["before"]]
    return list(zip(found["run_id"], found["variant"], map(bool, found["failed"]), before, strict=True))


def test_each_attempt_tells_what_ran_before_in_the_order_of_time() -> None:
    rows = placed("r2", "tf ap") + placed("r1", "ap tf bp") + placed("r1", "bp ap . tp", attempt=2)
    assert told(rows) == [("r1", "v", True, "a"), ("r1", "v", False, None), ("r2", "v", True, None)]


def test_variants_are_apart() -> None:
    rows = placed("r1", "ap tf") + placed("r2", "bp tf") + placed("r1", "cp tf", variant="w")
    assert told(rows) == [("r1", "v", True, "a"), ("r2", "v", True, "b")]


def test_a_test_that_failed_in_one_run_only_is_left_out() -> None:
    assert told(placed("r1", "ap tf") + placed("r1", "ap tf", attempt=2) + placed("r2", "ap tp")) == []


def test_results_without_a_place_are_nobodys_neighbours() -> None:
    rows = placed("r1", "ap bp? tf") + placed("r2", "ap tf") + placed("r3", "ap tf?")
    assert told(rows) == [("r1", "v", True, "a"), ("r2", "v", True, "a")]


def test_places_that_two_tests_share_tell_nothing() -> None:
    """Two jobs pushed a report each of one run: both begin to count at one."""
    rows = placed("r1", "ap tf") + placed("r1", "bp cp") + placed("r2", "ap tf") + placed("r3", "ap bp tp")
    assert told(rows) == [("r2", "v", True, "a"), ("r3", "v", False, "b")]


def test_what_becomes_known_later_does_not_count() -> None:
    rows = placed("r1", "ap tf") + placed("r2", "ap tf") + placed("r3", "bp tp")
    assert len(told(rows)) == 3
    assert len(told(rows, as_of=299)) == 2


def test_a_history_without_positions_has_no_neighbours() -> None:
    assert told(placed("r1", "ap? tf?") + placed("r2", "ap? tf?")) == []
