"""The results table: a set of predictions is published whole, through COPY, and readers see one set or the next."""

import hashlib
import io
from collections.abc import Sequence
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
from ml.warehouse.session import Session, lock_for, write_audit

_GRAIN = ["change_id", "variant", "test_id"]
_FRAME = columns(Contract)
_STAMPED = ("model_version", "gate_report", "snapshot_id", "publication_id", "is_shared")
_CHUNK_ROWS = 50_000

_PUBLICATION = ("publication_id", "model_version", "is_shared", "row_count", "as_of")


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


class PredictionTables(Session):
    """Publishing and reading predictions."""

    def publish(self, publication: Publication, frame: pd.DataFrame) -> str:
        """Make a frame the current set of its (model, project), in one transaction.

        The publication's id is a hash of its origin and rows: the same set again changes nothing, and a set that was
        current earlier becomes current again without a second copy. Publishers of one (model, project) wait for
        each other.

        Args:
            publication: origin of the set.
            frame: rows of the `Predictions` contract of one model and project; may be empty.

        Returns:
            the publication's id.

        Raises:
            WarehouseError: a row belongs elsewhere, (change_id, variant, test_id) repeats, a text holds a NUL
                character, or PostgreSQL refuses a row; the former set stays current.
        """
        version, project = publication.version, publication.project
        lines = _lines(_checked(publication, frame))
        publication_id = _identity(publication, lines)
        subject = f"{version.model} {project}"
        with self.transaction() as cursor:
            lock_for(cursor, f"publish {subject}")
            cursor.execute("SELECT is_current FROM fourgate.publication WHERE publication_id = %s", (publication_id,))
            known = cursor.fetchone()
            if known is not None and known[0]:
                return publication_id
            cursor.execute(
                "UPDATE fourgate.publication SET is_current = false WHERE model = %s AND project = %s AND is_current",
                (version.model, project),
            )
            if known is None:
                _insert_publication(cursor, publication, publication_id, len(lines))
                _copy(cursor, publication, publication_id, lines)
            else:
                cursor.execute(
                    "UPDATE fourgate.publication SET is_current = true, published_at = clock_timestamp() "
                    "WHERE publication_id = %s",
                    (publication_id,),
                )
            detail = {"publication_id": publication_id, "rows": len(lines), "version": version.version}
            detail |= {"is_shared": publication.is_shared}
            write_audit(cursor, "publish", "publish", subject, detail)
        return publication_id

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
    """The frame in the order of its grain, as Arrow text and numbers."""
    missing = [name for name in _FRAME if name not in frame]
    if missing:
        raise WarehouseError(f"predictions lack column {missing[0]}; expected {', '.join(_FRAME)}")
    try:
        table = pa.Table.from_pandas(frame[_FRAME], preserve_index=False).sort_by(
            [(name, "ascending") for name in _GRAIN]
        )
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise WarehouseError(f"predictions cannot be stored: {error}") from error
    for name in _FRAME:
        if table[name].null_count:
            raise WarehouseError(f"predictions: {table[name].null_count} nulls in {name}; every column needs a value")
    for name, wanted in (("model", publication.version.model), ("project", publication.project)):
        others = [value for value in table[name].unique().to_pylist() if value != wanted]
        if others:
            raise WarehouseError(f"predictions of {name} {others[0]!r} in a publication of {wanted!r}")
    _refuse_repeats(table)
    return table


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


def _identity(publication: Publication, lines: Sequence[str]) -> str:
    version = publication.version
    digest = hashlib.sha256()
    origin = (version.model, publication.project, version.version, version.sha256, str(publication.snapshot_id))
    for part in (*origin, publication.gate_report, publication.as_of.isoformat()):
        digest.update(part.encode() + b"\x00")
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _insert_publication(
    cursor: extensions.cursor, publication: Publication, publication_id: str, row_count: int
) -> None:
    version = publication.version
    cursor.execute(
        "INSERT INTO fourgate.publication (publication_id, model, project, model_version, gate_report, snapshot_id, "
        "as_of, row_count, is_shared, is_current) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, true)",
        (
            publication_id,
            version.model,
            publication.project,
            version.version,
            publication.gate_report,
            publication.snapshot_id,
            publication.as_of,
            row_count,
            publication.is_shared,
        ),
    )


def _copy(cursor: extensions.cursor, publication: Publication, publication_id: str, lines: Sequence[str]) -> None:
    constants = [publication.version.version, publication.gate_report, str(publication.snapshot_id), publication_id]
    constants.append(str(publication.is_shared))
    tail = "".join("\t" + _escaped(pa.array([value]), "origin")[0].as_py() for value in constants) + "\n"
    command = f"COPY fourgate.prediction ({', '.join((*_FRAME, *_STAMPED))}) FROM STDIN"
    for start in range(0, len(lines), _CHUNK_ROWS):
        text = tail.join(lines[start : start + _CHUNK_ROWS]) + tail
        cursor.copy_expert(command, io.StringIO(text), size=1 << 20)


def _lines(table: pa.Table) -> list[str]:
    r"""Rows in COPY's text format, which needs only backslash, tab and line ends escaped.

    (In its CSV format a quoted line ``\.`` ends the data on servers before PostgreSQL 18.)
    """
    cells = [_escaped(table[name], name) for name in _FRAME]
    lines: list[str] = pc.binary_join_element_wise(*cells, "\t").to_pylist()
    return lines


def _escaped(values: Any, name: str) -> Any:
    text = pc.cast(values, pa.string())
    if pc.any(pc.match_substring(text, "\x00")).as_py():
        raise WarehouseError(f"predictions: a NUL character in {name}, which PostgreSQL cannot store")
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        return text
    for character, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = pc.replace_substring(text, character, escape)
    return text
