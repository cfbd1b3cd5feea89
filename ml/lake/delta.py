"""The calls to Delta that reading and writing share."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import DeltaError

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


def stamp(sequence: int) -> CommitProperties:
    """Mark of a writer: two commits with it conflict, and a table remembers the last sequence."""
    # No retries: a commit that meets another one was built on rows that are no longer current.
    return CommitProperties(app_transactions=[Transaction(APP_ID, sequence)], max_commit_retries=0)


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
    except (DeltaError, OSError, ValueError) as error:
        raise LakeError(f"table {address}: {error}") from error
