import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from ml.errors import LakeError
from ml.lake import FIRST_VERSIONS, Lake
from ml.lake.delta import APP_ID, merge
from ml.schemas import LAKE_TABLES
from tests.lake_builders import files, rejected, results, runs, stored


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    created = Lake(str(tmp_path / "lake"))
    created.create()
    return created


def first_batch() -> dict[str, pd.DataFrame]:
    return {
        "runs": runs(("r1", "2026-01-01T23:59:59Z"), ("r2", "2026-01-02T00:00:00Z")),
        "test_results": results(("r1", "a", "passed"), ("r1", "b", "failed"), ("r2", "a", "passed")),
        "changed_files": files(("r1", "src/a.py")),
        "rejected_rows": rejected("exploded"),
    }


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
    assert appended.versions == {**dict.fromkeys(LAKE_TABLES, 1), "failure_labels": 0}
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
    }
    assert stored(lake, "test_results", 2, ["test_id", "outcome", "run_id"])[:1] == [("a", "passed", "r1")]
    assert stored(lake, "rejected_rows", 2, ["reason", "batch_id"]) == [
        ("conflicts_with_stored_row", "b2"),
        ("unknown_outcome", "b1"),
    ]


def finished(frame: pd.DataFrame, at: str = "2026-03-01T00:00:00Z", status: str = "passed") -> pd.DataFrame:
    """The runs as they are delivered when they have ended."""
    return frame.assign(finished_at=pd.to_datetime([at] * len(frame), utc=True).as_unit("us"), status=status)


def test_null_against_a_value_is_a_contradiction_and_null_against_null_is_not(lake: Lake) -> None:
    run = finished(runs(("r1", "2026-01-01T00:00:00Z")))
    base = lake.append({"runs": run}, "b1", 1, FIRST_VERSIONS).versions
    changed = run.assign(workflow="nightly")
    appended = lake.append({"runs": changed}, "b2", 2, base)
    assert list(appended.conflicts["column"]) == ["workflow"]
    assert appended.duplicates["runs"] == 0


def test_a_finished_run_that_moved_to_another_day_is_a_contradiction(lake: Lake) -> None:
    run = finished(runs(("r1", "2026-01-01T00:00:00Z")))
    base = lake.append({"runs": run}, "b1", 1, FIRST_VERSIONS).versions
    moved = {"runs": finished(runs(("r1", "2026-02-01T00:00:00Z"))), "test_results": results(("r1", "a", "passed"))}
    appended = lake.append(moved, "b2", 2, base)
    assert list(appended.conflicts["column"]) == ["started_at"]
    assert stored(lake, "test_results", appended.versions["test_results"], ["day"]) == [("2026-01-01",)]


ANNOUNCED = runs(("r1", "2026-01-01T00:00:00Z"), ("r2", "2026-01-01T00:00:00Z")).assign(status=None)


def test_an_announced_run_is_replaced_when_it_is_delivered_finished(lake: Lake) -> None:
    announced = lake.append({"runs": ANNOUNCED, "changed_files": files(("r1", "a.py"))}, "b1", 1, FIRST_VERSIONS)
    later = pd.concat([finished(ANNOUNCED[:1]), runs(("r3", "2026-01-02T00:00:00Z"))])
    batch = {"runs": later, "test_results": results(("r1", "t", "failed")), "changed_files": files(("r1", "a.py"))}
    appended = lake.append(batch, "b2", 2, announced.versions)
    assert appended.updates == {"runs": 1}
    assert appended.counts == {"runs": 1, "test_results": 1, "changed_files": 0, "rejected_rows": 0}
    assert appended.duplicates == {"runs": 0, "test_results": 0, "changed_files": 1}
    assert appended.conflicts.empty
    assert appended.versions == {**FIRST_VERSIONS, "runs": 2, "test_results": 1, "changed_files": 1}
    assert appended.data_until == datetime(2026, 3, 1, tzinfo=UTC)
    assert stored(lake, "runs", 2, ["run_id", "status", "batch_id", "day"]) == [
        ("r1", "passed", "b2", "2026-01-01"),
        ("r2", None, "b1", "2026-01-01"),
        ("r3", "completed", "b2", "2026-01-02"),
    ]
    assert lake.data_until(2) == datetime(2026, 3, 1, tzinfo=UTC)


def test_an_older_snapshot_still_reads_the_announced_run_and_so_does_a_restored_lake(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    lake.append({"runs": finished(ANNOUNCED)}, "killed", 2, base)
    assert stored(lake, "runs", 1, ["run_id", "finished_at"]) == [("r1", None), ("r2", None)]
    restored = lake.restore(base, 3)
    assert stored(lake, "runs", restored["runs"], ["run_id", "finished_at"]) == [("r1", None), ("r2", None)]
    assert lake.append({"runs": finished(ANNOUNCED)}, "b2", 4, restored).updates == {"runs": 2}


def test_an_announced_run_that_is_delivered_unchanged_is_a_duplicate_without_a_commit(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    again = lake.append({"runs": ANNOUNCED}, "b2", 2, base)
    assert (again.duplicates["runs"], again.updates["runs"], again.versions) == (2, 0, base)


def test_an_unfinished_run_may_be_updated_again_until_it_is_finished(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED[:1]}, "b1", 1, FIRST_VERSIONS).versions
    base = lake.append({"runs": ANNOUNCED[:1].assign(status="running")}, "b2", 2, base).versions
    base = lake.append({"runs": finished(ANNOUNCED[:1])}, "b3", 3, base).versions
    late = lake.append({"runs": ANNOUNCED[:1]}, "b4", 4, base)
    assert (late.updates["runs"], list(late.conflicts["column"])) == (0, ["finished_at"])
    other = lake.append({"runs": finished(ANNOUNCED[:1], status="failed")}, "b5", 5, late.versions)
    assert (other.updates["runs"], list(other.conflicts["column"])) == (0, ["status"])
    assert stored(lake, "runs", other.versions["runs"], ["run_id", "status"]) == [("r1", "passed")]


def test_only_the_attempt_and_the_project_that_were_delivered_are_updated(lake: Lake) -> None:
    names = ["x' OR '1'='1", "..", "a/b", "ü%20\n"]
    start = ("r1", "2026-01-01T00:00:00Z")
    both = [runs(start, project=name, attempt=attempt) for name in names for attempt in (1, 2)]
    base = lake.append({"runs": pd.concat(both)}, "b1", 1, FIRST_VERSIONS).versions
    second = pd.concat([finished(frame) for frame in both[1::2]])
    appended = lake.append({"runs": second}, "b2", 2, base)
    assert (appended.updates["runs"], appended.counts["runs"]) == (4, 0)
    expected = [(name, attempt, status) for name in names for attempt, status in ((1, "completed"), (2, "passed"))]
    assert stored(lake, "runs", 2, ["project", "attempt", "status"]) == sorted(expected)


def test_an_update_that_moves_the_start_keeps_the_day_so_that_files_and_results_are_known_again(lake: Lake) -> None:
    facts = {"test_results": results(("r1", "t", "passed")), "changed_files": files(("r1", "a.py"))}
    base = lake.append({"runs": ANNOUNCED[:1], **facts}, "b1", 1, FIRST_VERSIONS).versions
    moved = finished(runs(("r1", "2026-01-02T00:00:30Z")))
    for number in (2, 3):
        appended = lake.append({"runs": moved, **facts}, f"b{number}", number, base)
        assert (appended.duplicates["test_results"], appended.duplicates["changed_files"]) == (1, 1)
        assert (appended.updates["runs"], appended.duplicates["runs"]) == ((1, 0) if number == 2 else (0, 1))
        base = appended.versions
    assert stored(lake, "runs", base["runs"], ["started_at", "day"]) == [
        (datetime(2026, 1, 2, 0, 0, 30, tzinfo=UTC), "2026-01-01")
    ]


def test_of_two_updates_of_one_run_in_a_batch_the_first_counts(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED[:1]}, "b1", 1, FIRST_VERSIONS).versions
    good = finished(ANNOUNCED[:1])
    batch = {"runs": pd.concat([ANNOUNCED[:1], good, good, finished(ANNOUNCED[:1], status="failed")])}
    appended = lake.append(batch, "b2", 2, base)
    assert (appended.updates["runs"], appended.duplicates["runs"], appended.counts["runs"]) == (1, 2, 0)
    assert list(appended.conflicts["value"]) == ["failed"]
    assert stored(lake, "runs", appended.versions["runs"], ["run_id", "status"]) == [("r1", "passed")]


def test_results_that_arrive_after_an_announcement_are_new_results(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    appended = lake.append({"test_results": results(("r1", "t", "passed"))}, "b2", 2, base)
    assert (appended.counts["test_results"], appended.updates["runs"], appended.versions["runs"]) == (1, 0, 1)


def test_an_update_may_bring_a_new_column_and_lack_a_stored_one(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    base = lake.append({"runs": finished(ANNOUNCED[:1]).assign(runner="arm64")}, "b2", 2, base).versions
    base = lake.append({"runs": finished(ANNOUNCED[1:])}, "b3", 3, base).versions
    assert stored(lake, "runs", base["runs"], ["run_id", "status", "runner"]) == [
        ("r1", "passed", "arm64"),
        ("r2", "passed", None),
    ]


def test_an_update_leaves_the_files_of_other_days_alone(lake: Lake) -> None:
    rows = runs(("r1", "2026-01-01T00:00:00Z"), ("r2", "2026-01-02T00:00:00Z"))
    before = lake.append({"runs": rows}, "b1", 1, FIRST_VERSIONS).versions["runs"]
    after = lake.append({"runs": finished(rows[:1])}, "b2", 2, {**FIRST_VERSIONS, "runs": before}).versions["runs"]
    kept = set(lake.files("runs", before)) & set(lake.files("runs", after))
    assert ["day=2026-01-02" in file for file in kept] == [True]


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


def test_a_project_is_read_alone_and_hostile_names_stay_inside_the_lake(lake: Lake, tmp_path: Path) -> None:
    names = ["..", "a/b", "x' OR '1'='1", "50%25", "*?[x]", "ü\n<b>", "shop"]
    base, frames = FIRST_VERSIONS, {}
    frames["runs"] = pd.concat([runs(("r1", "2026-01-01T00:00:00Z"), project=name) for name in names])
    frames["test_results"] = pd.concat([results(("r1", name, "passed"), project=name) for name in names])
    version = lake.append(frames, "b1", 1, base).versions["test_results"]
    for name in names:
        assert lake.read("test_results", version, name, ["test_id"]).to_pylist() == [{"test_id": name}]
        (file,) = lake.files("test_results", version, name)
        assert Path(file).exists()
        rows = duckdb.sql(f"SELECT project, test_id FROM read_parquet({[file]!r}, hive_partitioning = true)").fetchall()
        assert rows == [(name, name)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake"]
    assert {path.name for path in (tmp_path / "lake").iterdir()} == set(LAKE_TABLES)


@pytest.mark.parametrize("project", ["", "p" * 81, "ü" * 41])
def test_a_project_that_cannot_name_a_folder_is_refused_and_its_rejected_rows_are_kept(
    lake: Lake, project: str
) -> None:
    with pytest.raises(LakeError, match="1 to 80 bytes"):
        lake.append({"runs": runs(("r1", "2026-01-01T00:00:00Z"), project=project)}, "b1", 1, FIRST_VERSIONS)
    appended = lake.append({"rejected_rows": rejected("bad", project=project)}, "b1", 2, FIRST_VERSIONS)
    assert stored(lake, "rejected_rows", appended.versions["rejected_rows"], ["value", "project"]) == [("bad", "-")]


def test_the_longest_project_name_works(lake: Lake) -> None:
    project = "ü" * 40
    appended = lake.append({"runs": runs(("r1", "2026-01-01T00:00:00Z"), project=project)}, "b1", 1, FIRST_VERSIONS)
    assert lake.read("runs", appended.versions["runs"], project).num_rows == 1


def test_a_broken_frame_is_refused_with_table_and_column(lake: Lake) -> None:
    good = results(("r1", "a", "passed"))
    with pytest.raises(LakeError, match="test_results: column outcome is missing"):
        lake.append({"test_results": good.drop(columns="outcome")}, "b1", 1, FIRST_VERSIONS)
    with pytest.raises(LakeError, match=r"test_results\.duration_s"):
        lake.append({"test_results": good.assign(duration_s="long")}, "b1", 1, FIRST_VERSIONS)
    with pytest.raises(LakeError, match=r"test_results\.test_id: 1 nulls"):
        lake.append({"test_results": good.assign(test_id=None)}, "b1", 1, FIRST_VERSIONS)
    with pytest.raises(LakeError, match=r"test_results\.test_id"):
        lake.append({"test_results": good.assign(test_id="\ud800")}, "b1", 1, FIRST_VERSIONS)
    assert lake.versions() == dict(FIRST_VERSIONS)


def test_a_new_column_is_added_and_older_rows_read_as_null(lake: Lake) -> None:
    base = lake.append({"runs": runs(("r1", "2026-01-01T00:00:00Z"))}, "b1", 1, FIRST_VERSIONS).versions
    wider = runs(("r1", "2026-01-01T00:00:00Z"), ("r2", "2026-01-01T01:00:00Z")).assign(runner="arm64")
    appended = lake.append({"runs": wider}, "b2", 2, base)
    assert appended.duplicates["runs"] == 1
    found = lake.read("runs", 2, columns=["run_id", "runner"]).sort_by("run_id").to_pylist()
    assert found == [{"run_id": "r1", "runner": None}, {"run_id": "r2", "runner": "arm64"}]
    assert "runner" in lake.schema("runs").names
    assert "runner" not in lake.schema("runs", 1).names
    narrow = lake.append({"runs": runs(("r3", "2026-01-01T02:00:00Z"))}, "b3", 3, appended.versions)
    assert lake.read("runs", narrow.versions["runs"]).num_rows == 3


def test_a_lake_of_an_older_release_without_a_column_reads_and_grows(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.create()
    older = pa.schema([field for field in lake.schema("changed_files") if field.name != "change_source"])
    DeltaTable.create(str(tmp_path / "changed_files"), older, mode="overwrite", partition_by=["project", "day"])
    base = {**FIRST_VERSIONS, "changed_files": lake.versions()["changed_files"]}
    assert lake.read("changed_files", base["changed_files"]).num_rows == 0
    batch = {"runs": runs(("r1", "2026-01-01T00:00:00Z")), "changed_files": files(("r1", "a.py"))}
    appended = lake.append(batch, "b1", 1, base)
    assert stored(lake, "changed_files", appended.versions["changed_files"], ["change_source"]) == [("git",)]


def label_rows(*states: str) -> pd.DataFrame:
    """One label of run r1 and test b per state, a day apart."""
    days = pd.date_range("2026-01-02", periods=len(states), tz="UTC").as_unit("us")
    named = {"project": "shop", "run_id": "r1", "variant": "linux", "test_id": "b", "state": list(states)}
    return pd.DataFrame({**named, "probability": 0.9, "evidence": "", "labelled_at": days, "snapshot_id": 1})


def test_labels_are_appended_by_day_beside_the_stored_ones(lake: Lake) -> None:
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    first = lake.append_labels(label_rows("unknown"), "l1", 2, base)
    assert first == {**base, "failure_labels": 1}
    second = lake.append_labels(label_rows("unknown", "flaky")[1:], "l2", 3, first)
    told = stored(lake, "failure_labels", second["failure_labels"], ["state", "day", "batch_id"])
    assert told == [("flaky", "2026-01-03", "l2"), ("unknown", "2026-01-02", "l1")]
    assert stored(lake, "failure_labels", first["failure_labels"], ["state"]) == [("unknown",)]


def test_labels_on_an_overtaken_base_are_refused(lake: Lake) -> None:
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    lake.append_labels(label_rows("flaky"), "l1", 2, base)
    with pytest.raises(LakeError, match="another writer came in between"):
        lake.append_labels(label_rows("flaky"), "l2", 3, base)


def test_a_lake_of_an_older_release_without_labels_goes_on(tmp_path: Path) -> None:
    older = {table: version for table, version in FIRST_VERSIONS.items() if table != "failure_labels"}
    lake = Lake(str(tmp_path))
    lake.create()
    shutil.rmtree(tmp_path / "failure_labels")
    head = {**older, **Lake(str(tmp_path)).append(first_batch(), "b1", 1, older).versions}
    assert "failure_labels" not in head
    lake.create()
    base = lake.restore(head, 2)
    assert base == {**head, "failure_labels": 0}
    labelled = lake.append_labels(label_rows("flaky"), "l1", 3, base)
    assert lake.restore(head, 4) == {**head, "failure_labels": 2}
    assert lake.read("failure_labels", 2).num_rows == 0
    compacted = lake.compact({**labelled, "failure_labels": 2}, 5)
    assert lake.vacuum([head, compacted], 0)["runs"] == 0


def test_restore_takes_back_what_a_killed_writer_left_and_its_new_columns(lake: Lake) -> None:
    head = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    left = {
        "runs": runs(("r9", "2026-01-09T00:00:00Z")).assign(runner="arm64"),
        "test_results": results(("r9", "z", "failed")),
    }
    lake.append(left, "killed", 2, head)
    base = lake.restore(head, 3)
    assert base == {"runs": 3, "test_results": 3, "changed_files": 1, "rejected_rows": 1, "failure_labels": 0}
    assert stored(lake, "runs", 3, ["run_id"]) == [("r1",), ("r2",)]
    assert "runner" not in lake.schema("runs").names
    appended = lake.append({"runs": runs(("r9", "2026-01-09T00:00:00Z"))}, "b2", 4, base)
    assert appended.counts["runs"] == 1


def test_restore_to_the_empty_lake_works(lake: Lake) -> None:
    lake.append(first_batch(), "killed", 1, FIRST_VERSIONS)
    base = lake.restore(FIRST_VERSIONS, 2)
    assert {table: lake.read(table, version).num_rows for table, version in base.items()} == dict.fromkeys(
        LAKE_TABLES, 0
    )


def test_a_lake_older_than_the_ledger_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match="version 0 but the ledger names 7"):
        lake.restore({**FIRST_VERSIONS, "runs": 7}, 1)


def test_a_writer_with_an_old_sequence_is_fenced(lake: Lake) -> None:
    base = lake.append(first_batch(), "b1", 5, FIRST_VERSIONS).versions
    with pytest.raises(LakeError, match="written with sequence 5, this writer has 5"):
        lake.append({"runs": runs(("r3", "2026-01-01T00:00:00Z"))}, "b2", 5, base)
    with pytest.raises(LakeError, match="written with sequence 5, this writer has 4"):
        lake.restore(FIRST_VERSIONS, 4)


def test_a_writer_whose_base_was_overtaken_is_fenced(lake: Lake) -> None:
    lake.append(first_batch(), "b1", 1, FIRST_VERSIONS)
    with pytest.raises(LakeError, match="at version 1, expected 0"):
        lake.append({"runs": runs(("r3", "2026-01-01T00:00:00Z"))}, "b2", 2, FIRST_VERSIONS)


@pytest.mark.parametrize(("zombie", "heir"), [(7, 8), (8, 7)])
def test_a_zombie_that_checked_before_its_heir_wrote_loses_the_commit(
    lake: Lake, tmp_path: Path, zombie: int, heir: int
) -> None:
    rows = lake.schema("runs").empty_table()
    loaded_by_zombie = DeltaTable(str(tmp_path / "lake" / "runs"))
    lake.append(first_batch(), "heir", heir, FIRST_VERSIONS)
    with pytest.raises(LakeError, match="Failed to commit transaction"):
        lake._write("runs", loaded_by_zombie, _one_row(rows), zombie)
    assert stored(lake, "runs", lake.versions()["runs"], ["run_id"]) == [("r1",), ("r2",)]


@pytest.mark.parametrize(("zombie", "heir"), [(7, 8), (8, 7)])
def test_a_zombie_that_updates_runs_loses_the_commit_too(lake: Lake, tmp_path: Path, zombie: int, heir: int) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    loaded_by_zombie = DeltaTable(str(tmp_path / "lake" / "runs"))
    lake.append({"runs": runs(("r9", "2026-02-01T00:00:00Z"))}, "heir", heir, base)
    rows = _one_row(lake.schema("runs").empty_table())
    with pytest.raises(LakeError, match="Failed to commit transaction"):
        merge(loaded_by_zombie, rows, ("project", "day", "run_id", "attempt"), zombie)
    assert stored(lake, "runs", lake.versions()["runs"], ["run_id"]) == [("r1",), ("r2",), ("r9",)]


def test_any_commit_in_between_stops_an_update(lake: Lake, tmp_path: Path) -> None:
    address = str(tmp_path / "lake" / "runs")
    loaded = DeltaTable(address)
    row = _one_row(lake.schema("runs").empty_table())
    write_deltalake(address, row, mode="append")
    with pytest.raises(LakeError):
        merge(loaded, row, ("project", "day", "run_id", "attempt"), 1)
    assert lake.versions()["runs"] == 1


def test_a_writer_that_updates_leaves_its_sequence_as_a_fence(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    base = lake.append({"runs": finished(ANNOUNCED)}, "b2", 5, base).versions
    with pytest.raises(LakeError, match="written with sequence 5, this writer has 4"):
        lake.append({"runs": runs(("r3", "2026-01-01T00:00:00Z"))}, "b3", 4, base)


def test_any_commit_in_between_stops_the_writer(lake: Lake, tmp_path: Path) -> None:
    address = str(tmp_path / "lake" / "runs")
    loaded = DeltaTable(address)
    row = _one_row(lake.schema("runs").empty_table())
    write_deltalake(address, row, mode="append")
    with pytest.raises(LakeError):
        lake._write("runs", loaded, row, 1)
    assert lake.versions()["runs"] == 1


def test_the_sequence_survives_restore_and_compaction(lake: Lake, tmp_path: Path) -> None:
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    address = str(tmp_path / "lake" / "runs")
    stamp = CommitProperties(app_transactions=[Transaction(APP_ID, 2)])
    write_deltalake(address, _one_row(lake.schema("runs").empty_table()), mode="append", commit_properties=stamp)
    base = lake.restore(base, 3)
    assert DeltaTable(address).transaction_version(APP_ID) == 3
    with pytest.raises(LakeError, match="sequence 3"):
        lake.compact(base, 3, ["runs"])


def _one_row(empty: pa.Table) -> pa.Table:
    row = {"project": "shop", "run_id": "zombie", "day": "2026-01-01"}
    return pa.Table.from_pylist([row], schema=empty.schema)


def test_compaction_joins_files_keeps_rows_and_old_versions(lake: Lake) -> None:
    base = dict(FIRST_VERSIONS)
    for number in range(3):
        run = f"r{number}"
        batch = {"runs": runs((run, "2026-01-01T00:00:00Z")), "test_results": results((run, "a", "passed"))}
        base = dict(lake.append(batch, f"b{number}", number + 1, base).versions)
    assert len(lake.files("test_results", base["test_results"])) == 3
    after = lake.compact(base, 9)
    assert len(lake.files("test_results", after["test_results"])) == 1
    assert stored(lake, "test_results", after["test_results"], ["run_id"]) == [("r0",), ("r1",), ("r2",)]
    assert stored(lake, "test_results", base["test_results"], ["run_id"]) == [("r0",), ("r1",), ("r2",)]
    assert after["changed_files"] == 0


def test_vacuum_keeps_named_versions_and_deletes_the_others(lake: Lake) -> None:
    first = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    second = {"runs": runs(("r3", "2026-01-01T00:00:00Z")), "test_results": results(("r3", "a", "passed"))}
    grown = lake.append(second, "b2", 2, first).versions
    compacted = lake.compact(grown, 3)
    assert lake.vacuum([compacted, first], retention_hours=0)["test_results"] == 1
    assert lake.read("test_results", first["test_results"]).num_rows == 3
    assert lake.read("test_results", compacted["test_results"]).num_rows == 4
    with pytest.raises(LakeError, match="test_results"):
        lake.read("test_results", grown["test_results"])
    assert lake.restore(compacted, 4)["test_results"] > compacted["test_results"]


def test_old_versions_outlive_the_clean_up_of_an_old_log(lake: Lake, tmp_path: Path) -> None:
    table = tmp_path / "lake" / "runs"
    DeltaTable(table).alter.set_table_properties({"delta.checkpointInterval": "3"})
    base = {**FIRST_VERSIONS, "runs": 1}
    for number in range(8):
        batch = {"runs": runs((f"r{number}", "2026-01-01T00:00:00Z"))}
        base = dict(lake.append(batch, f"b{number}", number + 1, base).versions)
        for log in (table / "_delta_log").glob("*"):
            os.utime(log, (0, 0))
    assert len(list((table / "_delta_log").glob("*.checkpoint.parquet"))) >= 2
    assert lake.read("runs", 2).num_rows == 1
    assert lake.read("runs", base["runs"]).num_rows == 8
