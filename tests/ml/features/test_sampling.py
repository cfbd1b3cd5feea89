"""A bounded frame holds whole runs as they are in the full frame, failing ones first, and weighs what it left out."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pandas.testing as pdt
import pytest

from ml import schemas
from ml.engine import open_engine
from ml.features import Context, Queries, build, build_pieces
from ml.features.sampling import TELLING_SHARE, drawn_runs
from ml.spec import WEIGHT, Interval
from tests.feature_builders import at, features_of, history, random_history, register, result, run

pytestmark = pytest.mark.slow


def runs(telling: int, others: int, results: int = 10) -> pd.DataFrame:
    count = telling + others
    return pd.DataFrame(
        {
            "run_no": np.arange(1, count + 1),
            "run_id": [f"run {number}" for number in range(count)],
            "results": results,
            "is_telling": np.arange(count) < telling,
        }
    )


def drawn(given: pd.DataFrame, max_rows: int) -> pd.DataFrame:
    table = drawn_runs(given, max_rows)
    assert table is not None
    return table.to_pandas().merge(given, on="run_no", validate="one_to_one")


@pytest.mark.parametrize("max_rows", [0, 1_000, 5_000])
def test_all_runs_are_taken_where_they_fit_or_nothing_is_bounded(max_rows: int) -> None:
    assert drawn_runs(runs(telling=40, others=60), max_rows) is None


def test_runs_with_a_failure_come_first_and_the_others_fill_the_rest() -> None:
    found = drawn(runs(telling=20, others=80), 500)
    assert found["is_telling"].sum() == 20
    assert len(found) == 50
    assert found.loc[found["is_telling"], "weight"].unique().tolist() == [1.0]
    assert found.loc[~found["is_telling"], "weight"].unique().tolist() == pytest.approx([80 / 30])


def test_runs_without_a_failure_keep_a_part_where_the_others_would_fill_it_all() -> None:
    found = drawn(runs(telling=900, others=100), 1_000)
    assert found["is_telling"].sum() == TELLING_SHARE * 100
    assert (~found["is_telling"]).sum() == 100 - TELLING_SHARE * 100


def test_the_weights_add_up_to_all_results_of_either_kind() -> None:
    given = runs(telling=300, others=700).assign(results=np.random.default_rng(1).integers(1, 50, 1_000))
    found = drawn(given, 2_000)
    assert found["results"].sum() <= 2_000
    for is_telling, some in found.groupby("is_telling"):
        every = given.loc[given["is_telling"] == is_telling, "results"].sum()
        assert (some["weight"] * some["results"]).sum() == pytest.approx(every)


def test_one_run_of_a_kind_is_taken_however_large_it_is() -> None:
    assert len(drawn(runs(telling=1, others=5, results=100), 50)) == 2


def test_the_draw_does_not_hang_on_the_order_of_the_runs_or_on_what_came_later() -> None:
    given = runs(telling=300, others=300)
    once = set(drawn(given, 2_000)["run_id"])
    assert set(drawn(given.iloc[::-1], 2_000)["run_id"]) == once
    later = drawn(pd.concat([given, runs(3, 0).assign(run_no=[601, 602, 603], run_id=["x", "y", "z"])]), 2_000)
    assert len(once - set(later["run_id"])) <= 3


def test_rows_of_drawn_runs_are_those_of_the_full_frame() -> None:
    frames = random_history(seed=4)
    every, part = features_of(frames), features_of(frames, Queries.training("p", max_rows=200))
    assert 0 < len(part) <= 200
    expected = every[every["run_id"].isin(part["run_id"])].reset_index(drop=True)
    pdt.assert_frame_equal(part.drop(columns=WEIGHT), expected, check_exact=True)
    assert part[WEIGHT].min() >= 1
    assert (part[WEIGHT].groupby(part["run_id"]).nunique() == 1).all()
    schemas.TestSelectionFrame.validate(part, lazy=True)


def test_below_the_bound_the_frame_is_the_same_without_a_weight() -> None:
    frames = random_history(seed=5)
    every = features_of(frames)
    pdt.assert_frame_equal(features_of(frames, Queries.training("p", max_rows=len(every))), every, check_exact=True)
    assert WEIGHT not in every


def test_runs_that_were_not_known_yet_take_no_room() -> None:
    frames = history(
        [run(str(number), 10 * number, 10 * number + 5) for number in range(20)],
        [result(str(number), test, "passed") for number in range(20) for test in ("a", "b")],
    )
    asked = Queries.training("p", as_of=at(96), max_rows=20)
    assert features_of(frames, asked)["run_id"].nunique() == 20  # ten were known, so nothing is drawn
    fewer = features_of(frames, Queries.training("p", as_of=at(96), max_rows=10))
    assert set(fewer["run_id"]) < {str(number) for number in range(10)}
    assert fewer[WEIGHT].iloc[0] == pytest.approx(20 / len(fewer))


def pieces(frames: dict[str, pd.DataFrame], queries: Queries, rows: int) -> list[pd.DataFrame]:
    with open_engine("duckdb", threads=1) as engine:
        register(engine, frames)
        return list(build_pieces(engine, queries, Context(), rows))


@pytest.mark.parametrize("asked", [{}, {"max_rows": 200}])
def test_pieces_are_whole_runs_and_make_up_the_frame(asked: dict[str, Any]) -> None:
    frames = random_history(seed=6)
    queries = Queries.training("p", Interval(at(60), None), **asked)
    found = pieces(frames, queries, 40)
    assert len(found) > 2
    assert all(not set(one["run_id"]) & set(two["run_id"]) for one, two in pairwise(found))
    pdt.assert_frame_equal(pd.concat(found, ignore_index=True), features_of(frames, queries), check_exact=True)


def test_an_empty_history_is_one_empty_piece() -> None:
    assert [len(piece) for piece in pieces(history([], []), Queries.training("p"), 10)] == [0]


def test_predictions_are_never_drawn() -> None:
    frames = random_history(seed=7)
    with open_engine("duckdb", threads=1) as engine:
        register(engine, frames)
        asked = Queries.prediction("p", frames["runs"].head(5), at(1e6))
        assert WEIGHT not in build(engine, asked, Context())
