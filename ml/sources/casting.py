"""Columns of strangers' Parquet files, cast to what a contract expects when nothing is lost by it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from ml.sources.manifest import MAX_INTEGER

UTC_US = pa.timestamp("us", tz="UTC")
# The years 1 to 9999, which Python's datetime can hold.
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
_FLAGS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6}


class Kind(Enum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    MOMENT = "moment"


REASONS = {
    Kind.TEXT: "undecodable",
    Kind.INTEGER: "not_an_integer",
    Kind.NUMBER: "not_a_number",
    Kind.FLAG: "not_a_boolean",
    Kind.MOMENT: "not_a_timestamp",
}


@dataclass(frozen=True, slots=True)
class Cast:
    """A cast column, plain (no dictionary), null where `is_bad`."""

    values: pa.Array
    is_bad: np.ndarray[Any, Any]


def cast(column: pa.ChunkedArray, kind: Kind) -> Cast | None:
    """`column` as string, int64, float64, bool or timestamp[us, UTC]; None when its type can hold no such values.

    Integers become text, whole floats integers, text is parsed, a timestamp without a zone is UTC; finer than a
    microsecond is cut off. Null stays null; a NaN or infinite number is bad.
    """
    plain = _plain(column)
    if pt.is_null(plain.type):
        return Cast(pa.nulls(len(plain), _TYPES[kind]), np.zeros(len(plain), dtype=bool))
    return _CASTS[kind](plain)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    if pt.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind))


def _to_text(values: pa.Array) -> Cast | None:
    if pt.is_integer(values.type):
        return _good(values.cast(pa.string()))
    if not _is_text(values.type):
        return None
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return _one_by_one(values.cast(pa.large_binary()), lambda value: value.decode("utf-8"), pa.large_string())
    return _good(values)


def _to_integer(values: pa.Array) -> Cast | None:
    if pt.is_integer(values.type) and not pt.is_uint64(values.type):
        return _good(values.cast(pa.int64()))
    if pt.is_integer(values.type) or pt.is_floating(values.type) or _is_text(values.type):
        return _one_by_one(values, _integer, pa.int64())
    return None


def _integer(value: str | float) -> int:
    if isinstance(value, str) and "." in value:
        value = float(value)  # whole numbers of a column with gaps are written as 3.0 by many
    number = int(value)
    if (not isinstance(value, str) and number != value) or abs(number) > MAX_INTEGER:
        raise ValueError(value)
    return number


def _to_number(values: pa.Array) -> Cast | None:
    if _is_text(values.type):
        return _one_by_one(values, _finite, pa.float64())
    if not (pt.is_integer(values.type) or pt.is_floating(values.type) or pt.is_decimal(values.type)):
        return None
    numbers = values.cast(pa.float64(), safe=False)
    is_bad = pc.fill_null(pc.invert(pc.is_finite(numbers)), False)
    return Cast(pc.if_else(is_bad, None, numbers), is_bad.to_numpy(zero_copy_only=False))


def _finite(value: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _to_flag(values: pa.Array) -> Cast | None:
    if pt.is_boolean(values.type):
        return _good(values)
    return _one_by_one(values, _flag, pa.bool_()) if pt.is_integer(values.type) or _is_text(values.type) else None


def _flag(value: str | int) -> bool:
    flag = _FLAGS.get(str(value).lower())
    if flag is None:
        raise ValueError(value)
    return flag


def _to_moment(values: pa.Array) -> Cast | None:
    if _is_text(values.type):
        return _one_by_one(values, _moment, UTC_US)
    if pt.is_date(values.type):
        values = values.cast(pa.timestamp("ms"))
    if not pt.is_timestamp(values.type):
        return None
    unit = values.type.unit
    if unit == "ns":
        return _good(values.cast(pa.timestamp("ns", tz="UTC")).cast(UTC_US, safe=False))
    counts = values.cast(pa.int64())
    is_bad = pc.or_(pc.less(counts, _FIRST_S * _PER_SECOND[unit]), pc.greater(counts, _LAST_S * _PER_SECOND[unit]))
    is_bad = pc.fill_null(is_bad, False)
    kept = pc.if_else(is_bad, None, counts).cast(pa.timestamp(unit, tz="UTC")).cast(UTC_US)
    return Cast(kept, is_bad.to_numpy(zero_copy_only=False))


def _moment(value: str) -> Any:
    moment = datetime.fromisoformat(value.strip())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _good(values: pa.Array) -> Cast:
    return Cast(values, np.zeros(len(values), dtype=bool))


def _one_by_one(values: pa.Array, convert: Callable[[Any], Any], kind: pa.DataType) -> Cast:
    encoded = values.dictionary_encode()  # durations and attempts repeat: each value is converted once
    converted: list[Any] = []
    is_bad = np.zeros(len(encoded.dictionary) + 1, dtype=bool)  # the last stands for null
    for position, scalar in enumerate(encoded.dictionary):
        try:
            converted.append(convert(scalar.as_py()))
        except (ValueError, OverflowError):
            converted.append(None)
            is_bad[position] = True
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return Cast(pa.array(converted, kind).take(encoded.indices), is_bad[places])


_TYPES = {
    Kind.TEXT: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.FLAG: pa.bool_(),
    Kind.MOMENT: UTC_US,
}
_CASTS: dict[Kind, Callable[[pa.Array], Cast | None]] = {
    Kind.TEXT: _to_text,
    Kind.INTEGER: _to_integer,
    Kind.NUMBER: _to_number,
    Kind.FLAG: _to_flag,
    Kind.MOMENT: _to_moment,
}
