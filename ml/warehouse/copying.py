"""Rows of predictions in the binary format of COPY: a server spends less on it than on text, and so does the sender.

PostgreSQL, COPY, "Binary Format": a row is its number of fields and each field with its size before it; numbers are
big-endian, moments are microseconds since 2000. Nothing is escaped, and the server checks every text.
"""

import io
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from psycopg2 import extensions

_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END = struct.pack(">h", -1)
_EPOCH_US = 946_684_800_000_000
_JSONB_VERSION = b"\x01"

_NUMBERS = {"rank": ">i4", "score": ">f8", "probability": ">f8", "as_of": ">i8"}
OR_NULL = {"expected_duration_s": ">f8", "rank_by_cost": ">i4"}
_NULL = struct.pack(">i", -1)
_TEXTS = ("change_id", "variant", "test_id", "decision")
_JSON = "reasons"
SCHEMA = pa.schema(
    {
        "rank": pa.int32(),
        "score": pa.float64(),
        "probability": pa.float64(),
        "as_of": pa.timestamp("us", "UTC"),
        "expected_duration_s": pa.float64(),
        "rank_by_cost": pa.int32(),
        **dict.fromkeys((*_TEXTS, _JSON), pa.string()),
    }
)


def encode(batch: pa.RecordBatch) -> pa.BinaryArray:
    """Rows of `SCHEMA` as they are stored, each without its beginning; nulls are in columns of `OR_NULL` only."""
    numbers = {name: np.asarray(batch[name]) for name in _NUMBERS}
    numbers["as_of"] = np.asarray(batch["as_of"].cast(pa.int64())) - _EPOCH_US
    cells = [_fixed(_sized(numbers, _NUMBERS))]
    for name, kind in OR_NULL.items():
        value = _fixed(_sized({name: np.asarray(batch[name].fill_null(0))}, {name: kind}))
        cells.append(pc.if_else(batch[name].is_valid(), value, pa.scalar(_NULL, pa.binary())))
    for name in (*_TEXTS, _JSON):
        value = batch[name].cast(pa.binary())
        if name == _JSON:
            value = _beside([pa.scalar(_JSONB_VERSION, pa.binary()), value])
        cells += [_fixed(np.asarray(pc.binary_length(value)).astype(">i4")), value]
    return _beside(cells)


def copy(cursor: extensions.cursor, publication_number: int, chunks: Iterable[pa.BinaryArray]) -> None:
    """Store encoded rows as those of a publication."""
    names = ["publication_number", *_NUMBERS, *OR_NULL, *_TEXTS, _JSON]
    command = f"COPY fourgate.prediction_row ({', '.join(names)}) FROM STDIN (FORMAT binary)"
    begin = struct.pack(">hii", len(names), 4, publication_number)
    for rows in chunks:
        data = io.BytesIO()
        data.writelines((_SIGNATURE, begin, _joined(rows, begin), _END))
        data.seek(0)
        cursor.copy_expert(command, data, size=1 << 20)


def parts(rows: pa.BinaryArray, ends: Iterable[int]) -> Iterator[pa.Buffer]:
    """The bytes of encoded rows in parts, each of which ends before the row of that number."""
    _, offsets, data = rows.buffers()
    at, start = np.frombuffer(offsets, np.int32), 0
    for end in ends:
        yield data.slice(int(at[start]), int(at[end] - at[start]))
        start = end


def _joined(rows: pa.BinaryArray, between: bytes) -> pa.Buffer:
    """One piece of all rows."""
    each = pa.ListArray.from_arrays([0, len(rows)], rows)
    return pc.binary_join(each, pa.scalar(between, pa.binary()))[0].as_buffer()


def _sized(numbers: Mapping[str, NDArray[Any]], kinds: Mapping[str, str]) -> NDArray[np.void]:
    """Rows of numbers, each with its size before it."""
    layout = np.dtype([part for name, kind in kinds.items() for part in ((f"{name} size", ">i4"), (name, kind))])
    sized = np.empty(len(next(iter(numbers.values()))), layout)
    for name, values in numbers.items():
        sized[f"{name} size"], sized[name] = layout[name].itemsize, values
    return sized


def _fixed(values: NDArray[Any]) -> pa.BinaryArray:
    """The bytes of each value."""
    kind = pa.binary(values.itemsize)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, pa.py_buffer(values)]).cast(pa.binary())


def _beside(cells: Sequence[Any]) -> pa.BinaryArray:
    return pc.binary_join_element_wise(*cells, pa.scalar(b"", pa.binary()))
