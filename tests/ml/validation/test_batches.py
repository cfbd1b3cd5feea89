"""Whole batches: types, absent columns, large and random ones, real histories; each row is accepted or refused once."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ml import schemas
from ml.errors import ContractError
from ml.validation import MAX_VALUE, validate
from tests.ml.validation.validation_builders import (
    AS_OF,
    BATCH,
    FILE,
    GOOD,
    NOTHING_REFUSED,
    RESULT,
    RUN,
    counts,
    judge,
    judge_value,
    table,
)

pytestmark = pytest.mark.slow

REAL_DATA = Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))


def test_the_given_frames_are_left_as_they_were() -> None:
    frame = table(RESULT, {**RESULT, "duration_s": -1.0})
    before = frame.copy()
    judge(test_results=frame)
    pd.testing.assert_frame_equal(frame, before)


def test_an_empty_batch_gives_empty_frames_in_the_types_of_the_contract() -> None:
    validated = validate({}, NOTHING_REFUSED, BATCH, AS_OF)
    assert counts(validated) == {"runs": 0, "test_results": 0, "changed_files": 0}
    assert validated.rejected.columns.tolist() == schemas.columns(schemas.RejectedRows)
    assert len(validated.rejected) == 0
    for name, frame in validated.accepted.items():
        schemas.LAKE_TABLES[name].validate(frame)


def test_one_good_row_per_table_passes_in_the_types_of_the_contract() -> None:
    validated = judge(test_results=table(RESULT), changed_files=table(FILE))
    assert counts(validated) == {"runs": 1, "test_results": 1, "changed_files": 1}
    for name, frame in validated.accepted.items():
        schemas.LAKE_TABLES[name].validate(frame)
        assert frame.to_dict("records") == [GOOD[name]]


def test_a_batch_of_bad_rows_only_accepts_nothing_and_loses_nothing() -> None:
    rows = [{**RESULT, "test_id": f"T{at}", "outcome": "?"} for at in range(500)]
    validated = judge(test_results=table(*rows))
    assert counts(validated)["test_results"] == 0
    assert [json.loads(row)["test_id"] for row in validated.rejected["row"]] == [f"T{at}" for at in range(500)]


def test_columns_that_are_absent_count_as_null() -> None:
    validated = judge(
        runs=table(RUN).drop(columns=["finished_at", "branch"]), test_results=table(RESULT).drop(columns="outcome")
    )
    assert counts(validated)["runs"] == 1
    assert validated.accepted["runs"]["branch"].tolist() == [None]
    assert validated.rejected["reason"].tolist() == ["missing"]


def test_categorical_narrow_and_naive_types_of_parquet_files_are_read() -> None:
    runs = table(RUN).astype({"attempt": "int16"})
    runs["started_at"] = pd.Series([pd.Timestamp("2026-02-27T10:00:00")], dtype="datetime64[ms]")
    results = table(RESULT, {**RESULT, "test_id": "a\nb"}, {**RESULT, "test_id": "B"})
    results = results.astype({"test_id": "category", "outcome": "category", "duration_s": "float32"})
    validated = judge(runs=runs, test_results=results)
    assert validated.accepted["test_results"]["test_id"].tolist() == ["CartTest", "B"]
    assert validated.accepted["runs"]["started_at"].tolist() == [RUN["started_at"]]
    for name, frame in validated.accepted.items():
        schemas.LAKE_TABLES[name].validate(frame)


def test_a_date_beyond_the_reach_of_microseconds_is_refused_and_not_a_crash() -> None:
    runs = table(RUN)
    runs["started_at"] = pd.Series(np.array(["200000-01-01"], dtype="datetime64[ms]")).dt.tz_localize("UTC")
    assert judge(runs=runs).rejected["reason"].tolist() == ["not_a_timestamp"]


def test_the_shown_value_is_bounded_and_printable() -> None:
    value = judge_value("test_results", "test_id", "\x00\n\udc80<b>" + "x" * 5_000).rejected["value"].iloc[0]
    assert value.startswith("\\u0000\\u000a\\udc80<b>xxx")
    assert len(value) == MAX_VALUE


def test_refused_payloads_come_first_with_the_batch_they_belong_to() -> None:
    payload = {"project": "?", "contract": "payload", "reason": "truncated_xml", "payload": "r1/report.xml"}
    refused = pd.DataFrame([payload]).reindex(columns=NOTHING_REFUSED.columns)
    validated = validate({"runs": table({**RUN, "attempt": 0})}, refused, BATCH, AS_OF)
    assert validated.rejected["reason"].tolist() == ["truncated_xml", "out_of_range"]
    assert validated.rejected["batch_id"].tolist() == ["b1", "b1"]
    assert validated.rejected["project"].tolist() == ["shop", "shop"]
    assert validated.rejected["payload"].tolist() == ["r1/report.xml", None]
    schemas.RejectedRows.validate(validated.rejected)


def test_a_table_without_a_contract_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ContractError, match=r"no contract for tests; known: runs, test_results, changed_files"):
        judge(tests=table(RESULT))


def test_a_column_given_twice_is_an_error() -> None:
    frame = pd.concat([table(RESULT), table(RESULT)["test_id"]], axis=1)
    with pytest.raises(ContractError, match="test_results: columns given twice: test_id"):
        judge(test_results=frame)


def test_of_200_000_rows_exactly_the_bad_ones_are_refused() -> None:
    size = 200_000
    results = pd.DataFrame(
        {
            **{name: np.full(size, value) for name, value in RESULT.items()},
            "test_id": [f"Test{at % 20_000}" for at in range(size)],
            "variant": [f"v{at // 20_000}" for at in range(size)],
        }
    )
    bad: dict[int, tuple[str, Any]] = {
        17: ("duration_s", -1.0),
        99_999: ("outcome", "?"),
        150_000: ("test_id", ""),
        199_999: ("run_id", "r9"),
    }
    for at, (column, value) in bad.items():
        results.loc[at, column] = value
    validated = judge(test_results=results.astype({"test_id": "category", "variant": "category"}))
    expected = results.drop(index=list(bad)).reset_index(drop=True)
    accepted = validated.accepted["test_results"]
    pd.testing.assert_frame_equal(accepted.astype(expected.dtypes), expected)
    assert validated.rejected["reason"].tolist() == ["negative", "unknown_outcome", "empty", "orphan"]


TEXTS = st.sampled_from(["r1", "r2", "T", "", " ", "a\nb", "<b>", "x" * 1_001, "\udc80", None, 3, ("t",)])

RESULTS = st.lists(
    st.fixed_dictionaries(
        {
            "project": st.just("shop"),
            "run_id": st.sampled_from(["r1", "r2", "r3"]),
            "attempt": st.sampled_from([1, 1, 1, 2, 0, None, "x", 2.5]),
            "variant": st.sampled_from(["v", "w"]),
            "test_id": TEXTS,
            "outcome": st.sampled_from(["passed", "failed", "error", "skipped", "?", None]),
            "duration_s": st.one_of(st.none(), st.floats(), st.sampled_from(["1", "fast"])),
            "imputed": st.sampled_from([True, False, None, "no"]),
        }
    ),
    max_size=12,
)

SPAN = (datetime(1998, 1, 1), datetime(2027, 1, 1))  # noqa: DTZ001 - Hypothesis wants naive bounds

RUNS = st.lists(
    st.fixed_dictionaries(
        {
            "project": st.just("shop"),
            "run_id": TEXTS,
            "attempt": st.sampled_from([1, 2, -1]),
            "started_at": st.one_of(st.datetimes(*SPAN), st.sampled_from([None, "2026-01-01"])),
            "finished_at": st.one_of(st.none(), st.datetimes(*SPAN)),
        }
    ),
    max_size=5,
)


@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(RUNS, RESULTS)
def test_every_row_is_accepted_or_rejected_once_and_accepted_rows_stay_accepted(
    runs: list[dict[str, Any]], results: list[dict[str, Any]]
) -> None:
    frames = {
        "runs": pd.DataFrame(runs, columns=["project", "run_id", "attempt", "started_at", "finished_at"], dtype=object),
        "test_results": pd.DataFrame(results, columns=list(RESULT), dtype=object),
    }
    validated = validate(frames, NOTHING_REFUSED, BATCH, AS_OF)
    for name, frame in frames.items():
        refused = int((validated.rejected["contract"] == name).sum())
        assert len(validated.accepted[name]) + refused == len(frame)
    again = validate(validated.accepted, NOTHING_REFUSED, BATCH, AS_OF)
    assert len(again.rejected) == 0
    for name, frame in validated.accepted.items():
        schemas.LAKE_TABLES[name].validate(frame)
        pd.testing.assert_frame_equal(again.accepted[name], frame)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ("ozone", {"runs": 1_629, "test_results": 505_673, "changed_files": 14_376}),
        ("ozone_gha", {"runs": 4_458, "test_results": 943_562, "changed_files": 31_497}),
    ],
)
def test_a_real_history_keeps_its_rows(history: str, expected: dict[str, int]) -> None:
    folder = REAL_DATA / history
    if not folder.is_dir():
        pytest.skip(f"no real history in {folder}; set FOURGATE_REAL_DATA")
    frames = {name: pd.read_parquet(folder / f"{name}.parquet").assign(project="apache/ozone") for name in expected}
    validated = validate(frames, NOTHING_REFUSED, BATCH, AS_OF)
    assert counts(validated) == expected
    # binary files come as -1 added lines; whoever reads the tables makes them null before
    assert validated.rejected["reason"].unique().tolist() == ["negative"]
