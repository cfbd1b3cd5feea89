"""Contracts: every rule carries its reason code, and the documentation page says the same as the code."""

import pandas as pd
import pytest
from pandera.errors import SchemaErrors

from ml import schemas
from ml.contracts_doc import PAGE, render

MOMENT = pd.Timestamp("2026-03-01T12:00:00Z")
GOOD_PREDICTION = {
    "model": "test_selection",
    "project": "shop",
    "change_id": "next",
    "variant": "linux",
    "test_id": "CartTest",
    "score": 0.2,
    "probability": 0.1,
    "rank": 1,
    "decision": "select",
    "reasons": "[]",
    "as_of": MOMENT,
    "expected_duration_s": 1.5,
    "rank_by_cost": 1,
}


def prediction(**changes: object) -> pd.DataFrame:
    return pd.DataFrame([{**GOOD_PREDICTION, **changes}]).astype(
        {"as_of": "datetime64[us, UTC]", "rank_by_cost": "Int64"}
    )


def test_every_rule_of_a_lake_table_has_a_reason_code_and_a_description() -> None:
    for name in schemas.KEYS:
        schema = schemas.LAKE_TABLES[name].to_schema()
        checks = [check for column in schema.columns.values() for check in column.checks] + list(schema.checks)
        assert checks
        for check in checks:
            assert str(check.name).replace("_", "").isalpha()
            assert not str(check.name).startswith("_")
            assert check.description


def test_keys_are_columns_of_their_tables() -> None:
    for name, key in schemas.KEYS.items():
        assert set(key) <= set(schemas.columns(schemas.LAKE_TABLES[name]))


def test_columns_come_in_the_order_of_the_contract() -> None:
    assert schemas.columns(schemas.ChangedFiles) == [
        "project",
        "run_id",
        "path",
        "added",
        "deleted",
        "change_source",
    ]


def test_a_good_prediction_keeps_its_contract() -> None:
    assert len(schemas.Predictions.validate(prediction())) == 1


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("probability", 1.01, "out_of_range"),
        ("probability", -0.01, "out_of_range"),
        ("rank", 0, "out_of_range"),
        ("decision", "maybe", "unknown_decision"),
        ("score", float("inf"), "not_finite"),
        ("test_id", "  ", "empty"),
        ("test_id", "a\nb", "control_character"),
        ("change_id", "x" * 1_001, "too_long"),
        ("score", None, "not_nullable"),
    ],
)
def test_a_bad_prediction_breaks_the_rule_of_its_column(column: str, value: object, reason: str) -> None:
    frame = prediction(**{column: value})
    if column == "score":
        frame["score"] = frame["score"].astype(float)
    with pytest.raises(SchemaErrors) as caught:
        schemas.Predictions.validate(frame, lazy=True)
    cases = caught.value.failure_cases
    assert cases[["column", "check"]].to_numpy().tolist() == [[column, reason]]


def test_the_documentation_page_says_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "stale: run python -m ml.contracts_doc"


def test_the_documentation_names_every_reason_and_column() -> None:
    page = render()
    for code in [*schemas.TYPE_REASONS, *schemas.BATCH_REASONS, "path_outside_repository", "finished_before_started"]:
        assert f"`{code}`" in page
    for model in schemas.LAKE_TABLES.values():
        for column in schemas.columns(model):
            assert f"| `{column}` |" in page
