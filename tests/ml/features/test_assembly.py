"""Features in their own grain are taken by the rows asked for, whether the numbers lie close together or far apart."""

import numpy as np
import pyarrow as pa
import pytest

from ml.engine import open_engine
from ml.features.assembly import Part, Rows, absent, take

PART = Part(key="test_no", source="pairs AS p", at="p", columns={"near": "p.near"}, absent="c.otherwise")


def taken(pairs: dict[str, list[int]], test_no: list[int]) -> list[float]:
    """`near` of the given tests in the first and then in the second run."""
    rows = Rows({"query_no": np.repeat([1, 2], len(test_no)), "test_no": np.tile(test_no, 2)}, {})
    with open_engine("duckdb", threads=1) as engine:
        types = pa.schema([(name, pa.int64()) for name in ("query_no", "test_no", "near")])
        engine.register_frame("pairs", pa.table(pairs, schema=types))
        engine.register_frame("asked", pa.table({"query_no": [2, 1], "otherwise": pa.array([None, 0], pa.int64())}))
        otherwise = absent(engine, [PART], "asked AS c")[PART.absent]
        return dict(take(engine, PART, rows, otherwise).features(rows))["near"].tolist()


@pytest.mark.parametrize("far", [3, 1_000_003])
def test_rows_without_a_pair_take_what_their_run_says(far: int) -> None:
    found = taken({"query_no": [2, 1, 1], "test_no": [1, far, 2], "near": [7, 8, 9]}, [1, 2, far, far + 1])
    assert found[:4] == [0, 9, 8, 0]
    assert np.array_equal(found[4:], [7, np.nan, np.nan, np.nan], equal_nan=True)


def test_no_pair_at_all_leaves_every_row_with_what_its_run_says() -> None:
    found = taken({"query_no": [], "test_no": [], "near": []}, [1])
    assert np.array_equal(found, [0, np.nan], equal_nan=True)
