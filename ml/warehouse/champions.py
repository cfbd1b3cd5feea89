"""Verdicts, promotion and rollback: the champion of a (model, project) is one row, changed in one transaction.

The shared model, trained on all projects, has a row as well, with `ALL_PROJECTS` for its project.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg2 import extensions

from ml.errors import WarehouseError
from ml.spec import ALL_PROJECTS, Interval, ModelVersion
from ml.warehouse.session import Session, lock_for, only, to_json, write_audit
from ml.warehouse.verdicts import passed_period, was_promoted

_CHAMPION = (
    "SELECT version, mlflow_run_id, artifact_uri, sha256, gate_report, route, promoted_at, as_of, previous, anchor "
    "FROM fourgate.champion WHERE model = %s AND project = %s"
)


class Route(StrEnum):
    """How a challenger won."""

    FIRST = "first"
    BETTER = "better"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Champion:
    """The model version in service, with what put it there.

    `previous` is the champion before it, None after the first promotion. `anchor` is the last version that won by
    route first or better: small losses by refresh are measured against it.
    """

    version: ModelVersion
    gate_report: str
    route: Route
    promoted_at: datetime
    as_of: datetime
    previous: ModelVersion | None
    anchor: ModelVersion


@dataclass(frozen=True, slots=True)
class Promotion:
    """A request to make a version champion.

    `expected_champion` is the version that the verdicts were judged against, None if there was none.
    """

    version: ModelVersion
    route: Route
    gate_report: str
    as_of: datetime
    actor: str
    expected_champion: str | None


@dataclass(frozen=True, slots=True)
class Rollback:
    """A request to put the previous champion back; `actor` and `reason` are kept in the audit log.

    `request_id` names the request: it is granted once, however often it is repeated. Empty: each time anew.
    """

    model: str
    project: str
    as_of: datetime
    actor: str
    reason: str
    request_id: str = ""


class Champions(Session):
    """Who serves, who judged it, and who served before."""

    def champion(self, model: str, project: str) -> Champion | None:
        """The version in service; None before the first promotion."""
        with self.transaction() as cursor:
            cursor.execute(_CHAMPION, (model, project))
            row = cursor.fetchone()
            return None if row is None else _as_champion(model, project, row)

    def versions_in_service(self) -> set[tuple[str, str, str]]:
        """Model, project and version of what must stay loadable: champions, their predecessors and anchors, and what
        the current predictions come from.
        """
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT model, project, version FROM fourgate.champion "
                "UNION SELECT model, project, previous ->> 'version' FROM fourgate.champion WHERE previous IS NOT NULL "
                "UNION SELECT model, project, anchor ->> 'version' FROM fourgate.champion "
                "UNION SELECT model, CASE WHEN is_shared THEN %s ELSE project END, model_version "
                "FROM fourgate.publication WHERE is_current",
                (ALL_PROJECTS,),
            )
            return {(str(model), str(project), str(version)) for model, project, version in cursor.fetchall()}

    def champions(self) -> list[Champion]:
        """Every version in service, by model and project."""
        with self.transaction() as cursor:
            cursor.execute("SELECT model, project FROM fourgate.champion ORDER BY model, project")
            served = cursor.fetchall()
            return [_serving(cursor, model, project) for model, project in served]

    @contextmanager
    def projection_lock(self, model: str, project: str) -> Iterator[Champion | None]:
        """The champion as it is now, for the one process that projects it elsewhere; others wait their turn.

        Whoever projects reads the row after its own change and under this lock, so the last projection is that of
        the last change. The lock ends with the connection.
        """
        name = f"fourgate projection {model} {project}"
        with self.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
        try:
            yield self.champion(model, project)
        finally:
            with suppress(WarehouseError), self.transaction() as cursor:  # a lost connection has lost the lock too
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))

    def promote(self, promotion: Promotion) -> Champion:
        """Make a version champion in one transaction with its audit row and its predecessor.

        Doing it again changes nothing while the version is champion.

        Raises:
            WarehouseError: not all four verdicts of exactly this version (by SHA-256) are pass, the champion is not
                the one it was judged against, its test period overlaps one that promoted another version, or the
                version was promoted before and has been replaced or rolled back since.
        """
        version = promotion.version
        subject = f"{version.model} {version.project}"
        with self.transaction() as cursor:
            row, current = _locked(cursor, version.model, version.project)
            if current is not None and current.version == version:
                return current
            period = passed_period(cursor, version)
            _refuse_stale(cursor, promotion, current, period)
            _insert_promotion(cursor, promotion, period)
            _write_champion(cursor, version, _successor(promotion, row))
            detail = {"version": version, "route": promotion.route, "replaced": promotion.expected_champion}
            write_audit(cursor, promotion.actor, "promote", subject, {**detail, "as_of": promotion.as_of})
            return _serving(cursor, version.model, version.project)

    def rollback(self, request: Rollback) -> Champion:
        """Put the previous champion back; the present one becomes `previous`, so that a second rollback undoes it.

        Raises:
            WarehouseError: there is no champion, or none before it.
        """
        subject = f"{request.model} {request.project}"
        with self.transaction() as cursor:
            row, present = _locked(cursor, request.model, request.project)
            if present is not None and _was_granted(cursor, subject, request.request_id):
                return present
            if row is None or present is None or present.previous is None:
                raise WarehouseError(f"{subject} has no previous champion to roll back to")
            _write_champion(cursor, present.previous, {**row[8], "as_of": request.as_of, "previous": _record(row)})
            swapped = {"from": present.version.version, "to": present.previous.version}
            detail = {**swapped, "reason": request.reason, "as_of": request.as_of, "request_id": request.request_id}
            write_audit(cursor, request.actor, "rollback", subject, detail)
            return _serving(cursor, request.model, request.project)


def _was_granted(cursor: extensions.cursor, subject: str, request_id: str) -> bool:
    """Whether the audit log has a rollback of this request."""
    if not request_id:
        return False
    cursor.execute(
        "SELECT 1 FROM fourgate.audit_log WHERE action = 'rollback' AND subject = %s AND detail ->> 'request_id' = %s",
        (subject, request_id),
    )
    return cursor.fetchone() is not None


def _locked(cursor: extensions.cursor, model: str, project: str) -> tuple[tuple[Any, ...] | None, Champion | None]:
    """The champion's row, and what it says, held until the transaction ends; also when there is no row yet."""
    lock_for(cursor, f"{model} {project}")
    cursor.execute(f"{_CHAMPION} FOR UPDATE", (model, project))
    row = cursor.fetchone()
    return row, None if row is None else _as_champion(model, project, row)


def _serving(cursor: extensions.cursor, model: str, project: str) -> Champion:
    cursor.execute(_CHAMPION, (model, project))
    return _as_champion(model, project, only(cursor))


def _successor(promotion: Promotion, row: tuple[Any, ...] | None) -> dict[str, Any]:
    previous = None if row is None else _record(row)
    is_anchor = previous is None or promotion.route != Route.REFRESH
    return {
        "gate_report": promotion.gate_report,
        "route": promotion.route,
        "as_of": promotion.as_of,
        "anchor": _fields(promotion.version) if is_anchor or previous is None else previous["anchor"],
        "previous": previous,
    }


def _refuse_stale(cursor: extensions.cursor, promotion: Promotion, current: Champion | None, period: Interval) -> None:
    version = promotion.version
    name = f"version {version.version} of {version.model} {version.project}"
    serving = None if current is None else current.version.version
    if serving != promotion.expected_champion:
        raise WarehouseError(
            f"{name} was judged against {promotion.expected_champion or 'no champion'}, "
            f"but {serving or 'none'} is champion now: judge it again"
        )
    if was_promoted(cursor, version):
        raise WarehouseError(f"{name} was promoted before and replaced or rolled back since: train a new version")
    cursor.execute(
        "SELECT model_version FROM fourgate.promotion WHERE model = %s AND project = %s "
        "AND tstzrange(period_start, period_end) && tstzrange(%s, %s) ORDER BY promoted_at LIMIT 1",
        (version.model, version.project, period.start, period.end),
    )
    used = cursor.fetchone()
    if used is not None:
        raise WarehouseError(f"{name} is not promoted: its test period overlaps the one that promoted {used[0]}")


def _insert_promotion(cursor: extensions.cursor, promotion: Promotion, period: Interval) -> None:
    version = promotion.version
    cursor.execute(
        "INSERT INTO fourgate.promotion (model, project, model_version, route, period_start, period_end, replaced, "
        "as_of) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            version.model,
            version.project,
            version.version,
            promotion.route.value,
            period.start,
            period.end,
            promotion.expected_champion,
            promotion.as_of,
        ),
    )


def _write_champion(cursor: extensions.cursor, version: ModelVersion, about: Mapping[str, Any]) -> None:
    values = {
        "model": version.model,
        "project": version.project,
        **_fields(version),
        "gate_report": about["gate_report"],
        "route": str(about["route"]),
        "as_of": about["as_of"],
        "previous": None if about["previous"] is None else to_json(about["previous"]),
        "anchor": to_json(about["anchor"]),
    }
    updates = ", ".join(f"{name} = excluded.{name}" for name in values if name not in ("model", "project"))
    cursor.execute(
        f"INSERT INTO fourgate.champion ({', '.join(values)}, promoted_at) "
        f"VALUES ({', '.join(f'%({name})s' for name in values)}, clock_timestamp()) "
        f"ON CONFLICT (model, project) DO UPDATE SET {updates}, promoted_at = excluded.promoted_at",
        values,
    )


def _fields(version: ModelVersion) -> dict[str, str]:
    return {
        "version": version.version,
        "mlflow_run_id": version.mlflow_run_id,
        "artifact_uri": version.artifact_uri,
        "sha256": version.sha256,
    }


def _record(row: tuple[Any, ...]) -> dict[str, Any]:
    """A champion row as its successor's `previous`; without its own `previous`, so that it does not grow."""
    names = ("version", "mlflow_run_id", "artifact_uri", "sha256", "gate_report", "route")
    return {**dict(zip(names, row, strict=False)), "as_of": row[7].isoformat(), "anchor": row[9]}


def _as_champion(model: str, project: str, row: tuple[Any, ...]) -> Champion:
    previous, anchor = row[8], row[9]
    return Champion(
        version=ModelVersion(model, project, *row[:4]),
        gate_report=row[4],
        route=Route(row[5]),
        promoted_at=row[6],
        as_of=row[7],
        previous=None if previous is None else _as_version(model, project, previous),
        anchor=_as_version(model, project, anchor),
    )


def _as_version(model: str, project: str, value: Mapping[str, str]) -> ModelVersion:
    return ModelVersion(
        model, project, value["version"], value["mlflow_run_id"], value["artifact_uri"], value["sha256"]
    )
