"""Predictions are published whole or not at all."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from ml.errors import ContractError
from ml.schemas import Predictions
from ml.validation import count_violations, judging, require_predictions
from tests.ml.validation.validation_builders import AS_OF


def good_predictions() -> pd.DataFrame:
    row: dict[str, Any] = {"model": "m", "project": "shop", "change_id": "next", "variant": "v", "test_id": "T"}
    row |= {"score": 0.1, "probability": 0.1, "rank": 1, "decision": "select", "reasons": "[]"}
    row |= {"as_of": pd.Timestamp(AS_OF), "expected_duration_s": None, "rank_by_cost": None}
    types = {"as_of": "datetime64[us, UTC]", "expected_duration_s": "float64", "rank_by_cost": "Int64"}
    return pd.DataFrame([row] * 2).astype(types)


def test_good_predictions_pass_unchanged() -> None:
    frame = good_predictions()
    pd.testing.assert_frame_equal(require_predictions(frame), frame)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(probability=[0.5, 1.5]), r"probability: out_of_range \(row 1: 1.5\)"),
        (lambda frame: frame.assign(decision="?"), r"decision: unknown_decision \(row 0: \?\)"),
        (lambda frame: frame.drop(columns="reasons"), r"column_in_dataframe .*: reasons\)"),
    ],
)
def test_bad_predictions_are_refused_together_with_the_rule(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        require_predictions(change(good_predictions()))


@pytest.mark.parametrize("piece_rows", [1, 2, 10])
def test_rows_that_break_a_contract_are_counted_in_pieces(piece_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "PIECE_ROWS", piece_rows)
    frame = pd.concat([good_predictions(), good_predictions()], ignore_index=True)
    assert count_violations(frame, Predictions) == 0
    assert count_violations(frame.assign(probability=[0.5, 1.5, 0.5, -1.0]), Predictions) == 2
    assert count_violations(frame.drop(columns="reasons"), Predictions) == 4
    assert count_violations(frame.head(0), Predictions) == 0
