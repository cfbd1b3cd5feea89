"""The collection ledger: which batches are in the lake, and which Delta versions form each snapshot."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import psycopg2
from psycopg2 import errors, extensions

from ml.errors import WarehouseError
from ml.spec import ALL_PROJECTS, Interval, Snapshot
from ml.warehouse.session import Session, only, to_json, write_audit

_LAKE_LOCK = 0x6C616B65
_SNAPSHOT = "SELECT snapshot_id, versions, data_until FROM fourgate.collection_batch"


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What the ledger keeps of one batch; counts are per lake table.

    `data_until` is the latest `known_at` of the batch's own new runs, None without any. `interval` is the span of
    time that the batch was collected for. `kind` tells a batch of history from maintenance of the lake, and from
    retention, which counts the rows that it took away below zero. `origin` is the address or folder that was asked,
    `payloads` (path, sha256) are what landed, `outages` are ids of runs.
    """

    batch_id: str
    source: str
    project: str
    kind: str
    payload_count: int
    row_counts: Mapping[str, int]
    duplicates: Mapping[str, int]
    rejected: int
    quality_score: float | None
    versions: Mapping[str, int]
    data_until: datetime | None
    interval: Interval
    seconds: float
    as_of: datetime
    origin: str = ""
    payloads: Sequence[Mapping[str, str]] = ()
    outages: Sequence[str] = ()


class Ledger(Session):
    """Batches and snapshots. Writing needs the lake lock, reading does not."""

    @contextmanager
    def lake_lock(self, timeout_s: float = 60.0) -> Iterator[None]:
        """Be the only writer of the lake.

        The lock belongs to this connection and ends with it, also when the process is killed. It needs a session of
        its own: no pooler that shares connections between statements.

        Raises:
            WarehouseError: another writer holds it for longer than `timeout_s` seconds.
        """
        self._lock_lake(timeout_s)
        try:
            yield
        finally:
            self._unlock_lake()

    def _lock_lake(self, timeout_s: float) -> None:
        try:
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 0")
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{max(1, round(timeout_s * 1000))}ms",))
                cursor.execute("SELECT pg_advisory_lock(%s)", (_LAKE_LOCK,))
        except errors.LockNotAvailable as error:
            raise WarehouseError(
                f"another process has been writing the lake for more than {timeout_s:g} s; try again when it is done"
            ) from error
        except psycopg2.Error as error:
            raise self._refused(error) from error

    def _unlock_lake(self) -> None:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", (_LAKE_LOCK,))
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            # The connection is gone and the lock with it; the block's own error says why.
            self._connection.close()

    def next_sequence(self) -> int:
        """A number above every earlier one; gaps are normal."""
        with self.transaction() as cursor:
            cursor.execute("SELECT nextval('fourgate.lake_sequence')")
            return int(only(cursor)[0])

    def head(self) -> Snapshot | None:
        """The latest snapshot; None while nothing was collected."""
        with self.transaction() as cursor:
            return _head(cursor)

    def history_head(self) -> Snapshot | None:
        """The latest snapshot with facts of its own: labels are drawn from facts and add none."""
        with self.transaction() as cursor:
            cursor.execute(f"{_SNAPSHOT} WHERE kind <> 'labels' ORDER BY snapshot_id DESC LIMIT 1")
            return _as_snapshot(cursor.fetchone())

    def snapshot(self, snapshot_id: int) -> Snapshot:
        """A snapshot by its number.

        Raises:
            WarehouseError: there is no such snapshot.
        """
        with self.transaction() as cursor:
            cursor.execute(f"{_SNAPSHOT} WHERE snapshot_id = %s", (snapshot_id,))
            found = _as_snapshot(cursor.fetchone())
        if found is None:
            raise WarehouseError(f"snapshot {snapshot_id} is not in the ledger")
        return found

    def find_batch(self, batch_id: str) -> Snapshot | None:
        """The snapshot that a batch made; None unless the batch is in the lake."""
        with self.transaction() as cursor:
            cursor.execute(f"{_SNAPSHOT} WHERE batch_id = %s", (batch_id,))
            return _as_snapshot(cursor.fetchone())

    def record_batch(self, batch: BatchRecord, sequence: int) -> Snapshot:
        """Commit a batch: from this row on, its Delta versions are the head snapshot.

        Args:
            batch: what was written.
            sequence: the number that the lake was written with; becomes the snapshot's id.

        Raises:
            WarehouseError: this connection does not hold the lake lock, a later snapshot exists, or the batch is
                already in the ledger.
        """
        with self.transaction() as cursor:
            _require_lake_lock(cursor)
            head = _head(cursor)
            if head is not None and head.snapshot_id >= sequence:
                raise WarehouseError(f"snapshot {head.snapshot_id} was recorded after sequence {sequence} was drawn")
            untils = (batch.data_until, None if head is None else head.data_until)
            known = [moment for moment in untils if moment is not None]
            snapshot = Snapshot(sequence, dict(batch.versions), max(known, default=None))
            _insert_batch(cursor, batch, snapshot)
            write_audit(
                cursor, batch.source, "collect", batch.batch_id, {"snapshot": sequence, "project": batch.project}
            )
        return snapshot

    def watermark(self, source: str, project: str) -> datetime | None:
        """Latest `known_at` that a source has delivered for a project: where the next collection starts."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT max(batch_until) FROM fourgate.collection_batch WHERE source = %s AND project = %s",
                (source, project),
            )
            moment: datetime | None = only(cursor)[0]
            return moment

    def arrivals(self, source: str) -> dict[str, datetime]:
        """When each project of a source had its last batch put into the lake."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT project, max(recorded_at) FROM fourgate.collection_batch WHERE source = %s GROUP BY project "
                "ORDER BY project",
                (source,),
            )
            return {str(project): arrived for project, arrived in cursor.fetchall()}

    def batches(self, project: str, snapshot_id: int) -> pd.DataFrame:
        """Ledger rows of a project, or of `ALL_PROJECTS`, up to a snapshot, oldest first."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT batch_id, snapshot_id, source, kind, payload_count, row_counts, duplicates, rejected, "
                "quality_score, batch_until, data_until, interval_start, interval_end, seconds, as_of "
                "FROM fourgate.collection_batch WHERE %s IN (project, %s) AND snapshot_id <= %s ORDER BY snapshot_id",
                (project, ALL_PROJECTS, snapshot_id),
            )
            return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])

    def batches_before(self, project: str, moment: datetime) -> set[str]:
        """Batches of a project whose latest run, or without one whose collection, was before a moment."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT batch_id FROM fourgate.collection_batch "
                "WHERE project = %s AND coalesce(batch_until, as_of) < %s",
                (project, moment),
            )
            return {batch_id for (batch_id,) in cursor.fetchall()}

    def projects_of_batches(self) -> dict[str, str]:
        """The project of every batch that is in the lake, by batch id."""
        with self.transaction() as cursor:
            cursor.execute("SELECT batch_id, project FROM fourgate.collection_batch WHERE kind = 'history'")
            return dict(cursor.fetchall())

    def live_versions(self) -> list[dict[str, int]]:
        """Versions that the lake must keep: the head, and those of champions, their predecessors and predictions."""
        with self.transaction() as cursor:
            cursor.execute(
                """
                WITH named AS (
                    SELECT model, project, version FROM fourgate.champion
                    UNION SELECT model, project, previous ->> 'version' FROM fourgate.champion
                    UNION SELECT model, project, anchor ->> 'version' FROM fourgate.champion
                )
                SELECT versions FROM fourgate.collection_batch WHERE snapshot_id IN (
                    SELECT snapshot_id FROM fourgate.gate_verdict verdict JOIN named ON verdict.model = named.model
                        AND verdict.project = named.project AND verdict.model_version = named.version
                    UNION SELECT snapshot_id FROM fourgate.publication WHERE is_current
                    UNION SELECT max(snapshot_id) FROM fourgate.collection_batch
                ) ORDER BY snapshot_id
                """
            )
            return [dict(versions) for (versions,) in cursor.fetchall()]


def _insert_batch(cursor: extensions.cursor, batch: BatchRecord, snapshot: Snapshot) -> None:
    values = {
        "batch_id": batch.batch_id,
        "snapshot_id": snapshot.snapshot_id,
        "source": batch.source,
        "project": batch.project,
        "kind": batch.kind,
        "payload_count": batch.payload_count,
        "row_counts": to_json(batch.row_counts),
        "duplicates": to_json(batch.duplicates),
        "rejected": batch.rejected,
        "quality_score": batch.quality_score,
        "versions": to_json(batch.versions),
        "batch_until": batch.data_until,
        "data_until": snapshot.data_until,
        "interval_start": batch.interval.start,
        "interval_end": batch.interval.end,
        "seconds": batch.seconds,
        "as_of": batch.as_of,
        "origin": batch.origin,
        "payloads": to_json(list(batch.payloads)),
        "outages": to_json(list(batch.outages)),
    }
    holders = ", ".join(f"%({name})s" for name in values)
    cursor.execute(f"INSERT INTO fourgate.collection_batch ({', '.join(values)}) VALUES ({holders})", values)


def _require_lake_lock(cursor: extensions.cursor) -> None:
    cursor.execute(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted "
        "AND objid = %s::bigint::oid AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (_LAKE_LOCK,),
    )
    if cursor.fetchone() is None:
        raise WarehouseError("a batch is recorded without the lake lock: use it inside `with warehouse.lake_lock():`")


def _head(cursor: extensions.cursor) -> Snapshot | None:
    cursor.execute(f"{_SNAPSHOT} ORDER BY snapshot_id DESC LIMIT 1")
    return _as_snapshot(cursor.fetchone())


def _as_snapshot(row: tuple[Any, ...] | None) -> Snapshot | None:
    return None if row is None else Snapshot(int(row[0]), dict(row[1]), row[2])
