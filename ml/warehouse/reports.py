"""Drift reports, live measures, and the state of everything at a glance."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg2 import extensions

from ml.spec import ALL_PROJECTS, DriftReport, ModelVersion
from ml.warehouse.session import Session, to_json, write_audit


class Reports(Session):
    """What was measured after the fact. Recording the same moment again replaces it."""

    def record_drift(self, report: DriftReport, snapshot_id: int, as_of: datetime) -> None:
        """Store a drift report without its HTML."""
        keys = {"model": report.model, "project": report.project, "snapshot_id": snapshot_id, "as_of": as_of}
        values = {
            "status": report.status,
            "share_drifted": report.share_drifted,
            "threshold": report.threshold,
            "columns": to_json(report.columns),
            "drifted": to_json(report.drifted),
            "reference_start": report.reference.start,
            "reference_end": report.reference.end,
            "current_start": report.current.start,
            "current_end": report.current.end,
        }
        with self.transaction() as cursor:
            _upsert(cursor, "drift_report", keys, values)
            detail = {"status": report.status, "snapshot_id": snapshot_id, "as_of": as_of}
            write_audit(cursor, "detect_drift", "drift", f"{report.model} {report.project}", detail)

    def has_drift(self, model: str, project: str) -> bool:
        """Whether the newest report found drift."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT status = 'drift' FROM fourgate.drift_report "
                "WHERE model = %s AND project = %s ORDER BY recorded_at DESC LIMIT 1",
                (model, project),
            )
            row = cursor.fetchone()
            return row is not None and bool(row[0])

    def record_monitor(
        self, version: ModelVersion, project: str, measures: Mapping[str, Any], snapshot_id: int, as_of: datetime
    ) -> None:
        """Store live measures of a version in a project; numbers that are not finite become null."""
        keys = {
            "model": version.model,
            "project": project,
            "is_shared": version.project == ALL_PROJECTS,
            "model_version": version.version,
            "snapshot_id": snapshot_id,
            "as_of": as_of,
        }
        with self.transaction() as cursor:
            _upsert(cursor, "monitor_report", keys, {"measures": to_json(measures)})
            detail = {"version": version.version, "snapshot_id": snapshot_id, "as_of": as_of}
            write_audit(cursor, "monitor", "monitor", f"{version.model} {project}", detail)

    def status(self) -> dict[str, Any]:
        """Head snapshot, batches per project, champions, current publications and last drift, ready for JSON."""
        with self.transaction() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return {name: _rows(cursor, query) for name, query in _STATUS.items()}


_STATUS = {
    "head": "SELECT snapshot_id, versions, data_until FROM fourgate.collection_batch ORDER BY snapshot_id DESC LIMIT 1",
    "collected": (
        "SELECT project, count(*) FILTER (WHERE kind <> 'retention') AS batches, sum(rejected) AS rejected, "
        "max(batch_until) AS data_until, "
        "sum((row_counts ->> 'runs')::bigint) AS runs, sum((row_counts ->> 'test_results')::bigint) AS test_results "
        "FROM fourgate.collection_batch WHERE kind <> 'maintenance' GROUP BY project ORDER BY project"
    ),
    "champions": (
        "SELECT model, project, version, route, as_of, gate_report, previous ->> 'version' AS previous "
        "FROM fourgate.champion ORDER BY model, project"
    ),
    "publications": (
        "SELECT model, project, model_version, is_shared, snapshot_id, as_of, row_count FROM fourgate.publication "
        "WHERE is_current ORDER BY model, project"
    ),
    "drift": (
        "SELECT DISTINCT ON (model, project) model, project, status, share_drifted, threshold, as_of "
        "FROM fourgate.drift_report ORDER BY model, project, as_of DESC"
    ),
}


def _rows(cursor: extensions.cursor, query: str) -> list[dict[str, Any]]:
    cursor.execute(query)
    names = [column.name for column in cursor.description or ()]
    return [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in cursor.fetchall()]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, (str, int, float, dict, type(None))) else int(value)


def _upsert(cursor: extensions.cursor, table: str, keys: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    row = {**keys, **values}
    cursor.execute(
        f"INSERT INTO fourgate.{table} ({', '.join(row)}) VALUES ({', '.join(f'%({name})s' for name in row)}) "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET "
        f"{', '.join(f'{name} = excluded.{name}' for name in values)}, recorded_at = clock_timestamp()",
        row,
    )
