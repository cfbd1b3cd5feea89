"""Appending: each row once, duplicates and contradictions told apart, a run known when its rows are."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from ml.errors import LakeError
from ml.lake import FIRST_VERSIONS, Lake
from ml.schemas import LAKE_TABLES
from tests.lake_builders import files, first_batch, rejected, results, runs, stored


def test_create_makes_every_table_empty_and_again_changes_nothing(lake: Lake) -> None:
    assert lake.create() == dict(FIRST_VERSIONS)
    for table in LAKE_TABLES:
        assert lake.read(table, 0).num_rows == 0
        assert lake.files(table, 0) == []
    assert lake.data_until(0) is None


def test_several_writers_may_create_the_same_lake_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: Lake(str(tmp_path / "lake")).create(), range(4)))
    assert answers == [dict(FIRST_VERSIONS)] * 4


def test_a_missing_lake_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"table .*nowhere/runs"):
        Lake(str(tmp_path / "nowhere")).versions()


def test_append_stores_each_table_once_and_counts_it(lake: Lake) -> None:
    appended = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS)
    assert appended.versions == {**dict.fromkeys(LAKE_TABLES, 1), "failure_labels": 0, "commits": 0}
    assert appended.counts == {"runs": 2, "test_results": 3, "changed_files": 1, "rejected_rows": 1}
    assert appended.duplicates == {"runs": 0, "test_results": 0, "changed_files": 0}
    assert appended.data_until == datetime(2026, 1, 2, tzinfo=UTC)
    assert len(appended.conflicts) == 0
    assert stored(lake, "test_results", 1, ["run_id", "test_id", "outcome", "day", "batch_id"]) == [
        ("r1", "a", "passed", "2026-01-01", "b1"),
        ("r1", "b", "failed", "2026-01-01", "b1"),
        ("r2", "a", "passed", "2026-01-02", "b1"),
    ]
    assert stored(lake, "changed_files", 1, ["path", "added", "deleted", "day"]) == [
        ("src/a.py", 3, None, "2026-01-01")
    ]
    assert stored(lake, "rejected_rows", 1, ["value", "day", "project"]) == [("exploded", "-", "shop")]


def test_known_at_is_the_finish_where_there_is_one(lake: Lake) -> None:
    late = runs(("r1", "2026-01-01T00:00:00Z"), ("r2", "2026-01-03T00:00:00Z"))
    late["finished_at"] = pd.to_datetime(["2026-01-05T00:00:00Z", None], utc=True).astype("datetime64[us, UTC]")
    appended = lake.append({"runs": late}, "b1", 1, FIRST_VERSIONS)
    assert appended.data_until == datetime(2026, 1, 5, tzinfo=UTC)
    assert lake.data_until(1) == datetime(2026, 1, 5, tzinfo=UTC)
    assert lake.data_until(1, "another project") is None


def test_equal_rows_are_dropped_as_duplicates_without_a_commit(lake: Lake) -> None:
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    again = lake.append({**first_batch(), "rejected_rows": rejected()}, "b2", 2, base)
    assert again.versions == base
    assert again.duplicates == {"runs": 2, "test_results": 3, "changed_files": 1}
    assert again.counts == {"runs": 0, "test_results": 0, "changed_files": 0, "rejected_rows": 0}
    assert again.data_until is None


def test_a_contradicting_row_is_rejected_with_its_content_and_the_first_stays(lake: Lake) -> None:
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    batch = {"test_results": results(("r1", "a", "failed"), ("r1", "c", "passed"))}
    appended = lake.append(batch, "b2", 2, base)
    assert appended.counts["test_results"] == 1
    assert appended.counts["rejected_rows"] == 1
    (conflict,) = appended.conflicts.to_dict("records")
    assert (conflict["contract"], conflict["reason"], conflict["column"], conflict["value"], conflict["batch_id"]) == (
        "test_results",
        "conflicts_with_stored_row",
        "outcome",
        "failed",
        "b2",
    )
    assert json.loads(conflict["row"]) == {
        "project": "shop",
        "run_id": "r1",
        "attempt": 1,
        "variant": "linux",
        "test_id": "a",
        "outcome": "failed",
        "duration_s": 0.5,
        "imputed": False,
        "failure_kind": None,
        "failure_fingerprint": None,
        "position": None,
    }
    assert stored(lake, "test_results", 2, ["test_id", "outcome", "run_id"])[:1] == [("a", "passed", "r1")]
    assert stored(lake, "rejected_rows", 2, ["reason", "batch_id"]) == [
        ("conflicts_with_stored_row", "b2"),
        ("unknown_outcome", "b1"),
    ]


def test_another_reading_of_a_failure_is_no_contradiction(lake: Lake) -> None:
    """A release that reads more texts, or reads them otherwise, collects a run again."""
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    again = first_batch()["test_results"].assign(failure_kind="network", failure_fingerprint="f00d", position=7)
    appended = lake.append({"test_results": again}, "b2", 2, base)
    assert set(appended.counts.values()) == {0}
    assert appended.conflicts.empty
    assert appended.duplicates["test_results"] == len(again)


def test_repeats_inside_one_batch_count_like_stored_ones(lake: Lake) -> None:
    batch = {
        "runs": runs(("r1", "2026-01-01T00:00:00Z")),
        "test_results": results(("r1", "a", "passed"), ("r1", "a", "passed"), ("r1", "a", "failed")),
    }
    appended = lake.append(batch, "b1", 1, FIRST_VERSIONS)
    assert (appended.counts["test_results"], appended.duplicates["test_results"]) == (1, 1)
    assert list(appended.conflicts["value"]) == ["failed"]


def test_results_without_a_run_are_rejected_and_a_stored_run_counts(lake: Lake) -> None:
    base = lake.append({"runs": runs(("r1", "2026-01-01T00:00:00Z"))}, "b1", 1, FIRST_VERSIONS).versions
    batch = {
        "test_results": results(("r1", "a", "passed"), ("ghost", "a", "passed")),
        "changed_files": files(("ghost", "x.py"), ("r1", "y.py")),
    }
    appended = lake.append(batch, "b2", 2, base)
    assert appended.counts == {"runs": 0, "test_results": 1, "changed_files": 1, "rejected_rows": 2}
    assert [(row["contract"], row["reason"], row["value"]) for row in appended.conflicts.to_dict("records")] == [
        ("test_results", "no_such_run", "ghost"),
        ("changed_files", "no_such_run", "ghost"),
    ]


def test_a_rerun_lies_with_its_run_and_is_known_again(lake: Lake) -> None:
    rerun = {"test_results": results(("r1", "a", "passed")).assign(attempt=101)}
    base = lake.append({"runs": runs(("r1", "2026-01-02T00:00:00Z"))}, "b1", 1, FIRST_VERSIONS).versions
    first = lake.append(rerun, "b2", 2, base)
    again = lake.append(rerun, "b3", 3, first.versions)
    assert (first.counts["test_results"], first.counts["rejected_rows"]) == (1, 0)
    assert (again.counts["test_results"], again.duplicates["test_results"]) == (0, 1)
    assert ["day=2026-01-02" in file for file in lake.files("test_results", first.versions["test_results"])] == [True]


def test_a_file_is_known_again_when_an_earlier_attempt_arrives_later(lake: Lake) -> None:
    second = {"runs": runs(("r1", "2026-01-02T00:00:00Z"), attempt=2), "changed_files": files(("r1", "a.py"))}
    base = lake.append(second, "b1", 1, FIRST_VERSIONS).versions
    first = {"runs": runs(("r1", "2026-01-01T00:00:00Z"), attempt=1), "changed_files": files(("r1", "a.py"))}
    appended = lake.append(first, "b2", 2, base)
    assert (appended.counts["changed_files"], appended.duplicates["changed_files"]) == (0, 1)


def test_an_old_version_reads_as_it_was(lake: Lake) -> None:
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    more = {"runs": runs(("r3", "2026-01-03T00:00:00Z")), "test_results": results(("r3", "a", "passed"))}
    lake.append(more, "b2", 2, base)
    assert stored(lake, "runs", 1, ["run_id"]) == [("r1",), ("r2",)]
    assert stored(lake, "runs", 2, ["run_id"]) == [("r1",), ("r2",), ("r3",)]
