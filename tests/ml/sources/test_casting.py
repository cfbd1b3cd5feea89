from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ml.sources.casting import Cast, Kind, cast

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_UTF8 = pa.array([b"ok", b"\xff", None]).view(pa.string())


def cast_of(values: pa.Array, kind: Kind) -> Cast | None:
    return cast(pa.chunked_array([values[:1], values[1:]]), kind)


@pytest.mark.parametrize(
    ("values", "kind", "expected", "bad"),
    [
        (pa.array(["a", None]), Kind.TEXT, ["a", None], []),
        (pa.array(["a", None], pa.large_string()), Kind.TEXT, ["a", None], []),
        (pa.array(["a", "b", "a"]).dictionary_encode(), Kind.TEXT, ["a", "b", "a"], []),
        (pa.array([7, 2**62]), Kind.TEXT, ["7", "4611686018427387904"], []),
        (NOT_UTF8, Kind.TEXT, ["ok", None, None], [1]),
        (NOT_UTF8.dictionary_encode(), Kind.TEXT, ["ok", None, None], [1]),
        (pa.nulls(2), Kind.TEXT, [None, None], []),
        (pa.array([1, None], pa.int16()), Kind.INTEGER, [1, None], []),
        (pa.array([1, 2**63], pa.uint64()), Kind.INTEGER, [1, None], [1]),
        (pa.array([1.0, 1.5, float("nan"), None]), Kind.INTEGER, [1, None, None, None], [1, 2]),
        (pa.array(["3", "x", "4.0", "4.5", "nan.", "3"]), Kind.INTEGER, [3, None, 4, None, None, 3], [1, 3, 4]),
        (pa.array([0.5, None], pa.float32()), Kind.NUMBER, [0.5, None], []),
        (pa.array([1.0, float("nan"), float("-inf"), None]), Kind.NUMBER, [1.0, None, None, None], [1, 2]),
        (pa.array(["0.5", "nan", "fast"]), Kind.NUMBER, [0.5, None, None], [1, 2]),
        (pa.array([Decimal("1.25"), None]), Kind.NUMBER, [1.25, None], []),
        (pa.array([3, 4]), Kind.NUMBER, [3.0, 4.0], []),
        (pa.array([True, None]), Kind.FLAG, [True, None], []),
        (pa.array([1, 0, 2]), Kind.FLAG, [True, False, None], [2]),
        (pa.array(["True", "f", "0", "yes", None]), Kind.FLAG, [True, False, False, None, None], [3]),
        (pa.array([NOON, None], pa.timestamp("ms", "Europe/Berlin")), Kind.MOMENT, [NOON, None], []),
        (pa.array([NOON.replace(tzinfo=None), None], pa.timestamp("s")), Kind.MOMENT, [NOON, None], []),
        (pa.array([10**9 + 1, None], pa.timestamp("ns")), Kind.MOMENT, [EPOCH + timedelta(seconds=1), None], []),
        (pa.array([0, 2**62], pa.timestamp("s", "UTC")), Kind.MOMENT, [EPOCH, None], [1]),
        (pa.array([0, 2**62], pa.timestamp("us", "UTC")), Kind.MOMENT, [EPOCH, None], [1]),
        (pa.array([date(2026, 1, 1), None]), Kind.MOMENT, [NOON - timedelta(hours=12), None], []),
        (pa.array(["2026-01-01T13:00:00+01:00", "soon"]), Kind.MOMENT, [NOON, None], [1]),
        (pa.array(["2026-01-01 12:00:00", "0001-01-01T00:00:00+09:00"]), Kind.MOMENT, [NOON, None], [1]),
    ],
)  # fmt: skip
def test_a_value_is_cast_when_nothing_is_lost_and_marked_when_it_cannot_be(
    values: pa.Array, kind: Kind, expected: list[Any], bad: list[int]
) -> None:
    result = cast_of(values, kind)
    assert result is not None
    assert result.values.to_pylist() == expected
    assert list(result.is_bad.nonzero()[0]) == bad


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([1.5]), Kind.TEXT),
        (pa.array([["a"]]), Kind.TEXT),
        (pa.array([NOON]), Kind.NUMBER),
        (pa.array([True]), Kind.INTEGER),
        (pa.array([0.5]), Kind.FLAG),
        (pa.array([1_700_000_000]), Kind.MOMENT),
        (pa.array([{"a": 1}]), Kind.MOMENT),
    ],
)
def test_a_type_that_can_hold_no_such_values_is_told(values: pa.Array, kind: Kind) -> None:
    assert cast(pa.chunked_array([values]), kind) is None


@pytest.mark.parametrize("kind", list(Kind))
def test_an_empty_column_is_cast(kind: Kind) -> None:
    result = cast(pa.chunked_array([], pa.null()), kind)
    assert result is not None
    assert len(result.values) == len(result.is_bad) == 0
