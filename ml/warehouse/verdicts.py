"""Verdicts of the gates: stored for every judged version, the evidence a promotion rests on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2 import extensions

from ml.errors import WarehouseError
from ml.settings import GATES
from ml.spec import Interval, ModelVersion, Status, Verdict
from ml.warehouse.session import Session, lock_for, to_json, write_audit


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts of one version, and on what they rest. `period` is the test period."""

    version: ModelVersion
    verdicts: Sequence[Verdict]
    thresholds_version: str
    period: Interval
    snapshot_id: int
    as_of: datetime


class Verdicts(Session):
    """What the gates concluded."""

    def record_verdicts(self, judgement: Judgement) -> None:
        """Store the verdicts of a version, passes too. The same verdicts again change nothing.

        Raises:
            WarehouseError: other verdicts for a version that was promoted by the stored ones.
        """
        version = judgement.version
        subject = f"{version.model} {version.project}"
        with self.transaction() as cursor:
            lock_for(cursor, subject)
            promoted = was_promoted(cursor, version)
            for verdict in judgement.verdicts:
                changed = _upsert_verdict(cursor, judgement, verdict)
                if changed and promoted:
                    raise WarehouseError(
                        f"version {version.version} of {subject} was promoted by its verdicts: they cannot change"
                    )
                if changed:
                    detail = {"version": version.version, "verdict": verdict.to_dict()}
                    write_audit(cursor, "judge", "verdict", subject, detail)

    def verdicts(self, model: str, project: str, model_version: str) -> list[Verdict]:
        """Stored verdicts of a version in the order of the gates; empty if it was not judged."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT gate, status, checks FROM fourgate.gate_verdict "
                "WHERE model = %s AND project = %s AND model_version = %s",
                (model, project, model_version),
            )
            found = [
                Verdict.from_dict({"gate": gate, "status": status, "checks": checks})
                for gate, status, checks in cursor.fetchall()
            ]
        return sorted(found, key=lambda verdict: (*GATES, verdict.gate).index(verdict.gate))

    def judged_period(self, version: ModelVersion) -> Interval:
        """The test period that a promoted version passed on: it learned from what was before.

        Raises:
            WarehouseError: it did not pass all four gates.
        """
        with self.transaction() as cursor:
            return passed_period(cursor, version)

    def used_periods(self, model: str, project: str) -> list[Interval]:
        """Test periods that promoted a version, oldest promotion first; they promote no other."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT period_start, period_end FROM fourgate.promotion WHERE model = %s AND project = %s "
                "ORDER BY promoted_at",
                (model, project),
            )
            return [Interval(start, end) for start, end in cursor.fetchall()]


def _upsert_verdict(cursor: extensions.cursor, judgement: Judgement, verdict: Verdict) -> bool:
    """Whether anything but the moment of judging changed."""
    version = judgement.version
    values = {
        "model": version.model,
        "project": version.project,
        "model_version": version.version,
        "sha256": version.sha256,
        "gate": verdict.gate,
        "status": verdict.status.value,
        "checks": to_json(verdict.to_dict()["checks"]),
        "thresholds_version": judgement.thresholds_version,
        "period_start": judgement.period.start,
        "period_end": judgement.period.end,
        "snapshot_id": judgement.snapshot_id,
        "as_of": judgement.as_of,
    }
    compared = ("sha256", "status", "checks", "thresholds_version", "period_start", "period_end", "snapshot_id")
    holders = ", ".join(f"%({name})s" for name in values)
    cursor.execute(
        f"INSERT INTO fourgate.gate_verdict AS stored ({', '.join(values)}) VALUES ({holders}) "
        "ON CONFLICT (model, project, model_version, gate) DO UPDATE SET "
        f"{', '.join(f'{name} = excluded.{name}' for name in (*compared, 'as_of'))}, recorded_at = clock_timestamp() "
        f"WHERE ({', '.join(f'stored.{name}' for name in compared)}) "
        f"IS DISTINCT FROM ({', '.join(f'excluded.{name}' for name in compared)})",
        values,
    )
    return cursor.rowcount > 0


def was_promoted(cursor: extensions.cursor, version: ModelVersion) -> bool:
    """Whether a version ever became champion by its verdicts."""
    cursor.execute(
        "SELECT 1 FROM fourgate.promotion WHERE model = %s AND project = %s AND model_version = %s",
        (version.model, version.project, version.version),
    )
    return cursor.fetchone() is not None


def passed_period(cursor: extensions.cursor, version: ModelVersion) -> Interval:
    """The one test period on which all four gates passed exactly this version.

    Raises:
        WarehouseError: a verdict is missing or not pass, or judged other bytes or another period.
    """
    cursor.execute(
        "SELECT gate, status, sha256, period_start, period_end FROM fourgate.gate_verdict "
        "WHERE model = %s AND project = %s AND model_version = %s",
        (version.model, version.project, version.version),
    )
    judged = {gate: (status, sha256, Interval(start, end)) for gate, status, sha256, start, end in cursor.fetchall()}
    name = f"version {version.version} of {version.model} {version.project}"
    for gate in GATES:
        status, sha256, _ = judged.get(gate, ("missing", version.sha256, None))
        if status != Status.PASS:
            raise WarehouseError(f"{name} is not promoted: gate {gate} is {status}, expected pass")
        if sha256 != version.sha256:
            raise WarehouseError(f"{name} is not promoted: gate {gate} judged other bytes (SHA-256 {sha256[:12]}...)")
    periods = {judged[gate][2] for gate in GATES}
    if len(periods) != 1:
        raise WarehouseError(f"{name} is not promoted: its gates judged {len(periods)} different test periods")
    return periods.pop()
