"""Prediction rows: ranks, decisions within the budget, and reasons that name what moved the score."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ml.publishing import Explanation, Origin, prediction_rows
from ml.schemas import Predictions
from ml.spec import Decision, Objective

MOMENT = datetime(2019, 11, 19, 3, tzinfo=UTC)
FEATURES = ["fails", "age", "idle", "files"]
WORDS = {"fails": "failures lately"}
REFERENCE = pd.Series({"fails": 0.0, "age": 10.0, "idle": np.nan, "files": 1.0})


def _score(frame: pd.DataFrame) -> NDArray[np.float64]:
    """fails weighs 2, age -0.1, idle 1 where known, files nothing."""
    return (2 * frame["fails"] - 0.1 * frame["age"] + frame["idle"].fillna(0.0)).to_numpy()


@dataclass(frozen=True)
class Whole:
    """A scorer that prepares nothing."""

    function: Callable[[pd.DataFrame], NDArray[np.float64]]
    names: Sequence[str] = tuple(FEATURES)
    owner: NDArray[np.int64] = field(default_factory=lambda: np.arange(len(FEATURES)))

    def prepare(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        return frame[list(self.names)].to_numpy(np.float64)

    def score(self, prepared: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.function(pd.DataFrame(prepared, columns=list(self.names)))


def _rows(*rows: tuple[str, str, str, float, float, float, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["run_id", "variant", "test_id", *FEATURES])
    started = pd.Series(pd.Timestamp(MOMENT), index=table.index).astype("datetime64[us, UTC]")
    return table.assign(project="p", started_at=started).astype(dict.fromkeys(FEATURES, float))


def _publish(rows: pd.DataFrame, budget: float = 0.3, **by_cost: list[float]) -> pd.DataFrame:
    score = _score(rows)
    predicted = pd.DataFrame({"score": score, "probability": 1 / (1 + np.exp(-score)), **by_cost}, index=rows.index)
    return prediction_rows(
        rows, predicted, Explanation(Whole(_score), REFERENCE, WORDS), Origin("test_selection", budget, MOMENT)
    )


def _reasons(table: pd.DataFrame, row: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(table["reasons"].iloc[row], parse_constant=pytest.fail)
    return found


def test_tests_rank_by_score_within_their_change_and_changes_keep_their_order() -> None:
    table = _publish(
        _rows(
            ("run 2", "", "a", 0, 10, np.nan, 1),
            ("run 1", "", "a", 3, 10, np.nan, 1),
            ("run 2", "", "b", 5, 10, np.nan, 1),
            ("run 1", "", "b", 1, 10, np.nan, 1),
        )
    )
    found = list(table[["change_id", "test_id", "rank"]].itertuples(index=False, name=None))
    assert found == [("run 2", "b", 1), ("run 2", "a", 2), ("run 1", "a", 1), ("run 1", "b", 2)]


def test_the_order_by_cost_is_within_a_change_and_equal_ones_go_by_rank() -> None:
    rows = _rows(
        ("run 2", "", "a", 0, 10, np.nan, 1),
        ("run 1", "", "a", 3, 10, np.nan, 1),
        ("run 2", "", "b", 5, 10, np.nan, 1),
        ("run 2", "", "c", 1, 10, np.nan, 1),
    )
    table = _publish(rows, expected_duration_s=[1.0, 2.0, np.nan, 3.0], score_by_cost=[0.5, 0.1, 0.5, 0.9])
    found = list(table[["change_id", "test_id", "rank", "rank_by_cost"]].itertuples(index=False, name=None))
    assert found == [("run 2", "b", 1, 2), ("run 2", "c", 2, 1), ("run 2", "a", 3, 3), ("run 1", "a", 1, 1)]
    assert table["expected_duration_s"].fillna(-1).tolist() == [-1.0, 3.0, 1.0, 2.0]


def test_a_model_without_costs_has_no_order_by_cost() -> None:
    table = _publish(_rows(("run", "", "a", 1, 10, np.nan, 1)))
    assert table["rank_by_cost"].isna().all()
    assert table["expected_duration_s"].isna().all()


def test_equal_scores_rank_by_variant_then_test() -> None:
    ties = [("x", "b"), ("", "z"), ("x", "a"), ("", "y")]
    table = _publish(_rows(*(("run", variant, test, 1, 10, np.nan, 1) for variant, test in ties)))
    assert list(zip(table["variant"], table["test_id"], strict=True)) == [("", "y"), ("", "z"), ("x", "a"), ("x", "b")]
    assert list(table["rank"]) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("tests", "budget", "selected"), [(10, 0.3, 3), (10, 0.39, 3), (10, 1.0, 10), (1, 0.3, 1), (3, 0.01, 1)]
)
def test_the_budget_selects_the_first_tests_and_at_least_one(tests: int, budget: float, selected: int) -> None:
    table = _publish(_rows(*(("run", "", f"t{n:02}", n, 10, np.nan, 1) for n in range(tests))), budget)
    assert list(table["decision"]) == ["select"] * selected + ["skip"] * (tests - selected)


def test_reasons_are_the_strongest_effects_with_their_sign() -> None:
    table = _publish(_rows(("run", "", "t", 3, 40, 1.5, 99)))
    assert _reasons(table) == [
        {"feature": "fails", "value": 3.0, "effect": 6.0, "words": "failures lately: 3, ordinarily 0"},
        {"feature": "age", "value": 40.0, "effect": -3.0, "words": "age: 40, ordinarily 10"},
        {"feature": "idle", "value": 1.5, "effect": 1.5, "words": "idle: 1.5, ordinarily unknown"},
    ]


def test_a_missing_value_that_moved_the_score_is_null_in_the_reason() -> None:
    reference = REFERENCE.copy()
    reference["idle"] = 4.0
    rows = _rows(("run", "", "t", 0, 10, np.nan, 1))
    predicted = pd.DataFrame({"score": _score(rows), "probability": [0.5]})
    table = prediction_rows(rows, predicted, Explanation(Whole(_score), reference), Origin("m", 0.3, MOMENT))
    assert _reasons(table) == [
        {"feature": "idle", "value": None, "effect": -4.0, "words": "idle: unknown, ordinarily 4"}
    ]


def test_an_ordinary_test_has_no_reasons() -> None:
    assert _reasons(_publish(_rows(("run", "", "t", 0, 10, np.nan, 1)))) == []


def test_no_more_than_three_reasons_are_given() -> None:
    rows = _rows(("run", "", "t", 1, 20, 5, 2))
    predicted = pd.DataFrame({"score": rows[FEATURES].sum(axis=1), "probability": [0.5]})
    explanation = Explanation(Whole(lambda frame: frame[FEATURES].sum(axis=1).to_numpy()), REFERENCE.fillna(0.0))
    table = prediction_rows(rows, predicted, explanation, Origin("m", 0.3, MOMENT))
    assert [reason["feature"] for reason in _reasons(table)] == ["age", "idle", "fails"]


def test_reasons_stay_with_their_row_in_a_large_frame_with_any_index() -> None:
    count = 2_500
    rows = _rows(*(("run", "", f"t{n:04}", n % 7, 10, np.nan, 1) for n in range(count)))
    rows.index = pd.Index(np.arange(count)[::-1])
    table = _publish(rows)
    for test_id, reasons in zip(table["test_id"], table["reasons"], strict=True):
        fails = int(test_id[1:]) % 7
        words = f"failures lately: {fails}, ordinarily 0"
        expected = [{"feature": "fails", "value": float(fails), "effect": 2.0 * fails, "words": words}] if fails else []
        assert json.loads(reasons) == expected


def test_the_result_keeps_the_contract_of_the_results_table() -> None:
    table = _publish(_rows(("run", "linux", "a", 1, 2, 3, 4), ("next", "linux", "a", 1, 2, 3, 4)))
    Predictions.validate(table, lazy=True)
    assert list(table["model"].unique()) == ["test_selection"]
    assert table["as_of"].iloc[0] == pd.Timestamp(MOMENT)


def test_no_rows_give_no_predictions_with_the_same_columns() -> None:
    table = _publish(_rows())
    assert table.empty
    Predictions.validate(table, lazy=True)


def test_the_rows_that_came_in_are_left_as_they_were() -> None:
    rows = _rows(("run", "", "t", 3, 40, 1.5, 99))
    before = rows.copy()
    _publish(rows)
    pd.testing.assert_frame_equal(rows, before)


def test_a_run_that_started_before_the_moment_is_scored_as_of_its_start() -> None:
    rows = _rows(("old", "", "a", 1, 10, np.nan, 1), ("next", "", "a", 1, 10, np.nan, 1))
    starts = [MOMENT - timedelta(days=1), MOMENT + timedelta(microseconds=1)]
    rows["started_at"] = pd.Series(starts).astype("datetime64[us, UTC]")
    found = dict(_publish(rows)[["change_id", "as_of"]].itertuples(index=False, name=None))
    assert found == {"old": pd.Timestamp(starts[0]), "next": pd.Timestamp(MOMENT)}


def test_a_run_is_risky_from_the_threshold_on_and_ok_below() -> None:
    rows = _rows(
        ("low", "*", "*", 0, 10, np.nan, 1), ("edge", "*", "*", 1, 10, np.nan, 1), ("high", "*", "*", 2, 9, 1, 1)
    )
    predicted = pd.DataFrame({"score": [0.1, 0.2, 0.3], "probability": [0.29, 0.3, 0.9]})
    origin = Origin("build_risk", 0.3, MOMENT, Objective.PROBABILITY, (Decision.RISKY, Decision.OK))
    table = prediction_rows(rows, predicted, Explanation(Whole(_score), REFERENCE), origin)
    assert table[["change_id", "rank", "decision"]].to_numpy().tolist() == [
        ["low", 1, "ok"],
        ["edge", 1, "risky"],
        ["high", 1, "risky"],
    ]
    Predictions.validate(table, lazy=True)


def test_a_feature_that_the_model_does_not_see_is_no_reason() -> None:
    rows = _rows(("run", "", "t", 3, 40, 1.5, 99))
    seen = Whole(lambda frame: 2 * frame["fails"].to_numpy(), ("fails",), np.array([0]))
    predicted = pd.DataFrame({"score": [6.0], "probability": [0.5]})
    table = prediction_rows(rows, predicted, Explanation(seen, REFERENCE), Origin("m", 0.3, MOMENT))
    assert [reason["feature"] for reason in _reasons(table)] == ["fails"]


def test_a_feature_that_decides_two_prepared_columns_is_occluded_in_both() -> None:
    class Marked(Whole):
        def prepare(self, frame: pd.DataFrame) -> NDArray[np.float64]:
            return np.column_stack([frame["idle"].fillna(7.0), frame["idle"].isna()]).astype(np.float64)

        def score(self, prepared: NDArray[np.float64]) -> NDArray[np.float64]:
            return prepared[:, 0] + 100 * prepared[:, 1]

    rows = _rows(("run", "", "t", 0, 10, np.nan, 1))
    predicted = pd.DataFrame({"score": [107.0], "probability": [0.5]})
    reference = REFERENCE.fillna(4.0)
    marked = Explanation(Marked(_score, ("idle",), np.array([0, 0])), reference)
    table = prediction_rows(rows, predicted, marked, Origin("m", 0.3, MOMENT))
    assert [(reason["feature"], reason["effect"]) for reason in _reasons(table)] == [("idle", 103.0)]
