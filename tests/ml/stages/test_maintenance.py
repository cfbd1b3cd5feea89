"""Maintaining the lake twice changes nothing more, and what is refused is told without a password."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from ml.errors import LakeError, StackError
from ml.lake import FIRST_VERSIONS
from ml.settings import Settings
from ml.stages import maintenance
from ml.stages.opening import open_lake, open_warehouse
from tests.lake_builders import record, results, runs, stored
from tests.postgres import Postgres

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn))
    return settings.model_copy(update={"keep_lake_days": 0})  # files of a test are never a day old


def collect_days(settings: Settings, count: int) -> list[dict[str, int]]:
    """Batches of one run each, all of one day; the versions of each snapshot."""
    lake = open_lake(settings)
    lake.create()
    named, versions = [], dict(FIRST_VERSIONS)
    with open_warehouse(settings) as warehouse, warehouse.lake_lock():
        for number in range(count):
            batch = {
                "runs": runs((f"r{number}", "2026-01-01T00:00:00Z")),
                "test_results": results((f"r{number}", "a", "passed")),
            }
            versions = dict(lake.append(batch, f"b{number}", warehouse.next_sequence(), versions).versions)
            warehouse.record_batch(record(f"b{number}", versions), warehouse.next_sequence())
            named.append(versions)
    return named


def test_an_empty_pipeline_has_nothing_to_maintain(settings: Settings) -> None:
    assert maintenance.maintain(settings, NOW) == maintenance.NOTHING_COLLECTED
    assert "not set" in maintenance.clean_airflow(settings, NOW)["done"]


def test_maintaining_joins_files_drops_what_nothing_names_and_a_repeat_changes_nothing(settings: Settings) -> None:
    named = collect_days(settings, 3)
    planned = maintenance.maintain(settings, NOW, dry_run=True)
    lake = open_lake(settings)
    assert lake.versions() == named[-1]
    done = maintenance.maintain(settings, NOW)
    assert planned["files_before"] == done["files_before"]
    assert (done["files_before"]["test_results"], done["files_after"]["test_results"]) == (3, 1)
    assert done["deleted_files"]["test_results"] == 3
    versions = lake.versions()
    assert stored(lake, "test_results", versions["test_results"], ["run_id"]) == [("r0",), ("r1",), ("r2",)]
    with pytest.raises(LakeError):
        lake.read("test_results", named[0]["test_results"])
    with open_warehouse(settings) as warehouse:
        head = warehouse.head()
    assert head is not None
    assert (head.snapshot_id, dict(head.versions)) == (done["snapshot_id"], versions)

    again = maintenance.maintain(settings, NOW)
    assert again["snapshot_id"] == done["snapshot_id"]
    assert set(again["deleted_files"].values()) == {0}
    assert lake.versions() == versions


def test_versions_in_their_retention_stay(settings: Settings) -> None:
    named = collect_days(settings, 2)
    done = maintenance.maintain(settings.model_copy(update={"keep_lake_days": 7}), NOW)
    assert set(done["deleted_files"].values()) == {0}
    assert open_lake(settings).read("test_results", named[0]["test_results"]).num_rows == 1


def test_a_database_that_is_not_airflows_is_told_without_its_password(settings: Settings) -> None:
    address = SecretStr("postgresql+psycopg2://airflow:s3cret-word@127.0.0.1:1/airflow")
    with pytest.raises(StackError, match="FOURGATE_AIRFLOW_DATABASE") as refused:
        maintenance.clean_airflow(settings.model_copy(update={"airflow_database": address}), NOW)
    assert "s3cret-word" not in str(refused.value)
