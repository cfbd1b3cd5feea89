"""The only folder that knows the query engines.

Features are written once, as plain SQL text over views and temporary tables (see `docs/adr/0003-feature-engine.md`).
What differs between engines is here: opening files, naming types, the as-of join, and for Spark the dialect.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import pandas as pd
import pyarrow as pa

from ml.errors import SettingsError


class Engine(Protocol):
    """A session of a query engine; names live until it is closed. Made by `open_engine`."""

    def alongside(self) -> "Engine":
        """The same tables and views for a second thread, which may run statements while the first one does."""

    def lend_thread(self) -> None:
        """Leave one of the engine's threads, if it has several, to a second one of the caller."""

    def register_files(self, name: str, files: Sequence[str], schema: pa.Schema) -> None:
        """Make the Parquet files of a table readable as the view `name`.

        Args:
            name: View to create or replace.
            files: Addresses as `DeltaTable.file_uris()` gives them: still URL-encoded, partition values
                (``project=apache%252Fozone/day=2019-07-08``) in the path. No files make an empty view.
            schema: Every column of the table with its type. A column that an older file lacks reads as null.

        Raises:
            LakeError: a file is not there, or the schema has a type that the engine does not read. A file that is torn,
                or does not fit the schema, is one when rows are asked for.
        """

    def register_frame(self, name: str, table: pa.Table) -> None:
        """Copy an Arrow table into the temporary table `name` (created or replaced)."""

    def store(self, name: str, select: str) -> None:
        """Compute `select` into the temporary table `name` (created or replaced)."""

    def fetch(self, sql: str) -> pd.DataFrame:
        """Result of `sql`; numbers as NumPy types (null integers turn the column into float64, null = NaN)."""

    def coded(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Columns of the table or view `name`, which are none of the partition; texts as Arrow dictionaries."""

    def latest_before(self, facts: str, queries: str, keys: Sequence[str]) -> str:
        """FROM clause that pairs each query ``q`` with the latest fact ``f`` known strictly before it.

        Args:
            facts: Table with `keys` and ``known_us``, at most one row per (keys, known_us).
            queries: Table with `keys` and ``at_us``.
            keys: Columns that must be equal.

        Returns:
            Text for FROM; columns of ``f`` are null where nothing was known.
        """


@contextmanager
def open_engine(
    kind: str, threads: int, memory_gb: float | None = None, spill_folder: str | None = None
) -> Iterator[Engine]:
    """Open an engine, in UTC.

    Args:
        kind: ``duckdb``, in this process; or ``spark``, with a local master.
        threads: Worker threads, at least 1. Results do not depend on it.
        memory_gb: Limit in GB (10^9 bytes); DuckDB takes 80 % of the machine at most, and that with None, where Spark
            takes its own default.
        spill_folder: Where larger-than-memory work goes; None takes the engine's default.

    Raises:
        SettingsError: the engine is unknown, or not installed.
    """
    if kind == "duckdb":
        from ml.engine.in_process import open_duckdb  # noqa: PLC0415 - only the engine that is asked for is loaded

        with open_duckdb(threads, memory_gb, spill_folder) as engine:
            yield engine
    elif kind == "spark":
        try:
            from ml.engine.spark import open_spark  # noqa: PLC0415 - an optional dependency
        except ImportError as error:
            raise SettingsError(
                "FOURGATE_ENGINE is spark, which is not installed: uv sync --group spark, or duckdb"
            ) from error
        with open_spark(threads, memory_gb, spill_folder) as spark:
            yield spark
    else:
        raise SettingsError(f"FOURGATE_ENGINE: {kind!r} is not an engine; duckdb and spark are")
