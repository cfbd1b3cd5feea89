"""Validation: hand-typed rows for every reason, and no row is ever lost or doubled."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ml import schemas
from ml.errors import ContractError
from ml.spec import Batch
from ml.validation import MAX_ROW, MAX_VALUE, Validated, replay, require_predictions, validate

AS_OF = datetime(2026, 3, 1, 12, tzinfo=UTC)
BATCH = Batch(batch_id="b1", source="tables", project="shop", folder="landing/b1", payload_count=1)
NOTHING_REFUSED = pd.DataFrame(columns=[name for name in schemas.columns(schemas.RejectedRows) if name != "batch_id"])
REAL_DATA = Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))

RUN = {
    "project": "shop",
    "run_id": "r1",
    "attempt": 1,
    "workflow": "build",
    "event": "push",
    "branch": "main",
    "commit_sha": "abc123",
    "change_id": "pr-7",
    "author_id": "a1",
    "started_at": pd.Timestamp("2026-02-27T10:00:00Z"),
    "finished_at": pd.Timestamp("2026-02-27T10:30:00Z"),
    "status": "failed",
}
RESULT = {
    "project": "shop",
    "run_id": "r1",
    "attempt": 1,
    "variant": "linux",
    "test_id": "CartTest",
    "outcome": "passed",
    "duration_s": 1.5,
    "imputed": False,
}
FILE = {"project": "shop", "run_id": "r1", "path": "src/cart.py", "added": 3, "deleted": 0, "change_source": "git"}
GOOD = {"runs": RUN, "test_results": RESULT, "changed_files": FILE}


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def judge(**frames: pd.DataFrame) -> Validated:
    return validate({"runs": table(RUN), **frames}, NOTHING_REFUSED, BATCH, AS_OF)


def judge_value(name: str, column: str, value: Any) -> Validated:
    frame = table(GOOD[name]).astype(object)
    frame.at[0, column] = value
    return judge(**{name: frame})


def counts(validated: Validated) -> dict[str, int]:
    return {name: len(frame) for name, frame in validated.accepted.items()}


REASONS = [
    ("runs", "project", None, "missing"),
    ("runs", "project", " ", "empty"),
    ("runs", "project", "p" * 81, "unusable_project"),
    ("runs", "project", "ü" * 41, "unusable_project"),
    ("runs", "run_id", "", "empty"),
    ("runs", "run_id", 7, "not_text"),
    ("runs", "run_id", "r\x00", "control_character"),
    ("runs", "branch", "a\nb", "control_character"),
    ("runs", "branch", "x" * 1_001, "too_long"),
    ("runs", "author_id", "\udc80", "not_text"),
    ("runs", "attempt", 0, "out_of_range"),
    ("runs", "attempt", 10_001, "out_of_range"),
    ("runs", "attempt", 1.5, "not_an_integer"),
    ("runs", "attempt", "first", "not_an_integer"),
    ("runs", "attempt", 2**70, "not_an_integer"),
    ("runs", "attempt", None, "missing"),
    ("runs", "started_at", None, "missing"),
    ("runs", "started_at", "yesterday", "not_a_timestamp"),
    ("runs", "started_at", 1_770_000_000, "not_a_timestamp"),
    ("runs", "started_at", pd.Timestamp("1999-12-31T23:59:59Z"), "too_early"),
    ("runs", "finished_at", pd.Timestamp("2026-02-27T09:59:59Z"), "finished_before_started"),
    ("runs", "finished_at", pd.Timestamp("2026-03-02T12:00:01Z"), "in_the_future"),
    ("test_results", "project", "x" * 1_001, "too_long;unusable_project"),
    ("test_results", "test_id", "x" * 10_000, "too_long"),
    ("test_results", "test_id", "two\nlines", "control_character"),
    ("test_results", "test_id", "line\u2028separator", "control_character"),
    ("test_results", "variant", "\t\n", "empty;control_character"),
    ("test_results", "outcome", "exploded", "unknown_outcome"),
    ("test_results", "outcome", None, "missing"),
    ("test_results", "duration_s", -0.1, "negative"),
    ("test_results", "duration_s", 2_592_001.0, "too_large"),
    ("test_results", "duration_s", float("inf"), "not_finite;too_large"),
    ("test_results", "duration_s", float("-inf"), "negative;not_finite"),
    ("test_results", "duration_s", "fast", "not_a_number"),
    ("test_results", "duration_s", [1.0], "not_a_number"),
    ("test_results", "imputed", "no", "not_a_boolean"),
    ("test_results", "imputed", None, "missing"),
    ("test_results", "run_id", "r9", "orphan"),
    ("changed_files", "project", "p" * 81, "unusable_project"),
    ("changed_files", "path", "/etc/passwd", "path_outside_repository"),
    ("changed_files", "path", "C:\\windows", "path_outside_repository"),
    ("changed_files", "path", "src/../../x", "path_outside_repository"),
    ("changed_files", "path", "..", "path_outside_repository"),
    ("changed_files", "added", -1, "negative"),
    ("changed_files", "deleted", -1, "negative"),
    ("changed_files", "added", 0.5, "not_an_integer"),
    ("changed_files", "run_id", "r9", "orphan"),
]


@pytest.mark.parametrize(("name", "column", "value", "reason"), REASONS)
def test_a_bad_value_is_refused_with_its_reason(name: str, column: str, value: object, reason: str) -> None:
    validated = judge_value(name, column, value)
    assert counts(validated)[name] == 0
    line = validated.rejected.iloc[0]
    assert (line["contract"], line["column"], line["reason"]) == (name, column, reason)
    assert len(validated.rejected) == 1


def test_every_reason_code_has_a_row_above_or_a_test_below() -> None:
    tested = {code for *_, reasons in REASONS for code in reasons.split(";")} | {"duplicate_key"}
    declared = set(schemas.TYPE_REASONS) | set(schemas.BATCH_REASONS)
    for name in schemas.KEYS:
        schema = schemas.LAKE_TABLES[name].to_schema()
        declared |= {str(check.name) for column in schema.columns.values() for check in column.checks}
        declared |= {str(check.name) for check in schema.checks}
    assert tested == declared


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("test_results", "test_id", "'; DROP TABLE prediction; --"),
        ("test_results", "test_id", "<script>alert(1)</script>"),
        ("test_results", "test_id", "x" * 1_000),
        ("test_results", "test_id", "тест/試験 [a-b] 🙂"),
        ("test_results", "duration_s", None),
        ("test_results", "duration_s", 2_592_000.0),
        ("test_results", "duration_s", 0),
        ("test_results", "duration_s", "1.25"),
        ("runs", "finished_at", None),
        ("runs", "branch", None),
        ("runs", "attempt", 10_000),
        ("runs", "attempt", 2.0),
        ("changed_files", "path", "a..b/...c"),
        ("changed_files", "added", None),
    ],
)
def test_an_unusual_but_legitimate_value_passes_untouched(name: str, column: str, value: object) -> None:
    validated = judge_value(name, column, value)
    assert len(validated.rejected) == 0
    kept = validated.accepted[name][column].iloc[0]
    assert pd.isna(kept) if value is None else kept == (float(value) if value == "1.25" else value)


def test_a_start_up_to_a_day_after_now_passes_and_a_later_one_does_not() -> None:
    inside, outside = AS_OF + timedelta(days=1), AS_OF + timedelta(days=1, seconds=1)
    rows = [{**RUN, "run_id": str(at), "started_at": pd.Timestamp(at), "finished_at": None} for at in (inside, outside)]
    validated = judge(runs=table(*rows))
    assert validated.accepted["runs"]["run_id"].tolist() == [str(inside)]
    assert validated.rejected["reason"].tolist() == ["in_the_future"]


def test_results_of_a_refused_run_are_orphans_and_those_of_a_known_run_are_not() -> None:
    frames = {
        "runs": table({**RUN, "run_id": "bad", "attempt": 0}),
        "test_results": table({**RESULT, "run_id": "bad"}, {**RESULT, "run_id": "known"}),
        "changed_files": table({**FILE, "run_id": "bad"}, {**FILE, "run_id": "known"}),
    }
    known = table({"project": "shop", "run_id": "known", "attempt": 1})
    validated = validate(frames, NOTHING_REFUSED, BATCH, AS_OF, known)
    assert counts(validated) == {"runs": 0, "test_results": 1, "changed_files": 1}
    assert validated.rejected[["contract", "column", "reason", "value"]].to_numpy().tolist() == [
        ["runs", "attempt", "out_of_range", "0"],
        ["test_results", "run_id", "orphan", "bad"],
        ["changed_files", "run_id", "orphan", "bad"],
    ]


def test_a_run_of_another_project_does_not_count() -> None:
    assert judge(test_results=table({**RESULT, "project": "other"})).rejected["reason"].tolist() == ["orphan"]


def test_a_rerun_within_a_run_is_not_an_orphan() -> None:
    validated = judge(test_results=table({**RESULT, "attempt": 3}))
    assert counts(validated)["test_results"] == 1


@pytest.mark.parametrize(
    ("outcomes", "kept"),
    [
        (["passed", "failed", "skipped"], 1),
        (["skipped", "passed"], 1),
        (["error", "failed"], 0),
        (["failed", "error", "failed"], 0),
        (["passed", "passed"], 0),
    ],
)
def test_of_rows_with_one_key_the_worst_outcome_is_kept_the_first_among_equals(outcomes: list[str], kept: int) -> None:
    rows = [{**RESULT, "outcome": outcome, "duration_s": float(at)} for at, outcome in enumerate(outcomes)]
    validated = judge(test_results=table(*rows))
    assert validated.accepted["test_results"]["duration_s"].tolist() == [float(kept)]
    assert set(validated.rejected["reason"]) == {"duplicate_key"}
    assert len(validated.rejected) == len(rows) - 1


def test_a_refused_row_does_not_push_out_a_good_row_with_the_same_key() -> None:
    rows = [{**RESULT, "outcome": "failed", "duration_s": -1.0}, RESULT]
    validated = judge(test_results=table(*rows))
    assert validated.accepted["test_results"]["outcome"].tolist() == ["passed"]
    assert validated.rejected["reason"].tolist() == ["negative"]


def test_the_first_of_two_equal_runs_and_files_is_kept() -> None:
    validated = judge(runs=table(RUN, {**RUN, "branch": "second"}), changed_files=table(FILE, {**FILE, "added": 99}))
    assert validated.accepted["runs"]["branch"].tolist() == ["main"]
    assert validated.accepted["changed_files"]["added"].tolist() == [3]
    assert validated.rejected["reason"].tolist() == ["duplicate_key", "duplicate_key"]


def test_a_row_with_several_faults_is_one_line_with_all_reasons_in_column_order() -> None:
    row = {**RESULT, "variant": "", "test_id": "a\nb", "outcome": "?", "duration_s": -1.0}
    validated = judge(test_results=table(row))
    line = validated.rejected.iloc[0]
    assert len(validated.rejected) == 1
    assert line["column"] == "variant"
    assert line["value"] == ""
    assert line["reason"] == "empty;control_character;unknown_outcome;negative"


def test_a_reason_that_two_columns_give_is_named_once() -> None:
    validated = judge(changed_files=table({**FILE, "added": -1, "deleted": -1}))
    assert validated.rejected["reason"].tolist() == ["negative"]


def test_a_duplicated_index_drops_no_good_row() -> None:
    rows = [{**RESULT, "test_id": f"T{at}", "duration_s": -1.0 if at == 1 else 1.0} for at in range(4)]
    frame = table(*rows).set_index(pd.Index([5, 5, 5, 5]))
    validated = judge(test_results=frame)
    assert validated.accepted["test_results"]["test_id"].tolist() == ["T0", "T2", "T3"]
    assert validated.accepted["test_results"].index.tolist() == [0, 1, 2]
    assert len(validated.rejected) == 1


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


# --- replay ---


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


# --- whole batches ---


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
    pd.testing.assert_frame_equal(validated.accepted["test_results"], expected)
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


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
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


# --- predictions ---


def good_predictions() -> pd.DataFrame:
    row: dict[str, Any] = {"model": "m", "project": "shop", "change_id": "next", "variant": "v", "test_id": "T"}
    row |= {"score": 0.1, "probability": 0.1, "rank": 1, "decision": "select", "reasons": "[]"}
    return pd.DataFrame([{**row, "as_of": pd.Timestamp(AS_OF)}] * 2).astype({"as_of": "datetime64[us, UTC]"})


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


# --- real histories ---


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
    frames = {name: pd.read_parquet(folder / f"{name}.parquet").assign(project="apache/ozone") for name in schemas.KEYS}
    validated = validate(frames, NOTHING_REFUSED, BATCH, AS_OF)
    assert counts(validated) == expected
    # binary files come as -1 added lines; whoever reads the tables makes them null before
    assert validated.rejected["reason"].unique().tolist() == ["negative"]
