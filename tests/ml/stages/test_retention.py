"""What lies on the disk, what may go, and that nothing that is needed goes."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ml.settings import Settings
from ml.stages import collection, data_docs, fetching, retention
from ml.stages.opening import folder_of, key_of, open_warehouse
from ml.warehouse.session import Session
from tests.history_builders import write_report, write_run
from tests.lake_builders import record
from tests.postgres import Postgres

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD, RECENT = NOW - timedelta(days=20), NOW - timedelta(days=10)
MODEL, PROJECT = "test_selection", "shop"
CHAMPION = (
    "INSERT INTO fourgate.champion (model, project, version, mlflow_run_id, artifact_uri, sha256, gate_report, route, "
    "as_of, previous, anchor, promoted_at) VALUES ('test_selection', 'shop', '3', 'r', 'a', %(sha)s, 'g', 'better', "
    'now(), \'{"version": "2"}\', \'{"version": "1"}\', now())'
)


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn))


def put(path: Path, written_at: datetime, size: int = 100) -> Path:
    """A file of some bytes that was written at a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (written_at.timestamp(),) * 2)
    return path


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def candidate(settings: Settings, version: str, written_at: datetime) -> Path:
    """Files of a candidate and the frame it was trained on."""
    home = settings.home.absolute()
    folder = home / "candidates" / key_of(MODEL, PROJECT, version)
    frame = put(home / "frames" / f"frame-{version}" / "frame.parquet", written_at)
    told = {"model": MODEL, "project": PROJECT, "version": {"version": version}, "folder": str(folder)}
    put(folder / "scored.parquet", written_at)
    file = put(folder / "candidate.json", written_at)
    file.write_text(json.dumps({**told, "path": str(frame)}))
    os.utime(file, (written_at.timestamp(),) * 2)
    return folder


def test_old_working_files_go_and_recent_ones_stay(settings: Settings) -> None:
    home = settings.home
    put(home / "staging" / "b1" / "runs.parquet", OLD)
    put(home / "staging" / "b2" / "runs.parquet", OLD)
    put(home / "staging" / "b2" / "test_results.parquet", RECENT)
    put(home / "frames" / "f1" / "frame.parquet", OLD, 400)
    put(home / "frames" / "f1" / ".frame.parquet.abc.part", OLD, 30)
    put(home / "frames" / "f2" / "frame.parquet", RECENT)
    planned = retention.clean_working_files(settings, NOW, dry_run=True)
    assert len(left(home)) == 6
    done = retention.clean_working_files(settings, NOW)
    assert left(home) == {
        "staging/b2/runs.parquet",
        "staging/b2/test_results.parquet",
        "frames/f2/frame.parquet",
    }
    assert {**planned, "dry_run": False} == done
    assert done["kinds"]["feature frames"] == {"removed": 1, "bytes": 430}
    assert (done["removed"], done["bytes"]) == (2, 530)
    again = retention.clean_working_files(settings, NOW)
    assert (again["removed"], again["bytes"]) == (0, 0)


def test_files_of_versions_in_service_and_of_the_newest_candidate_stay_at_any_age(
    settings: Settings, postgres: Postgres
) -> None:
    folders = {version: candidate(settings, version, OLD) for version in ("1", "2", "3", "4", "10")}
    with Session(postgres.admin_dsn) as owner, owner.transaction() as cursor:
        cursor.execute(CHAMPION, {"sha": "0" * 64})
    done = retention.clean_working_files(settings, NOW)
    assert {version for version, folder in folders.items() if folder.exists()} == {"1", "2", "3", "10"}
    frames = {path.name for path in (settings.home / "frames").iterdir()}
    assert frames == {"frame-10"}
    assert done["kinds"]["candidates' files"]["removed"] == 1
    assert done["kinds"]["feature frames"]["removed"] == 4


def test_a_clean_up_that_was_killed_is_finished_by_the_next(settings: Settings) -> None:
    half = put(settings.home / "frames" / ".expired" / "tmp1" / "f0" / "frame.parquet", OLD)
    put(settings.home / "frames" / "f1" / "frame.parquet", OLD)
    retention.clean_working_files(settings, NOW)
    assert not half.exists()
    assert left(settings.home / "frames") == set()


def test_payloads_stay_for_ever_unless_their_retention_is_set_and_they_are_in_the_lake(
    settings: Settings, tmp_path: Path
) -> None:
    for name in ("in-lake", "landed-only"):
        put(settings.home / "landing" / "junit" / name / "payloads" / "r.xml", OLD)
    with open_warehouse(settings) as warehouse, warehouse.lake_lock():
        versions = dict.fromkeys(("runs", "test_results", "changed_files", "rejected_rows"), 0)
        warehouse.record_batch(record("in-lake", versions), warehouse.next_sequence())
    assert retention.clean_working_files(settings, NOW)["kinds"]["payloads"]["removed"] == 0
    limited = settings.model_copy(update={"keep_payloads_days": 15})
    assert retention.clean_working_files(limited, NOW)["kinds"]["payloads"]["removed"] == 1
    assert left(settings.home / "landing") == {"junit/landed-only/payloads/r.xml"}


def test_a_batch_whose_payloads_went_is_not_collected_again(settings: Settings, tmp_path: Path) -> None:
    run = write_run(tmp_path / "history" / "r1", finished_at="2026-01-01T00:30:00Z")
    for test in ("a", "b", "c", "d"):
        write_report(run / "linux" / f"{test}.xml", test)
    collect(settings, tmp_path / "history")
    limited = settings.model_copy(update={"keep_payloads_days": 1})
    later = datetime.now(UTC) + timedelta(days=400)
    assert retention.clean_working_files(limited, later)["kinds"]["payloads"]["removed"] == 1
    assert fetching.fetch_history(settings, str(tmp_path / "history")) == []


def collect(settings: Settings, history: Path) -> dict[str, Any]:
    batches = fetching.fetch_history(settings, str(history))
    return collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])


def test_data_docs_are_listed_newest_first_until_their_retention_ends(settings: Settings, tmp_path: Path) -> None:
    for number in (1, 2):
        run = write_run(
            tmp_path / f"h{number}" / "r", f"r{number}", project=f"<b>p{number}", finished_at="2026-01-01T00:30:00Z"
        )
        for test in ("a", "b", "c", "d"):
            write_report(run / "linux" / f"{test}.xml", test)
        batches = fetching.fetch_history(settings, str(tmp_path / f"h{number}"))
        collection.append(settings, [collection.validate(settings, one, NOW + timedelta(number)) for one in batches])
    listed = data_docs.history(settings)
    assert [(one["project"], one["accepted"]["test_results"]) for one in listed] == [("<b>p2", 4), ("<b>p1", 4)]
    root = settings.home / "reports" / "data_docs"
    page = (root / "index.html").read_text()
    assert page.index("&lt;b&gt;p2") < page.index("&lt;b&gt;p1")
    assert "<b>p" not in page
    assert all((root / one["batch_id"] / "overview.html").exists() for one in listed)

    for path in (root / listed[1]["batch_id"]).rglob("*"):
        os.utime(path, (0, 0))
    gate = put(settings.home / "reports" / "gates" / "old.html", datetime(2020, 1, 1, tzinfo=UTC))
    done = retention.clean_reports(settings, datetime.now(UTC))
    assert done["kinds"]["Data Docs"]["removed"] == 1
    assert not gate.exists()
    assert [one["batch_id"] for one in data_docs.history(settings)] == [listed[0]["batch_id"]]
    page = (root / "index.html").read_text()
    assert "&lt;b&gt;p1" not in page
    assert "&lt;b&gt;p2" in page


def test_old_task_logs_go_and_of_a_long_service_log_the_end_stays(settings: Settings) -> None:
    home = settings.home
    put(home / "airflow" / "logs" / "dag_id=a" / "run_id=1" / "attempt=1.log", NOW - timedelta(days=61))
    put(home / "airflow" / "logs" / "dag_id=a" / "run_id=2" / "attempt=1.log", NOW - timedelta(days=59))
    log = put(home / "logs" / "mlflow.log", NOW, 0)
    log.write_bytes(b"".join(b"line %07d\n" % number for number in range(150_000)))
    limited = settings.model_copy(update={"keep_log_mb": 1})
    done = retention.clean_logs(limited, NOW)
    assert left(home / "airflow" / "logs") == {"dag_id=a/run_id=2/attempt=1.log"}
    assert not (home / "airflow" / "logs" / "dag_id=a" / "run_id=1").exists()
    lines = log.read_bytes().splitlines()
    assert lines[-1] == b"line 0149999"
    assert all(len(line) == 12 for line in lines)
    assert 990_000 < log.stat().st_size <= 1_000_000
    assert done["kinds"] == {
        "Airflow logs": {"removed": 1, "bytes": 100},
        "service logs": {"removed": 1, "bytes": 950_000},
    }
    assert retention.clean_logs(limited, NOW)["bytes"] == 0


def test_a_service_that_keeps_its_log_open_goes_on_at_its_end(settings: Settings) -> None:
    log = put(settings.home / "logs" / "mlflow.log", NOW, 0)
    with log.open("ab", buffering=0) as service:
        service.write(b"old line\n" * 200_000)
        retention.clean_logs(settings.model_copy(update={"keep_log_mb": 1}), NOW)
        service.write(b"new line\n")
    text = log.read_bytes()
    assert text.startswith(b"old line\n")
    assert text.endswith(b"old line\nnew line\n")


def test_disk_use_counts_each_kind_and_follows_no_link(settings: Settings, tmp_path: Path) -> None:
    put(settings.home / "landing" / "junit" / "b1" / "payloads" / "r.xml", NOW, 70)
    put(settings.home / "frames" / "f1" / "frame.parquet", NOW, 30)
    put(tmp_path / "elsewhere" / "big", NOW, 5_000)
    folder_of(settings, "frames", "f2").joinpath("link").symlink_to(tmp_path / "elsewhere")
    found = retention.disk_use(settings)
    sizes = {row["kind"]: (row["bytes"], row["files"]) for row in found["kinds"]}
    assert sizes["payloads"] == (70, 1)
    assert sizes["feature frames"][0] < 200
    assert sizes["lake"] == (0, 0)
    assert found["free_bytes"] > 0
    remote = retention.disk_use(settings.model_copy(update={"lake_uri": "s3://bucket/lake"}))
    assert remote["kinds"][0] == {"kind": "lake", "path": "s3://bucket/lake", "bytes": None, "files": None}
