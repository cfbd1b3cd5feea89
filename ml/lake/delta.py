"""The calls to Delta that reading and writing share."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from ml.errors import LakeError

APP_ID = "fourgate"


def schema_of(delta: DeltaTable) -> pa.Schema:
    """Columns and types of the loaded version, partition columns too."""
    return pa.schema(delta.schema().to_arrow())


def scan(delta: DeltaTable, columns: list[str] | None = None, where: str | None = None) -> pa.Table:
    """Rows of the loaded version that meet a SQL predicate; the order is not defined."""
    schema = schema_of(delta)
    names = schema.names if columns is None else columns
    with explained(delta.table_uri):
        found = pa.table(delta.scan(columns=names, predicate=where))
    # The scan answers with string views, which Arrow can neither join nor group.
    return found.select(names).cast(pa.schema([schema.field(name) for name in names]))


def merge(delta: DeltaTable, rows: pa.Table, keys: Sequence[str], sequence: int) -> None:
    """Replace stored rows by those with the same values of `keys` and add the others, in one commit.

    Columns that a table does not have yet are added; a column that `rows` lacks becomes null in them. Only files of
    the rows' partitions are read.
    """
    schema = schema_of(delta)
    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    with explained(delta.table_uri):
        merger = delta.merge(
            rows,
            " AND ".join(f"stored.{key} = delivered.{key}" for key in keys),
            source_alias="delivered",
            target_alias="stored",
            merge_schema=len(rows.column_names) > len(schema.names),
            # Not streamed: Delta then knows the rows' partitions before it opens a file.
            streamed_exec=False,
            commit_properties=stamp(sequence),
        )
        merger.when_matched_update_all(except_cols=list(keys)).when_not_matched_insert_all().execute()


def stamp(sequence: int) -> CommitProperties:
    """Mark of a writer: two commits with it conflict, and a table remembers the last sequence."""
    # No retries: a commit that meets another one was built on rows that are no longer current.
    return CommitProperties(app_transactions=[Transaction(APP_ID, sequence)], max_commit_retries=0)


def existing(delta: DeltaTable, paths: Sequence[str]) -> int:
    """How many of these paths, relative to the table, are files in its storage."""
    if not paths:
        return 0
    found = DeltaStorageHandler(delta.table_uri).get_file_info(list(paths))
    return sum(info.is_file for info in found)


def literals(values: Iterable[str]) -> str:
    """A list of texts in SQL."""
    return ", ".join(literal(value) for value in sorted(values))


def literal(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Errors of Delta and of the storage as `LakeError` with the table's address."""
    try:
        yield
    except TableNotFoundError as error:
        raise LakeError(
            f"there is no table {address}, though the ledger names it: put the lake back where it was, or name where "
            "it is (FOURGATE_LAKE_URI)"
        ) from error
    except (DeltaError, OSError, ValueError) as error:
        advice = "; make room there and repeat: what was half written does not count" if _is_full(error) else ""
        raise LakeError(f"table {address}: {error}{advice}") from error


def _is_full(error: Exception) -> bool:
    """Whether the disk has no room; Delta's own errors say it in words only."""
    return "os error 28" in str(error) or "No space left" in str(error)
