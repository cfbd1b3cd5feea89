"""Refused rows come back exactly, and are accepted once what they lacked is known."""

import json

import pandas as pd

from ml import schemas
from ml.validation import MAX_ROW, Validated, replay, validate
from tests.ml.validation.validation_builders import (
    AS_OF,
    BATCH,
    NOTHING_REFUSED,
    RESULT,
    RUN,
    counts,
    judge,
    judge_value,
    table,
)


def test_a_replay_brings_back_the_rows_exactly() -> None:
    rows = [
        {**RESULT, "test_id": "a\nb\x00", "duration_s": 0.1 + 0.2},
        {**RESULT, "test_id": "inf", "duration_s": float("-inf")},
        {**RESULT, "test_id": "\udc80 тест", "duration_s": None, "imputed": True},
    ]
    run = {**RUN, "started_at": pd.Timestamp("2026-02-27T10:00:00.123456Z"), "attempt": 0}
    rejected = validate({"runs": table(run), "test_results": table(*rows)}, NOTHING_REFUSED, BATCH, AS_OF).rejected
    again = replay(rejected)
    assert again["test_results"]["test_id"].tolist() == [row["test_id"] for row in rows]
    assert again["test_results"]["duration_s"].tolist() == [0.1 + 0.2, "-inf", None]
    second = validate(again, NOTHING_REFUSED, BATCH, AS_OF).rejected
    pd.testing.assert_frame_equal(second, rejected)


def test_orphans_are_accepted_by_a_replay_once_their_run_is_known() -> None:
    orphans = validate({"test_results": table(RESULT)}, NOTHING_REFUSED, BATCH, AS_OF)
    assert orphans.rejected["reason"].tolist() == ["orphan"]
    known = table({"project": "shop", "run_id": "r1", "attempt": 1})
    validated = validate(replay(orphans.rejected), NOTHING_REFUSED, BATCH, AS_OF, known)
    assert validated.accepted["test_results"].to_dict("records") == [RESULT]


def test_a_row_over_the_bound_is_marked_as_cut_and_left_out_of_replays() -> None:
    validated = judge_value("test_results", "test_id", "x" * 10_000)
    text = validated.rejected["row"].iloc[0]
    assert len(text) <= MAX_ROW
    assert json.loads(text)["test_id"] == {"cut": "x" * 1_000, "length": 10_000}
    assert counts(Validated(replay(validated.rejected), validated.rejected)) == dict.fromkeys(schemas.KEYS, 0)


def test_a_row_of_ten_long_hostile_texts_still_fits_the_bound() -> None:
    row = {name: "\x00" * 5_000 if isinstance(value, str) else value for name, value in RUN.items()}
    text = judge(runs=table(row)).rejected["row"].iloc[0]
    assert len(text) <= MAX_ROW
    assert json.loads(text)["branch"]["length"] == 5_000


def test_a_replay_leaves_refused_payloads_where_they_are() -> None:
    payload = {"batch_id": "b1", "project": "shop", "contract": "payload", "reason": "empty_file"}
    rejected = pd.DataFrame([payload]).reindex(columns=schemas.columns(schemas.RejectedRows))
    assert {name: len(frame) for name, frame in replay(rejected).items()} == dict.fromkeys(schemas.KEYS, 0)
