"""What holds for every dialect: nothing but typed refusals, what was written is read, a cut keeps what came before."""

import json
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.sources.reports import DIALECTS, JSON_DIALECTS, ReportRows, read_report, told_apart
from tests.fuzz.targets import REASONS, check_report
from tests.report_samples import SAMPLES

pytestmark = pytest.mark.slow

MAX_BYTES = 1_000_000
TAGS = sorted(
    {"failure", "error", "skipped", "flakyFailure", "rerunError", "status", "test", "class", "Results", "value"}
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip())
)
OUTCOMES = st.sampled_from(["passed", "failed", "error", "skipped"])
SECONDS = st.integers(0, 10**7).map(lambda number: number / 1_000)
CASES = st.lists(st.tuples(NAMES, NAMES, OUTCOMES, SECONDS), min_size=1, max_size=15)
Case = tuple[str, str, str, float]


def rows(found: ReportRows) -> list[tuple[str, str]]:
    return list(zip(found.test_ids, found.outcomes, strict=True))


def test_there_is_a_sample_for_every_root() -> None:
    roots = {dialect.root for dialect in DIALECTS} | set(JSON_DIALECTS)
    assert {name.partition(" ")[0] for name in SAMPLES} == roots


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_read_without_a_refusal(name: str) -> None:
    found = check_report(SAMPLES[name].encode())
    assert found.test_ids
    assert found.refused == []


@pytest.mark.parametrize("name", SAMPLES)
def test_a_report_that_is_cut_at_any_byte_keeps_the_rows_before_the_cut_and_says_so(name: str) -> None:
    content = SAMPLES[name].encode()
    whole = rows(read_report(content, MAX_BYTES))
    for size in range(len(content)):
        cut = check_report(content[:size])
        assert rows(cut) == whole[: len(cut.test_ids)], size
        assert cut.refused, size


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_known_reason(payload: bytes) -> None:
    assert check_report(payload).refused


@given(st.sampled_from(list(SAMPLES)), st.integers(0, 10**4), st.binary(max_size=8), st.integers(0, 30))
def test_a_damaged_report_gives_rows_or_known_reasons(name: str, at: int, inserted: bytes, removed: int) -> None:
    content = SAMPLES[name].encode()
    at %= len(content)
    found = check_report(content[:at] + inserted + content[at + removed :])
    assert found.refused or found.test_ids


@st.composite
def trees(draw: st.DrawFn) -> str:
    """Well-formed XML of the dialects' own elements and attributes in places where they make no sense."""
    names = st.sampled_from([*TAGS, *(dialect.root for dialect in DIALECTS), "testcase", "test-case", "TestSuite"])
    values = st.sampled_from(["", "PASS", "Passed", "1", "true", "a.b(c.d)", "N/A"])
    keys = st.sampled_from(
        ["name", "status", "result", "classname", "time", "testName", "outcome", "duration", "retried"]
    )

    def element(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        parts = st.tuples(names, st.dictionaries(keys, values, max_size=4), st.lists(children, max_size=4))
        return parts.map(
            lambda part: (
                f"<{part[0]}{''.join(f' {key}={quoteattr(value)}' for key, value in part[1].items())}>"
                f"{''.join(part[2])}</{part[0]}>"
            )
        )

    root = draw(st.sampled_from([dialect.root for dialect in DIALECTS]))
    inner = draw(st.recursive(values.map(escape), element, max_leaves=12))
    return f"<{root}>{inner}</{root}>"


@given(trees())
def test_elements_in_the_wrong_place_give_rows_or_known_reasons(report: str) -> None:
    check_report(report.encode())


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["name", "status", "duration", "suite", "retries", "retryAttempts", "attempt"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=15,
    )
)
def test_json_of_any_shape_gives_rows_or_known_reasons(value: Any) -> None:
    check_report(json.dumps({"results": {"tests": value}}).encode())
    check_report(
        json.dumps({"results": {"tests": [value, {"name": "a", "status": "passed", "suite": value}]}}).encode()
    )


def as_junit(cases: list[Case]) -> str:
    marks = {"passed": "", "failed": "<failure/>", "error": "<error/>", "skipped": "<skipped/>"}
    lines = (
        f"<testcase classname={quoteattr(group)} name={quoteattr(name)} time='{seconds}'>{marks[outcome]}</testcase>"
        for group, name, outcome, seconds in cases
    )
    return f"<testsuite>{''.join(lines)}</testsuite>"


def as_ctrf(cases: list[Case]) -> str:
    tests = [
        {"name": name, "suite": [group], "status": outcome, "duration": round(seconds * 1_000)}
        for group, name, outcome, seconds in cases
        if outcome != "error"
    ]
    return json.dumps({"results": {"tests": tests}}, ensure_ascii=False)


@given(CASES)
def test_what_was_written_as_junit_xml_is_read(cases: list[Case]) -> None:
    found = read_report(as_junit(cases).encode(), MAX_BYTES)
    assert found.refused == []
    assert rows(found) == [(f"{group}::{name}", outcome) for group, name, outcome, _ in cases]
    assert found.durations == [seconds for *_, seconds in cases]


@given(CASES)
def test_what_was_written_as_ctrf_is_read(cases: list[Case]) -> None:
    kept = [case for case in cases if case[2] != "error"]
    found = read_report(as_ctrf(cases).encode(), MAX_BYTES)
    assert [refusal.reason for refusal in found.refused] == ([] if kept else ["no_tests"])
    assert rows(found) == [(f"{group}::{name}", outcome) for group, name, outcome, _ in kept]
    assert found.durations == pytest.approx([seconds for *_, seconds in kept])


@given(st.lists(st.tuples(st.sampled_from("ab"), OUTCOMES), max_size=12))
def test_no_two_executions_share_name_and_number(cases: list[tuple[str, str]]) -> None:
    found = read_report(as_junit([("C", name, outcome, 0.0) for name, outcome in cases]).encode(), MAX_BYTES)
    named, executions = told_apart(found)
    assert len(set(zip(named, executions, strict=True))) == len(cases)
    assert [name.partition(" #")[0] for name in named] == found.test_ids


def test_every_reason_is_documented() -> None:
    documented = read_report.__doc__ or ""
    assert {reason for reason in REASONS if f"`{reason}`" not in documented} == set()
