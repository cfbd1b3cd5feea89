import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from ml.spec import ALL_PROJECTS, DriftReport, Interval, ModelVersion
from ml.warehouse import Warehouse
from ml.warehouse.session import Session
from tests.lake_builders import NOON, record
from tests.postgres import Postgres

VERSION = ModelVersion("test_selection", "shop", "1", "run", "models:/1", "sha")


@pytest.fixture
def warehouse(postgres: Postgres) -> Iterator[Warehouse]:
    with Warehouse(postgres.pipeline_dsn) as opened:
        with opened.lake_lock():
            opened.record_batch(record("b1", {"runs": 1}), opened.next_sequence())
        yield opened


def drift(status: str, share: float = 0.5) -> DriftReport:
    return DriftReport(
        model="test_selection",
        project="shop",
        status=status,
        share_drifted=share,
        threshold=0.3,
        columns={"failures_7d": 0.4, "broken": float("nan")},
        drifted=("failures_7d",),
        reference=Interval(None, NOON),
        current=Interval(NOON, None),
        html="<html>" * 1000,
    )


def query(postgres: Postgres, statement: str) -> list[tuple[object, ...]]:
    with Session(postgres.reader_dsn) as session, session.transaction() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_a_drift_report_is_stored_once_per_moment_and_replaced(warehouse: Warehouse, postgres: Postgres) -> None:
    warehouse.record_drift(drift("none"), 1, NOON)
    warehouse.record_drift(drift("drift"), 1, NOON)
    stored = query(
        postgres,
        "SELECT status, columns, drifted, reference_start, reference_end, current_start, current_end "
        "FROM fourgate.drift_report",
    )
    columns = {"failures_7d": 0.4, "broken": None}
    assert stored == [("drift", columns, ["failures_7d"], None, NOON, NOON, None)]


def test_live_measures_are_stored_per_version_and_moment(warehouse: Warehouse, postgres: Postgres) -> None:
    warehouse.record_monitor(VERSION, VERSION.project, {"test_recall": 0.9, "brier": float("inf")}, 1, NOON)
    warehouse.record_monitor(VERSION, VERSION.project, {"test_recall": 0.8}, 1, NOON + timedelta(days=1))
    stored = query(postgres, "SELECT model_version, measures FROM fourgate.monitor_report ORDER BY as_of")
    assert stored == [("1", {"test_recall": 0.9, "brier": None}), ("1", {"test_recall": 0.8})]


def test_measures_of_the_shared_and_of_the_own_version_of_one_number_are_two(
    warehouse: Warehouse, postgres: Postgres
) -> None:
    warehouse.record_monitor(VERSION, VERSION.project, {"brier": 0.1}, 1, NOON)
    warehouse.record_monitor(replace(VERSION, project=ALL_PROJECTS), VERSION.project, {"brier": 0.2}, 1, NOON)
    stored = query(postgres, "SELECT project, is_shared, measures FROM fourgate.monitor_report ORDER BY is_shared")
    assert stored == [(VERSION.project, False, {"brier": 0.1}), (VERSION.project, True, {"brier": 0.2})]


def test_status_of_an_empty_warehouse_is_empty_lists(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        assert warehouse.status() == {
            "head": [],
            "collected": [],
            "champions": [],
            "publications": [],
            "drift": [],
        }


def test_status_sums_up_and_is_ready_for_json_also_for_a_reader(warehouse: Warehouse, postgres: Postgres) -> None:
    with warehouse.lake_lock():
        warehouse.record_batch(record("b2", {"runs": 2}, rejected=4), warehouse.next_sequence())
        kept = record("compact", {"runs": 3}, kind="maintenance", source="maintain")
        warehouse.record_batch(kept, warehouse.next_sequence())
    warehouse.record_drift(drift("none"), 1, NOON)
    warehouse.record_drift(drift("drift"), 1, NOON + timedelta(hours=1))
    with Warehouse(postgres.reader_dsn) as reader:
        status = reader.status()
    assert json.loads(json.dumps(status)) == status
    assert status["head"] == [{"snapshot_id": 3, "versions": {"runs": 3}, "data_until": NOON.isoformat()}]
    assert status["collected"] == [
        {
            "project": "shop",
            "batches": 2,
            "rejected": 4,
            "data_until": NOON.isoformat(),
            "runs": 2,
            "test_results": 4,
        }
    ]
    assert [entry["status"] for entry in status["drift"]] == ["drift"]
