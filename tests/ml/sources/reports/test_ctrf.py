import json
import math
from typing import Any

import pytest

from ml.sources.reports import told_apart
from ml.sources.reports.ctrf import announces_ctrf
from tests.report_builders import read, reasons, rows_of


def report(*tests: dict[str, Any], **more: Any) -> str:
    results = {"tool": {"name": "jest"}, "summary": {"tests": len(tests)}, "tests": tests, **more}
    return json.dumps({"reportFormat": "CTRF", "specVersion": "1.0.0", "results": results})


def case(name: str = "pays", status: str = "passed", **more: Any) -> dict[str, Any]:
    return {"name": name, "status": status, "duration": 250, **more}


@pytest.mark.parametrize(
    ("status", "raw", "outcome"),
    [
        ("passed", None, "passed"),
        ("failed", "timedOut", "failed"),
        ("skipped", None, "skipped"),
        ("pending", None, "skipped"),
        ("other", "todo", "skipped"),
        ("other", "timedOut", "error"),
    ],
)
def test_statuses(status: str, raw: str | None, outcome: str) -> None:
    assert rows_of(report(case(status=status, rawStatus=raw))) == [("pays", outcome, 0.25)]


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"suite": ["cart", "cash"]}, "cart > cash::pays"),
        ({"suite": "cart > cash"}, "cart > cash::pays"),
        ({"filePath": "tests/cart.ts"}, "tests/cart.ts::pays"),
        ({"filePath": "/home/me/cart.ts"}, "pays"),
        ({"filePath": "C:\\cart.ts"}, "pays"),
        (
            {
                "suite": ["cart"],
                "filePath": "cart.ts",
                "browser": "chrome",
                "steps": [{"name": "x", "status": "failed"}],
            },
            "cart::pays",
        ),
    ],
)
def test_names(more: dict[str, Any], name: str) -> None:
    assert rows_of(report(case(**more))) == [(name, "passed", 0.25)]


def attempts(*statuses: str) -> list[dict[str, Any]]:
    return [{"attempt": number, "status": status, "duration": 10} for number, status in enumerate(statuses, 1)]


@pytest.mark.parametrize(
    ("status", "more", "outcomes"),
    [
        ("passed", {"retries": 2, "flaky": True}, ["failed", "failed", "passed"]),
        ("passed", {"retries": 1, "retryAttempts": attempts("failed")}, ["failed", "passed"]),
        ("passed", {"retries": 1, "retryAttempts": attempts("failed", "passed")}, ["failed", "passed"]),
        ("passed", {"retryAttempts": attempts("failed", "passed")}, ["failed", "passed"]),
        ("failed", {"retries": 1, "retryAttempts": attempts("failed", "failed")}, ["failed", "failed"]),
        ("failed", {"retries": 2, "retryAttempts": attempts("failed", "failed")}, ["failed"] * 3),
        ("passed", {"retries": 0, "retryAttempts": []}, ["passed"]),
        ("passed", {"retries": "many"}, ["passed"]),
    ],
)
def test_retries_are_executions_before_the_final_one(status: str, more: dict[str, Any], outcomes: list[str]) -> None:
    rows = read(report(case(status=status, **more), case("ships")))
    assert rows.outcomes == [*outcomes, "passed"]
    assert told_apart(rows)[1] == [*range(1, len(outcomes) + 1), 1]
    assert rows.tally().total() == 2


def test_attempts_are_put_in_order_and_bounded() -> None:
    unordered = [{"attempt": 2, "status": "skipped"}, {"attempt": 1, "status": "failed"}]
    assert read(report(case(retries=2, retryAttempts=unordered))).outcomes == ["failed", "skipped", "passed"]
    assert len(read(report(case(retries=10**9))).test_ids) == 100
    assert len(read(report(case(retries=500, retryAttempts=attempts(*["failed"] * 500)))).test_ids) == 100


@pytest.mark.parametrize("duration", ["fast", True, "12", 10**400])
def test_a_duration_that_is_no_number_is_told_and_the_outcome_kept(duration: object) -> None:
    rows = read(report(case(duration=duration)))
    assert rows.outcomes == ["passed"]
    assert math.isnan(rows.durations[0])
    assert [refusal.reason for refusal in rows.refused] == ["not_a_number"]


def test_what_is_no_test_is_refused_by_itself() -> None:
    assert reasons(report(case(status="maybe"), case(" "), {"status": "passed"}, case())) == [
        "unknown_outcome",
        "missing_name",
        "missing_name",
    ]
    assert rows_of(report("noise", 7, None, [case()], case())) == [("pays", "passed", 0.25)]


def test_a_cut_report_keeps_the_tests_before_the_cut() -> None:
    whole = report(case("a"), case("b"), case("c"))
    rows = read(whole[: whole.index('"c"') + 8])
    assert rows.test_ids == ["a", "b"]
    assert [refusal.reason for refusal in rows.refused] == ["truncated_json"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"results": {"tests": [' + "[" * 5_000, "too_deep"),
        ('{"results": {"tests": [{"name": ' + "9" * 5_000 + "}]}}", "value_too_large"),
        ('{"results": {"tests": [}', "malformed_json"),
        ('{"results": {"tests": []}} x', "malformed_json"),
        ('{"results": {"tests": []}}', "no_tests"),
        ('{"results": {"tests": {}}}', "unknown_dialect"),
        ('{"results": NaN}', "malformed_json"),
        ("{", "truncated_json"),
    ],
)
def test_hostile_json_is_refused_with_a_reason(text: str, reason: str) -> None:
    assert reasons(text) == [reason]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert rows_of("\ufeff" + report(case())) == [("pays", "passed", 0.25)]


def test_only_json_that_says_so_is_a_report() -> None:
    assert announces_ctrf(report(case()).encode())
    assert announces_ctrf(b'{"results": {"tool": {}}}')
    assert not announces_ctrf(b'{"results": [1]}')
    assert not announces_ctrf(b'{"name": "package"}')
