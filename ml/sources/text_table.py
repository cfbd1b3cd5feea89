"""Writes columns of text as one Parquet table of a history, slice by slice: what comes in no Parquet goes on as such.

Values are cast when the landed table is read, as those of any Parquet table are (`ml.sources.casting`).
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


class TextTable:
    """A Parquet file with the named columns, all of text; use it as a block. `rows` is the number of its rows."""

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.rows = 0
        self._schema = pa.schema([(name, pa.string()) for name in columns])
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()

    def add(self, columns: Sequence[Sequence[str | None]]) -> None:
        """A slice of rows, as one sequence of values for each column; an empty text is null."""
        arrays = [as_array(values) for values in columns]
        nulled = [pc.if_else(pc.equal(values, ""), None, values) for values in arrays]
        self._writer.write_table(pa.Table.from_arrays(nulled, schema=self._schema))
        self.rows += len(arrays[0])

    def add_rows(self, rows: Sequence[Sequence[str | None]]) -> None:
        """A slice of rows, each with a value for each column."""
        if rows:
            self.add(list(zip(*rows, strict=True)))


def as_array(values: Sequence[str | None]) -> pa.Array:
    """The values as an array of text."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        # Half a surrogate pair: its row is refused where it is cast, as any other that is no UTF-8.
        encoded = [None if value is None else value.encode("utf-8", "surrogatepass") for value in values]
        return pa.array(encoded, pa.binary()).view(pa.string())
