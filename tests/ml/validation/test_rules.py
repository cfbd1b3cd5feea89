"""Each rule refuses what it names, by its reason code, and nothing else."""

from datetime import timedelta

import pandas as pd
import pytest

from ml import schemas
from ml.validation import validate
from tests.ml.validation.validation_builders import (
    AS_OF,
    BATCH,
    FILE,
    NOTHING_REFUSED,
    RESULT,
    RUN,
    counts,
    judge,
    judge_value,
    table,
)

REASONS = [
    ("runs", "project", None, "missing"),
    ("runs", "project", " ", "empty"),
    ("runs", "project", "p" * 81, "unusable_project"),
    ("runs", "project", "ü" * 41, "unusable_project"),
    ("runs", "project", "*", "unusable_project"),
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
    ("test_results", "failure_kind", "bad luck", "unknown_kind"),
    ("test_results", "failure_fingerprint", "\n", "empty;control_character"),
    ("test_results", "position", 0, "out_of_range"),
    ("test_results", "position", -3, "out_of_range"),
    ("test_results", "position", 1.5, "not_an_integer"),
    ("test_results", "run_id", "r9", "orphan"),
    ("changed_files", "project", "p" * 81, "unusable_project"),
    ("changed_files", "project", "*", "unusable_project"),
    ("changed_files", "path", "/etc/passwd", "path_outside_repository"),
    ("changed_files", "path", "C:\\windows", "path_outside_repository"),
    ("changed_files", "path", "src/../../x", "path_outside_repository"),
    ("changed_files", "path", "..", "path_outside_repository"),
    ("changed_files", "added", -1, "negative"),
    ("changed_files", "deleted", -1, "negative"),
    ("changed_files", "added", 0.5, "not_an_integer"),
    ("changed_files", "run_id", "r9", "orphan"),
    ("commits", "commit_sha", None, "missing"),
    ("commits", "commit_sha", "", "empty"),
    ("commits", "committed_at", None, "missing"),
    ("commits", "committed_at", pd.Timestamp("1970-01-01T00:00:00Z"), "too_early"),
    ("commits", "committed_at", pd.Timestamp("2026-03-02T12:00:01Z"), "in_the_future"),
    ("commits", "parent_count", -1, "negative"),
    ("commits", "file_count", None, "missing"),
    ("commits", "added", -1, "negative"),
    ("commits", "deleted", 2**70, "not_an_integer"),
    ("commits", "subject", "two\nlines", "control_character"),
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
