"""What a killed or overtaken writer left behind is taken back, and it cannot commit again."""

from pathlib import Path

import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from ml.errors import LakeError
from ml.lake import FIRST_VERSIONS, Lake
from ml.lake.delta import APP_ID, merge
from ml.schemas import LAKE_TABLES
from tests.lake_builders import ANNOUNCED, finished, first_batch, one_row, results, runs, stored


def test_restore_takes_back_what_a_killed_writer_left_and_its_new_columns(lake: Lake) -> None:
    head = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    left = {
        "runs": runs(("r9", "2026-01-09T00:00:00Z")).assign(runner="arm64"),
        "test_results": results(("r9", "z", "failed")),
    }
    lake.append(left, "killed", 2, head)
    base = lake.restore(head, 3)
    untouched = {"failure_labels": 0, "commits": 0}
    assert base == {"runs": 3, "test_results": 3, "changed_files": 1, "rejected_rows": 1, **untouched}
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
        lake._write("runs", loaded_by_zombie, one_row(rows), zombie)
    assert stored(lake, "runs", lake.versions()["runs"], ["run_id"]) == [("r1",), ("r2",)]


@pytest.mark.parametrize(("zombie", "heir"), [(7, 8), (8, 7)])
def test_a_zombie_that_updates_runs_loses_the_commit_too(lake: Lake, tmp_path: Path, zombie: int, heir: int) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    loaded_by_zombie = DeltaTable(str(tmp_path / "lake" / "runs"))
    lake.append({"runs": runs(("r9", "2026-02-01T00:00:00Z"))}, "heir", heir, base)
    rows = one_row(lake.schema("runs").empty_table())
    with pytest.raises(LakeError, match="Failed to commit transaction"):
        merge(loaded_by_zombie, rows, ("project", "day", "run_id", "attempt"), zombie)
    assert stored(lake, "runs", lake.versions()["runs"], ["run_id"]) == [("r1",), ("r2",), ("r9",)]


def test_any_commit_in_between_stops_an_update(lake: Lake, tmp_path: Path) -> None:
    address = str(tmp_path / "lake" / "runs")
    loaded = DeltaTable(address)
    row = one_row(lake.schema("runs").empty_table())
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
    row = one_row(lake.schema("runs").empty_table())
    write_deltalake(address, row, mode="append")
    with pytest.raises(LakeError):
        lake._write("runs", loaded, row, 1)
    assert lake.versions()["runs"] == 1


def test_the_sequence_survives_restore_and_compaction(lake: Lake, tmp_path: Path) -> None:
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    address = str(tmp_path / "lake" / "runs")
    stamp = CommitProperties(app_transactions=[Transaction(APP_ID, 2)])
    write_deltalake(address, one_row(lake.schema("runs").empty_table()), mode="append", commit_properties=stamp)
    base = lake.restore(base, 3)
    assert DeltaTable(address).transaction_version(APP_ID) == 3
    with pytest.raises(LakeError, match="sequence 3"):
        lake.compact(base, 3, ["runs"])
