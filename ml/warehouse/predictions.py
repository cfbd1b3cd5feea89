"""The results table: a set of predictions is published whole, through COPY, and readers see one set or the next."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2 import extensions

from ml.errors import WarehouseError
from ml.schemas import Predictions as Contract
from ml.schemas import columns
from ml.spec import ALL_PROJECTS, ModelVersion
from ml.warehouse import copying
from ml.warehouse.session import Session, lock_for, only, storable, write_audit

_CHUNK_ROWS = 50_000
_GRAIN = ["change_id", "variant", "test_id"]
_FRAME = columns(Contract)
_TYPES = pa.schema([("model", pa.string()), ("project", pa.string()), *copying.SCHEMA])
_STAMPED = ("model_version", "gate_report", "snapshot_id", "publication_id", "is_shared")
_PUBLICATION = ("publication_id", "model_version", "is_shared", "row_count", "as_of")
_PAST = "NOT is_current AND published_at < %s AND rows_removed_at IS NULL"


@dataclass(frozen=True, slots=True)
class Publication:
    """What a set of predictions comes from; `as_of` is the moment of the set, each row has its own as well.

    `served` is the project that the shared model serves; empty where the version is of the project itself.
    """

    version: ModelVersion
    gate_report: str
    snapshot_id: int
    as_of: datetime
    served: str = ""

    @property
    def project(self) -> str:
        """Whose predictions they are."""
        return self.served or self.version.project

    @property
    def is_shared(self) -> bool:
        """Whether the version is one of the shared model."""
        return self.version.project == ALL_PROJECTS


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a set, under `number`: `held` are those of its last frame, encoded, and the others are stored.

    Only all rows tell whether the set is new. Of a set of one frame nothing is written before that is known.
    """

    number: int
    publication_id: str
    count: int
    held: Sequence[pa.BinaryArray]


class PredictionTables(Session):
    """Publishing and reading predictions."""

    def publish(self, publication: Publication, frames: Iterable[pd.DataFrame]) -> str:
        """Make the rows of some frames the current set of its (model, project), in one transaction.

        Memory holds the rows of two frames, so that a set may be larger; readers see nothing of it before all is there.
        The publication's id is a hash of its origin and rows, whatever their order: the same set again changes nothing,
        and a set that was current earlier becomes current again, without a second copy of rows that are still there.
        Publishers of one (model, project) switch one after the other.

        Args:
            publication: origin of the set.
            frames: rows of the `Predictions` contract of one model and project, each change whole in one frame; a frame
                may be empty. What making them raises leaves this method as it is, and the former set current.

        Returns:
            the publication's id.

        Raises:
            WarehouseError: a row belongs elsewhere, a change is in two frames, (change_id, variant, test_id) repeats,
                or PostgreSQL refuses a row (a text with a NUL character, say); the former set stays current.
        """
        with self.long_transaction() as cursor:
            rows = _store(cursor, publication, frames)
            with storable():
                _make_current(cursor, publication, rows)
        return rows.publication_id

    def expire_predictions(self, before: datetime, as_of: datetime, *, dry_run: bool = False) -> dict[str, int]:
        """Remove the rows of sets that were published before a moment and are not current, set by set.

        A set keeps its line in `publication`. A kill leaves whole sets, and the next call ends it.

        Args:
            before: sets published earlier lose their rows.
            as_of: moment noted as that of the removal.
            dry_run: only count.

        Returns:
            sets and rows, removed now or, in a dry run, going.
        """
        with self.transaction() as cursor:
            cursor.execute(
                f"SELECT model, project, publication_number, row_count FROM fourgate.publication WHERE {_PAST} "
                "ORDER BY publication_number",
                (before,),
            )
            going = cursor.fetchall()
        if not dry_run:
            going = [one for one in going if self._remove_rows(one, before, as_of)]
        return {"sets": len(going), "rows": sum(row_count for *_, row_count in going)}

    def _remove_rows(self, one: tuple[str, str, int, int], before: datetime, as_of: datetime) -> bool:
        """False where somebody else removed them, or made the set current, meanwhile."""
        model, project, number, _ = one
        with self.transaction() as cursor:
            lock_for(cursor, f"publish {model} {project}")
            cursor.execute(
                f"UPDATE fourgate.publication SET rows_removed_at = %s WHERE publication_number = %s AND {_PAST}",
                (as_of, number, before),
            )
            if cursor.rowcount == 0:
                return False
            cursor.execute("DELETE FROM fourgate.prediction_row WHERE publication_number = %s", (number,))
        return True

    def current_predictions(self, model: str, project: str, limit: int = 20) -> pd.DataFrame:
        """Rows of the current set, best rank first within each change; `reasons` as a list of mappings."""
        names = [*_FRAME, *_STAMPED, "published_at"]
        with self.transaction() as cursor:
            cursor.execute(
                f"SELECT {', '.join(names)} FROM fourgate.current_prediction WHERE model = %s AND project = %s "
                "ORDER BY change_id, rank, variant, test_id LIMIT %s",
                (model, project, limit),
            )
            return pd.DataFrame(cursor.fetchall(), columns=names)

    def likeliest_failures(self, model: str, project: str, limit: int = 10) -> pd.DataFrame:
        """Rows of the current set with the highest probability of failing, over all changes."""
        names = [*_FRAME, *_STAMPED]
        with self.transaction() as cursor:
            cursor.execute(
                f"SELECT {', '.join(names)} FROM fourgate.current_prediction WHERE model = %s AND project = %s "
                "ORDER BY probability DESC, change_id, rank LIMIT %s",
                (model, project, limit),
            )
            return pd.DataFrame(cursor.fetchall(), columns=names)

    def current_publication(self, model: str, project: str) -> dict[str, Any]:
        """The current set: publication_id, model_version, is_shared, row_count, as_of; empty before the first."""
        with self.transaction() as cursor:
            cursor.execute(
                f"SELECT {', '.join(_PUBLICATION)} FROM fourgate.publication "
                "WHERE model = %s AND project = %s AND is_current",
                (model, project),
            )
            row = cursor.fetchone()
            return {} if row is None else dict(zip(_PUBLICATION, row, strict=True))

    def published(self, version: ModelVersion, project: str) -> pd.DataFrame:
        """What a version ever published for a project: the newest row of each (change_id, variant, test_id)."""
        names = [name for name in _FRAME if name != "reasons"]
        with self.transaction() as cursor:
            cursor.execute(
                f"SELECT DISTINCT ON (change_id, variant, test_id) {', '.join(f'prediction.{name}' for name in names)} "
                "FROM fourgate.prediction JOIN fourgate.publication USING (publication_id) "
                "WHERE prediction.model = %s AND prediction.project = %s AND prediction.model_version = %s "
                "AND prediction.is_shared = %s ORDER BY change_id, variant, test_id, published_at DESC",
                (version.model, project, version.version, version.project == ALL_PROJECTS),
            )
            return pd.DataFrame(cursor.fetchall(), columns=names)


def _checked(publication: Publication, frame: pd.DataFrame) -> pa.Table:
    """What differs between the rows of a set, in the order of the grain."""
    missing = [name for name in _FRAME if name not in frame]
    if missing:
        raise WarehouseError(f"predictions lack column {missing[0]}; expected {', '.join(_FRAME)}")
    try:
        table = pa.Table.from_pandas(frame, _TYPES, preserve_index=False)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise WarehouseError(f"predictions cannot be stored: {error}") from error
    for name in _FRAME:
        if name not in copying.OR_NULL and table[name].null_count:
            raise WarehouseError(f"predictions: {table[name].null_count} nulls in {name}; every column needs a value")
    for name, wanted in (("model", publication.version.model), ("project", publication.project)):
        others = [value for value in table[name].unique().to_pylist() if value != wanted]
        if others:
            raise WarehouseError(f"predictions of {name} {others[0]!r} in a publication of {wanted!r}")
    stored = table.select(copying.SCHEMA.names).sort_by([(name, "ascending") for name in _GRAIN])
    _refuse_repeats(stored)
    return stored


def _refuse_repeats(table: pa.Table) -> None:
    if table.num_rows < 2:
        return
    before, after = table.slice(0, table.num_rows - 1), table.slice(1)
    same: Any = pc.equal(before["test_id"], after["test_id"])
    for name in _GRAIN[:-1]:
        same = pc.and_(same, pc.equal(before[name], after[name]))
    repeats = pc.sum(same).as_py()
    if repeats:
        raise WarehouseError(f"predictions repeat {repeats} (change_id, variant, test_id); each may appear once")


def _draw_number(cursor: extensions.cursor) -> int:
    """A number for rows that are stored before their publication is."""
    # Whoever makes the rows takes their time, and a server may end sessions that are silent within a transaction.
    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    cursor.execute("SELECT nextval(pg_get_serial_sequence('fourgate.publication', 'publication_number'))")
    return int(only(cursor)[0])


def _store(cursor: extensions.cursor, publication: Publication, frames: Iterable[pd.DataFrame]) -> _Rows:
    """Store frame after frame, but for the last."""
    number, count = _draw_number(cursor), 0
    digests: dict[str, Any] = {}  # by change: rows in order of the grain, so that neither frames nor their order matter
    held: list[pa.BinaryArray] = []
    for frame in frames:
        copying.copy(cursor, number, held)
        held = _encoded(publication, frame, digests)
        count += len(frame)
    return _Rows(number, _identity(publication, digests), count, held)


def _encoded(publication: Publication, frame: pd.DataFrame, digests: dict[str, Any]) -> list[pa.BinaryArray]:
    """The rows as they are stored, in chunks; `digests` of their changes are added."""
    table = _checked(publication, frame)
    _refuse_parted(table, digests)
    chunks = []
    for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
        rows, changes = copying.encode(batch), pc.run_end_encode(batch["change_id"])
        parts = copying.parts(rows, changes.run_ends.to_pylist())
        for change_id, part in zip(changes.values.to_pylist(), parts, strict=True):
            digests.setdefault(change_id, hashlib.sha256()).update(part)
        chunks.append(rows)
    return chunks


def _refuse_parted(table: pa.Table, stored: Mapping[str, Any]) -> None:
    again = stored.keys() & table["change_id"].unique().to_pylist()
    if again:
        raise WarehouseError(f"predictions of change {min(again)!r} come in two frames; a change is published whole")


def _identity(publication: Publication, digests: Mapping[str, Any]) -> str:
    version = publication.version
    digest = hashlib.sha256()
    origin = (version.model, publication.project, version.version, version.sha256, str(publication.snapshot_id))
    for part in (*origin, publication.gate_report, publication.as_of.isoformat()):
        digest.update(part.encode() + b"\x00")
    for _, rows in sorted(digests.items()):
        digest.update(rows.digest())
    return digest.hexdigest()


def _make_current(cursor: extensions.cursor, publication: Publication, rows: _Rows) -> None:
    """Switch to the set of these rows, or to the same rows where they were stored before."""
    version, project, number = publication.version, publication.project, rows.number
    subject = f"{version.model} {project}"
    lock_for(cursor, f"publish {subject}")
    cursor.execute(
        "SELECT is_current, publication_number, rows_removed_at FROM fourgate.publication WHERE publication_id = %s",
        (rows.publication_id,),
    )
    known = cursor.fetchone()
    if known is not None and known[2] is None:
        cursor.execute("DELETE FROM fourgate.prediction_row WHERE publication_number = %s", (number,))
        if known[0]:
            return
        number = int(known[1])
    else:
        copying.copy(cursor, number, rows.held)
    cursor.execute(
        "UPDATE fourgate.publication SET is_current = false WHERE model = %s AND project = %s AND is_current",
        (version.model, project),
    )
    if known is None:
        _insert_publication(cursor, publication, rows)
    else:
        cursor.execute(
            "UPDATE fourgate.publication SET is_current = true, published_at = clock_timestamp(), "
            "rows_removed_at = NULL, publication_number = %s WHERE publication_id = %s",
            (number, rows.publication_id),
        )
    detail = {"publication_id": rows.publication_id, "rows": rows.count, "version": version.version}
    write_audit(cursor, "publish", "publish", subject, detail | {"is_shared": publication.is_shared})


def _insert_publication(cursor: extensions.cursor, publication: Publication, rows: _Rows) -> None:
    version = publication.version
    cursor.execute(
        "INSERT INTO fourgate.publication (publication_number, publication_id, model, project, model_version, "
        "gate_report, snapshot_id, as_of, row_count, is_shared, is_current) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, true)",
        (
            rows.number,
            rows.publication_id,
            version.model,
            publication.project,
            version.version,
            publication.gate_report,
            publication.snapshot_id,
            publication.as_of,
            rows.count,
            publication.is_shared,
        ),
    )
