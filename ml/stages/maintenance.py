"""Maintenance: join small files and drop versions of the lake; results table, MLflow and Airflow forget what is old.

Each step can be killed at any moment and run again; running it twice changes nothing more. Local files: `retention`.
"""

import os
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ml import foreign
from ml.errors import StackError
from ml.lake import Lake
from ml.settings import Settings
from ml.spec import Snapshot
from ml.stages import lake_changes
from ml.stages.collection import LOCK_TIMEOUT_S
from ml.stages.opening import open_lake, open_registry, open_warehouse
from ml.warehouse import Warehouse

AIRFLOW_TIMEOUT_S = 3_000
NOTHING_COLLECTED = {"done": "nothing to do: nothing was collected yet"}
# All that `airflow db clean` knows except `dag`: a stack that was down for long must not forget which DAGs are paused.
AIRFLOW_TABLES = (
    "asset_event",
    "callback",
    "connection_test_request",
    "dag_run",
    "dag_version",
    "deadline",
    "import_error",
    "job",
    "log",
    "revoked_token",
    "task_instance",
    "task_instance_history",
    "task_reschedule",
    "trigger",
    "xcom",
)
_CHECKED = re.compile(r"Checking table (\w+)\nFound (\d+) rows")


def maintain(settings: Settings, as_of: datetime, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove history that its project does not keep, compact and vacuum the lake, all under its lock.

    What changed is named as a snapshot, one for each project that lost history among them.

    Args:
        settings: where the lake and the warehouse are, and how long versions that nothing names stay readable.
        as_of: now; part of the ledger row.
        dry_run: only say what would go; what compaction would save shows when it has run.

    Returns:
        snapshot_id of the head, files before and after, and deleted_files, per table; expired_rows per project that
        keeps its history for some days.
    """
    lake, hours = open_lake(settings), settings.keep_lake_days * 24
    with open_warehouse(settings) as warehouse, warehouse.lake_lock(LOCK_TIMEOUT_S):
        head = warehouse.head()
        if head is None:
            return NOTHING_COLLECTED
        before = _file_counts(lake, head.versions)
        going = lake_changes.outdated(settings, warehouse, as_of)
        if dry_run:
            expired = {one.project: lake_changes.would_remove(lake, head.versions, one) for one in going}
            deleted = lake.vacuum([*warehouse.live_versions(), head.versions], hours, dry_run=True)
            return {**_told(head, (before, before), deleted, dry_run), "expired_rows": expired}
        lake.create()  # a lake of an earlier release may lack a table
        base = lake.restore(head.versions, warehouse.next_sequence())
        kept, expired = lake_changes.expire(warehouse, lake, base, going, as_of)
        lake.compact(kept, warehouse.next_sequence())
        head = _named(warehouse, lake, head, as_of)  # from here on, what was compacted is named by the past only
        deleted = lake.vacuum(warehouse.live_versions(), hours)
        head = _named(warehouse, lake, head, as_of)
    return {**_told(head, (before, _file_counts(lake, head.versions)), deleted, dry_run), "expired_rows": expired}


def _told(
    head: Snapshot, files: tuple[dict[str, int], dict[str, int]], deleted: dict[str, int], dry_run: bool
) -> dict[str, Any]:
    return {
        "snapshot_id": head.snapshot_id,
        "files_before": files[0],
        "files_after": files[1],
        "deleted_files": deleted,
        "dry_run": dry_run,
    }


def _file_counts(lake: Lake, versions: Any) -> dict[str, int]:
    return {table: len(lake.files(table, version)) for table, version in versions.items()}


def _named(warehouse: Warehouse, lake: Lake, head: Snapshot, as_of: datetime) -> Snapshot:
    """The snapshot that names the lake's present versions: a new one if they are not those of the head."""
    versions = lake.versions()
    if versions == head.versions:
        return head
    return lake_changes.record(warehouse, versions, as_of)


def clean_models(settings: Settings, as_of: datetime, *, dry_run: bool = False) -> dict[str, Any]:
    """Delete old trainings and drifts in MLflow, and remove for good what was deleted long enough ago.

    Returns:
        runs and versions deleted now, runs kept, and whether garbage was collected: only with the address of MLflow's
        own database in the settings.
    """
    registry = open_registry(settings)
    with open_warehouse(settings) as warehouse:
        in_service = warehouse.versions_in_service()
    before = as_of - timedelta(days=settings.keep_models_days)
    counts = registry.expire(before, in_service, dry_run=dry_run)
    database = settings.mlflow_database.get_secret_value()
    if database and not dry_run:
        registry.collect_garbage(database, settings.keep_deleted_models_days)
    return {**counts, "collected_garbage": bool(database) and not dry_run, "dry_run": dry_run}


def clean_predictions(settings: Settings, as_of: datetime, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove the rows of published sets that are neither current nor young.

    Returns:
        sets and rows removed.
    """
    before = as_of - timedelta(days=settings.keep_predictions_days)
    with open_warehouse(settings) as warehouse:
        return {**warehouse.expire_predictions(before, as_of, dry_run=dry_run), "dry_run": dry_run}


def clean_airflow(settings: Settings, as_of: datetime, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove old runs, events and logs from Airflow's own database, with `airflow db clean`.

    The last scheduled run of each DAG stays, so that its schedule goes on from there.

    Returns:
        rows per table and in all; empty of rows without the address of Airflow's database in the settings.

    Raises:
        StackError: Airflow refuses; carries the end of what it said, without the password.
    """
    database = settings.airflow_database.get_secret_value()
    if not database:
        return {"done": "nothing to do: FOURGATE_AIRFLOW_DATABASE is not set"}
    before = as_of - timedelta(days=settings.keep_airflow_days)
    command = [sys.executable, "-m", "airflow", "db", "clean", "--clean-before-timestamp", before.isoformat()]
    command += ["--tables", ",".join(AIRFLOW_TABLES), "--yes", "--skip-archive", "--error-on-cleanup-failure"]
    told = _call_airflow(settings, database, [*command, *(["--dry-run"] if dry_run else [])])
    rows = {table: int(count) for table, count in _CHECKED.findall(told)}
    return {"rows": rows, "removed": sum(rows.values()), "before": before.isoformat(), "dry_run": dry_run}


def _call_airflow(settings: Settings, database: str, command: list[str]) -> str:
    home = settings.home.absolute() / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        "AIRFLOW_HOME": str(home),
        **os.environ,
        # a task's own environment has an address in its place that leads nowhere
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    failure = (StackError, "airflow db clean", "FOURGATE_AIRFLOW_DATABASE")
    return foreign.run(command, environment, database, AIRFLOW_TIMEOUT_S, failure)
