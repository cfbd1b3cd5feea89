from datetime import timedelta
from pathlib import Path

import pytest

from ml.errors import LakeError, WarehouseError
from ml.lake import FIRST_VERSIONS, Lake
from ml.spec import Snapshot
from ml.warehouse import Warehouse
from ml.warehouse.session import Session
from tests.lake_builders import NOON, commit, record, results, runs, stored
from tests.postgres import Postgres

VERSIONS = {"runs": 1, "test_results": 1, "changed_files": 0, "rejected_rows": 0}


def test_an_empty_ledger_has_no_head_no_batch_and_no_watermark(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        assert warehouse.head() is None
        assert warehouse.find_batch("b1") is None
        assert warehouse.watermark("junit", "shop") is None
        assert len(warehouse.batches("shop", 1)) == 0
        with pytest.raises(WarehouseError, match="snapshot 7 is not in the ledger"):
            warehouse.snapshot(7)


def test_a_recorded_batch_is_the_head_and_is_found_by_id_and_number(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        with warehouse.lake_lock():
            sequence = warehouse.next_sequence()
            snapshot = warehouse.record_batch(record("b1", VERSIONS), sequence)
        assert snapshot == Snapshot(sequence, VERSIONS, NOON)
        assert warehouse.head() == warehouse.find_batch("b1") == warehouse.snapshot(sequence) == snapshot
        assert warehouse.watermark("junit", "shop") == NOON


def test_data_until_never_goes_back_and_the_watermark_is_per_source_and_project(postgres: Postgres) -> None:
    earlier = NOON - timedelta(days=1)
    with Warehouse(postgres.pipeline_dsn) as warehouse, warehouse.lake_lock():
        warehouse.record_batch(record("b1", VERSIONS), warehouse.next_sequence())
        older = record("b2", VERSIONS, source="gitlab", data_until=earlier)
        assert warehouse.record_batch(older, warehouse.next_sequence()).data_until == NOON
        nothing_new = record("b3", VERSIONS, source="gitlab", data_until=None)
        assert warehouse.record_batch(nothing_new, warehouse.next_sequence()).data_until == NOON
        assert warehouse.watermark("gitlab", "shop") == earlier
        assert warehouse.watermark("gitlab", "other") is None


def test_batches_up_to_a_snapshot_are_the_evidence_of_one_project(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse, warehouse.lake_lock():
        warehouse.record_batch(record("b1", VERSIONS, rejected=3, quality_score=0.5), warehouse.next_sequence())
        warehouse.record_batch(record("b2", VERSIONS, project="other"), warehouse.next_sequence())
        third = warehouse.record_batch(record("b3", VERSIONS), warehouse.next_sequence())
        frame = warehouse.batches("shop", third.snapshot_id)
        assert list(frame["batch_id"]) == ["b1", "b3"]
        assert list(frame["rejected"]) == [3, 0]
        assert list(frame["quality_score"]) == [0.5, 1.0]
        assert frame["row_counts"][0] == {"runs": 1, "test_results": 2}
        assert list(warehouse.batches("shop", third.snapshot_id - 1)["batch_id"]) == ["b1"]


def test_a_batch_without_the_lake_lock_is_refused(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        sequence = warehouse.next_sequence()
        with pytest.raises(WarehouseError, match="without the lake lock"):
            warehouse.record_batch(record("b1", VERSIONS), sequence)
        with warehouse.lake_lock():
            pass
        with pytest.raises(WarehouseError, match="without the lake lock"):
            warehouse.record_batch(record("b1", VERSIONS), sequence)
        assert warehouse.head() is None


def test_the_lock_of_another_connection_does_not_count(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as owner, Warehouse(postgres.pipeline_dsn) as other, owner.lake_lock():
        sequence = other.next_sequence()
        with pytest.raises(WarehouseError, match="without the lake lock"):
            other.record_batch(record("b1", VERSIONS), sequence)


def test_an_overtaken_sequence_is_refused(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse, warehouse.lake_lock():
        early, late = warehouse.next_sequence(), warehouse.next_sequence()
        warehouse.record_batch(record("b1", VERSIONS), late)
        with pytest.raises(WarehouseError, match=f"snapshot {late} was recorded after sequence {early}"):
            warehouse.record_batch(record("b2", VERSIONS), early)


def test_the_same_batch_twice_is_refused_by_the_ledger_itself(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse, warehouse.lake_lock():
        warehouse.record_batch(record("b1", VERSIONS), warehouse.next_sequence())
        with pytest.raises(WarehouseError, match="duplicate key"):
            warehouse.record_batch(record("b1", VERSIONS), warehouse.next_sequence())


def test_a_second_writer_waits_its_time_and_then_says_why(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as first, Warehouse(postgres.pipeline_dsn) as second:
        message = r"writing the lake for more than 0\.05 s"
        with first.lake_lock(), pytest.raises(WarehouseError, match=message), second.lake_lock(0.05):
            pass
        with second.lake_lock(0.05):
            pass


def test_the_lock_is_free_after_an_error_in_the_block_and_the_error_is_kept(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as first, Warehouse(postgres.pipeline_dsn) as second:
        with pytest.raises(ZeroDivisionError), first.lake_lock():
            _ = 1 / 0
        with second.lake_lock(0.05):
            pass


def test_a_writer_whose_connection_died_cannot_commit_and_the_lock_is_free(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as zombie, Warehouse(postgres.pipeline_dsn) as heir:
        with zombie.lake_lock():
            sequence = zombie.next_sequence()
            terminate(postgres, keep=heir)
            with heir.lake_lock(5):
                pass
            with pytest.raises(WarehouseError, match="was lost: connection already closed"):
                zombie.record_batch(record("b1", VERSIONS), sequence)
        assert heir.head() is None


def terminate(postgres: Postgres, keep: Warehouse) -> None:
    with keep.transaction() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone() or (0,)
    with Session(postgres.admin_dsn) as owner, owner.transaction() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE usename = 'fourgate_pipeline' AND datname = current_database() AND pid <> %s",
            (pid,),
        )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    created = Lake(str(tmp_path / "lake"))
    created.create()
    return created


def test_committing_a_batch_again_changes_nothing(postgres: Postgres, lake: Lake) -> None:
    batch = {"runs": runs(("r1", "2026-01-01T00:00:00Z")), "test_results": results(("r1", "a", "passed"))}
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        first = commit(warehouse, lake, "b1", batch)
        versions = lake.versions()
        assert commit(warehouse, lake, "b1", batch) == first
        assert lake.versions() == versions == dict(first.versions)


def test_a_writer_killed_between_tables_leaves_the_head_readable_and_its_batch_can_be_repeated(
    postgres: Postgres, lake: Lake
) -> None:
    first = {"runs": runs(("r1", "2026-01-01T00:00:00Z")), "test_results": results(("r1", "a", "passed"))}
    second = {"runs": runs(("r2", "2026-01-01T00:00:00Z")), "test_results": results(("r2", "a", "failed"))}
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        head = commit(warehouse, lake, "b1", first)
        with warehouse.lake_lock():
            lake.append({"runs": second["runs"]}, "b2", warehouse.next_sequence(), head.versions)
        assert warehouse.head() == head
        assert stored(lake, "runs", head.versions["runs"], ["run_id"]) == [("r1",)]
        after = commit(warehouse, lake, "b2", second)
        assert stored(lake, "runs", after.versions["runs"], ["run_id"]) == [("r1",), ("r2",)]
        assert stored(lake, "test_results", after.versions["test_results"], ["outcome"]) == [("failed",), ("passed",)]


def test_a_zombie_that_writes_a_table_its_heir_did_not_touch_changes_no_snapshot(
    postgres: Postgres, lake: Lake
) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        head = commit(warehouse, lake, "b1", {"runs": runs(("r1", "2026-01-01T00:00:00Z"))})
        with warehouse.lake_lock():
            zombie_sequence = warehouse.next_sequence()
        snapshot = commit(warehouse, lake, "b2", {"runs": runs(("r2", "2026-01-01T00:00:00Z"))})
        with pytest.raises(LakeError, match="expected"):
            lake.append({"test_results": results(("r1", "a", "passed"))}, "zombie", zombie_sequence, head.versions)
        partly = {**snapshot.versions}
        lake.append({"test_results": results(("r1", "z", "passed"))}, "zombie", 10_000, partly)
        assert lake.read("test_results", snapshot.versions["test_results"]).num_rows == 0


def test_the_lake_keeps_the_versions_of_head_and_current_predictions(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        assert warehouse.live_versions() == []
        with warehouse.lake_lock():
            warehouse.record_batch(record("b1", FIRST_VERSIONS), warehouse.next_sequence())
            warehouse.record_batch(record("b2", VERSIONS), warehouse.next_sequence())
        assert warehouse.live_versions() == [VERSIONS]


def test_hostile_text_is_stored_literally_and_nul_is_refused(postgres: Postgres) -> None:
    hostile = "'; DROP TABLE fourgate.collection_batch; -- %s %(x)s \\ \" \n\t<b>ü\u202e"
    with Warehouse(postgres.pipeline_dsn) as warehouse, warehouse.lake_lock():
        batch = record(hostile, VERSIONS, source=hostile, project=hostile, kind=hostile)
        snapshot = warehouse.record_batch(batch, warehouse.next_sequence())
        assert warehouse.find_batch(hostile) == snapshot
        frame = warehouse.batches(hostile, snapshot.snapshot_id)
        assert (frame["batch_id"][0], frame["source"][0], frame["kind"][0]) == (hostile, hostile, hostile)
        with pytest.raises(WarehouseError, match="cannot store a value"):
            warehouse.record_batch(record("a\x00b", VERSIONS), warehouse.next_sequence())
