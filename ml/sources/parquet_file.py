"""One Parquet file of a history, written by a stranger: checked when opened, read in slices."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.errors import SourceError, UnreadableHistory
from ml.sources.casting import Cast, Kind, cast

SLICE_ROWS = 131_072


class ParquetFile:
    """Rows of one table.

    Raises:
        SourceError: the file is no Parquet, lacks a required column, or a column's type can hold no such values.
    """

    def __init__(self, path: Path, columns: Mapping[str, Kind], required: tuple[str, ...]) -> None:
        self.path = path
        self.kinds = columns
        with self._reading():
            found = pq.read_schema(path)
            self._rows = pq.read_metadata(path)
        for name in required:
            if found.names.count(name) != 1:
                raise UnreadableHistory(
                    f"{path} needs one column {name!r}; found: {', '.join(found.names)[:500] or 'none'} "
                    "(layout: docs/history-layout.md)"
                )
        self.present = [name for name in columns if found.names.count(name) == 1]
        self._texts = [name for name in self.present if _is_text(found.field(name).type)]
        for name in self.present:
            self.cast(name, pa.chunked_array([], found.field(name).type))

    def cast(self, name: str, values: pa.ChunkedArray) -> Cast:
        """A column of this file as its contract wants it.

        Raises:
            UnreadableHistory: its type can hold no such values.
        """
        with self._reading():
            result = cast(values, self.kinds[name])
        if result is None:
            raise UnreadableHistory(
                f"column {name!r} of {self.path} is {values.type}; expected {self.kinds[name].value} "
                "(layout: docs/history-layout.md)"
            )
        return result

    def slices(self, columns: list[str], groups: list[int] | None = None) -> Iterator[pa.RecordBatch]:
        """The named columns, slice by slice, text encoded as dictionaries; all row groups or those given."""
        names = [name for name in columns if name in self.present]
        with self._reading(), pq.ParquetFile(self.path, read_dictionary=self._texts) as file:
            yield from file.iter_batches(SLICE_ROWS, row_groups=groups, columns=names)

    def read(self) -> pa.Table:
        """All rows of the columns that the contract knows."""
        with self._reading():
            return pq.read_table(self.path, columns=self.present, read_dictionary=self._texts)

    def take(self, rows: np.ndarray[Any, Any]) -> pa.Table:
        """The rows at these positions, ascending, with the columns that the contract knows; text plain."""
        taken: list[pa.RecordBatch] = []
        first = 0
        for group in range(self._rows.num_row_groups):
            last = first + self._rows.row_group(group).num_rows
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)] - first
            if len(wanted):
                taken += self._take_from(group, wanted)
            first = last
        return pa.Table.from_batches(taken) if taken else self._empty()

    def _take_from(self, group: int, wanted: np.ndarray[Any, Any]) -> Iterator[pa.RecordBatch]:
        first = 0
        for piece in self.slices(self.present, [group]):
            last = first + piece.num_rows
            inside = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, last)] - first
            if len(inside):
                yield _plain(piece.take(pa.array(inside)))
            first = last

    def _empty(self) -> pa.Table:
        with self._reading():
            return pq.read_schema(self.path).empty_table().select(self.present)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"cannot read {self.path}: {error}; expected a Parquet file") from error


def _plain(piece: pa.RecordBatch) -> pa.RecordBatch:
    # Dictionaries of different slices do not fit together; Parquet encodes anew when it is written.
    values = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in piece.columns
    ]
    return pa.RecordBatch.from_arrays(values, names=piece.schema.names)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
