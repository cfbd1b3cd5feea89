"""Collecting: what a second delivery of a history does to the lake and to the ledger."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pydantic import SecretStr

from ml.settings import Settings
from ml.stages import collection, fetching
from ml.stages.opening import open_lake, open_warehouse
from tests.history_builders import write_report, write_run
from tests.lake_builders import stored
from tests.postgres import Postgres

NOW = datetime(2026, 2, 1, tzinfo=UTC)
START, FINISH = "2026-01-01T00:00:00Z", "2026-01-01T00:30:00Z"
CHANGE = [{"path": "a.py", "added": 1, "deleted": 0}]


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn))


def collect(settings: Settings, history: Path) -> dict[str, Any]:
    batches = fetching.fetch_history(settings, str(history))
    return collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])


def ledger(settings: Settings, project: str = "p") -> list[tuple[dict[str, int], datetime | None]]:
    """Row counts and the latest known_at of each batch of a project."""
    with open_warehouse(settings) as warehouse:
        head = warehouse.head()
        assert head is not None
        batches = warehouse.batches(project, head.snapshot_id)
    return list(zip(batches["row_counts"], batches["batch_until"], strict=True))


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A finished run with four results, so that a batch with announced runs has a usual volume."""
    run = write_run(tmp_path / "history" / "r0", "r0", START, finished_at=FINISH)
    for test in ("t", "u", "v", "w"):
        write_report(run / "linux" / f"{test}.xml", test)
    return tmp_path / "history"


def test_an_announced_run_that_comes_back_finished_is_news_but_no_added_row(settings: Settings, history: Path) -> None:
    write_run(history / "r1", "r1", START, changed_files=CHANGE)
    assert collect(settings, history)["new_rows"] == 2 + 4 + 1
    write_run(history / "r1", "r1", START, changed_files=CHANGE, finished_at=FINISH, status="passed")
    again = collect(settings, history)
    assert (again["new_rows"], again["duplicates"]) == (1, 1 + 4 + 1)
    first, second = ledger(settings)
    assert first[0] == {"runs": 2, "test_results": 4, "changed_files": 1, "rejected_rows": 0}
    assert second[0] == {"runs": 0, "test_results": 0, "changed_files": 0, "rejected_rows": 0}
    assert second[1] == datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    lake = open_lake(settings)
    assert stored(lake, "runs", lake.versions()["runs"], ["run_id", "status"]) == [("r0", None), ("r1", "passed")]
    assert fetching.fetch_history(settings, str(history)) == []


def test_results_that_come_with_the_finished_run_are_new(settings: Settings, history: Path) -> None:
    write_run(history / "r1", "r1", START)
    collect(settings, history)
    write_report(write_run(history / "r1", "r1", START, finished_at=FINISH) / "linux" / "t.xml")
    assert collect(settings, history)["new_rows"] == 2
    assert ledger(settings)[1][0] == {"runs": 0, "test_results": 1, "changed_files": 0, "rejected_rows": 0}


def test_a_project_that_cannot_name_a_folder_is_refused_row_by_row(settings: Settings, tmp_path: Path) -> None:
    history = tmp_path / "other"
    write_report(write_run(history / "bad", "r1", START, project="p" * 81, finished_at=FINISH) / "linux" / "t.xml")
    (batch,) = fetching.fetch_history(settings, str(history))
    checked = collection.validate(settings, batch, NOW)
    assert checked["accepted"] == {"runs": 0, "test_results": 0, "changed_files": 0}
    assert checked["reasons"] == {"unusable_project": 2}


def test_a_replay_of_a_batch_stores_no_refusal_twice(settings: Settings, history: Path) -> None:
    for number in range(100):
        write_report(history / "r0" / "linux" / f"{number}.xml", str(number))
    write_run(history / "r1", "r1", START, changed_files=[{"path": "a.py", "added": -1, "deleted": 0}])
    (batch,) = fetching.fetch_history(settings, str(history))
    collection.append(settings, [collection.validate(settings, batch, NOW)])
    for day in (1, 2):
        replayed = collection.replay(settings, batch["batch_id"], NOW + timedelta(days=day))
        assert (replayed["new_rows"], replayed["duplicates"]) == (0, 2 + 104)
    assert [counts["rejected_rows"] for counts, _ in ledger(settings)] == [1, 0, 0]
    lake = open_lake(settings)
    refused = stored(lake, "rejected_rows", lake.versions()["rejected_rows"], ["column", "reason"])
    assert refused == [("added", "negative")]


def test_batches_that_are_validated_side_by_side_give_the_same_lake(
    settings: Settings, history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.sources.junit.MAX_BATCH_RUNS", 1)
    monkeypatch.setattr(collection, "WORTH_PROCESSES_BYTES", 0)
    for number in (1, 2):
        write_report(write_run(history / f"r{number}", f"r{number}", START, finished_at=FINISH) / "linux" / "t.xml")
    batches = fetching.fetch_history(settings, str(history))
    appended = collection.append(settings, collection.validate_each(settings, batches, NOW))
    assert (len(batches), appended["rows"]) == (3, {"runs": 3, "test_results": 6, "changed_files": 0})
    assert fetching.fetch_history(settings, str(history)) == []


def test_the_ledger_says_where_a_batch_came_from_what_landed_and_which_runs_were_outages(
    settings: Settings, history: Path, postgres: Postgres
) -> None:
    broken = write_run(history / "r1", "r1", START, finished_at=FINISH)
    for test in ("t", "u"):
        write_report(broken / "linux" / f"{test}.xml", test, failed=True)
    assert collect(settings, history)["outages"] == 1
    with closing(psycopg2.connect(postgres.pipeline_dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT origin, payloads, outages FROM fourgate.collection_batch")
        ((origin, payloads, outages),) = cursor.fetchall()
    assert origin == str(history)
    assert outages == ["r1"]
    assert [payload["path"] for payload in payloads][-3:] == ["r1/manifest.json", "r1/linux/t.xml", "r1/linux/u.xml"]
    assert all(len(payload["sha256"]) == 64 for payload in payloads)
