import math
from collections import Counter

import pytest

from ml.sources.reports import ReportRows, read_report, told_apart

MAX_BYTES = 1_000_000


def rows_of(report: str) -> list[tuple[str, str]]:
    rows = read_report(report.encode(), MAX_BYTES)
    assert rows.refused == []
    return list(zip(rows.test_ids, rows.outcomes, strict=True))


def suite(cases: str) -> str:
    return f'<testsuite name="Suite">{cases}</testsuite>'


def one(case: str) -> ReportRows:
    return read_report(suite(case).encode(), MAX_BYTES)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("", "passed"),
        ("<failure message='no'/>", "failed"),
        ("<error type='E'>trace</error>", "error"),
        ("<skipped/>", "skipped"),
        ("<failure/><error/>", "failed"),
        ("<skipped/><failure/>", "failed"),
        ("<system-out>said <failure/> once</system-out>", "passed"),
        ("<properties><property name='a' value='b'/></properties>", "passed"),
    ],
)
def test_the_outcome_comes_from_what_stands_directly_in_the_case(body: str, outcome: str) -> None:
    assert rows_of(suite(f'<testcase classname="C" name="t">{body}</testcase>')) == [("C::t", outcome)]


@pytest.mark.parametrize(
    ("body", "outcomes", "verdict"),
    [
        ("<flakyFailure/>", ["failed", "passed"], "passed"),
        ("<flakyError/><flakyFailure/>", ["error", "failed", "passed"], "passed"),
        ("<failure/><rerunFailure/>", ["failed", "failed"], "failed"),
        ("<error/><rerunFailure/><rerunError/>", ["error", "failed", "error"], "error"),
        ("<failure/><flakyError/>", ["error", "failed"], "failed"),
        ("<rerunError/><rerunFailure/>", ["error", "failed"], "error"),
        ("<system-out><flakyFailure/></system-out>", ["passed"], "passed"),
    ],
)
def test_each_execution_of_a_case_is_a_row_in_the_order_in_which_they_ran(
    body: str, outcomes: list[str], verdict: str
) -> None:
    rows = one(f'<testcase name="t" time="2">{body}</testcase><testcase name="next"/>')
    assert rows.test_ids == ["Suite::t"] * len(outcomes) + ["Suite::next"]
    assert rows.outcomes == [*outcomes, "passed"]
    assert rows.tally() == Counter([verdict, "passed"])
    named, executions = told_apart(rows)
    assert named == rows.test_ids
    assert executions == [*range(1, len(outcomes) + 1), 1]


def test_an_execution_has_the_time_that_its_own_element_gives() -> None:
    rows = one('<testcase name="t" time="2"><flakyFailure time="0.5"/><flakyError/></testcase>')
    assert rows.durations[::2] == [0.5, 2.0]
    assert math.isnan(rows.durations[1])


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ('status="run"', "passed"),
        ('status="notrun"', "skipped"),
        ('status="run" result="completed"', "passed"),
        ('status="run" result="suppressed"', "skipped"),
        ('result="skipped"', "skipped"),
        ('status="disabled"', "skipped"),
    ],
)
def test_a_status_attribute_can_say_that_a_case_did_not_run(attributes: str, outcome: str) -> None:
    assert rows_of(suite(f'<testcase classname="C" name="t" {attributes}/>')) == [("C::t", outcome)]


def test_a_failing_case_stays_failed_whatever_its_status_says() -> None:
    case = '<testcase classname="C" name="t" status="disabled"><failure/></testcase>'
    assert rows_of(suite(case)) == [("C::t", "failed")]


def test_suites_nest_and_the_nearest_named_one_stands_in_for_a_missing_class() -> None:
    report = """<testsuites>
      <testsuite name="outer">
        <testsuite name="inner"><testcase name="a"/><testsuite name=" "><testcase name="b"/></testsuite></testsuite>
        <testcase classname="" name="c"/>
      </testsuite>
      <testsuite><testcase name="d"/><testcase classname="K" name="e"/></testsuite>
    </testsuites>"""
    assert [test_id for test_id, _ in rows_of(report)] == ["inner::a", "inner::b", "outer::c", "d", "K::e"]


def test_a_namespace_does_not_hide_the_cases() -> None:
    report = '<testsuite xmlns="urn:x" name="S"><testcase name="a"><skipped/></testcase></testsuite>'
    assert rows_of(report) == [("S::a", "skipped")]


def test_a_case_listed_twice_gives_two_rows_in_order() -> None:
    cases = '<testcase classname="C" name="t"><failure/></testcase><testcase classname="C" name="t"/>'
    assert rows_of(suite(cases)) == [("C::t", "failed"), ("C::t", "passed")]


def test_a_case_inside_a_case_loses_neither() -> None:
    cases = '<testcase name="out"><failure/><testcase name="in"><skipped/></testcase></testcase>'
    assert rows_of(suite(cases)) == [("Suite::in", "skipped"), ("Suite::out", "failed")]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("0.25", 0.25),
        ("-1", -1.0),
        ("1e99", 1e99),
        ("1,234.5", 1234.5),
        ("12,345,678", 12345678.0),
        ("1,234", 1234.0),
        ("0,014", 0.014),
        ("35,5236617", 35.5236617),
    ],
)
def test_a_number_is_read_and_its_range_left_to_the_contract(time: str, seconds: float) -> None:
    assert one(f'<testcase name="t" time="{time}"/>').durations == [seconds]


@pytest.mark.parametrize("attribute", ["", 'time=""', 'time="  "'])
def test_an_absent_time_is_no_number_and_no_refusal(attribute: str) -> None:
    rows = one(f'<testcase name="t" {attribute}/>')
    assert math.isnan(rows.durations[0])
    assert rows.refused == []


@pytest.mark.parametrize("time", ["NaN", "inf", "-Infinity", "fast", "1_000", ",5", "1.5s", "1,23,456"])
def test_a_time_that_is_no_finite_number_is_told_and_the_outcome_kept(time: str) -> None:
    rows = one(f'<testcase classname="C" name="t" time="{time}"><failure/></testcase><testcase name="good"/>')
    assert (rows.test_ids, rows.outcomes) == (["C::t", "Suite::good"], ["failed", "passed"])
    assert math.isnan(rows.durations[0])
    (refusal,) = rows.refused
    assert (refusal.reason, refusal.column, refusal.value) == ("not_a_number", "duration_s", time)
    assert refusal.row == f'{{"name": "C::t", "time": "{time}"}}'


@pytest.mark.parametrize("attribute", ["", 'name=""', 'name=" "'])
def test_a_case_without_a_name_has_that_of_its_class(attribute: str) -> None:
    rows = one(f'<testcase classname="C" {attribute}><error/></testcase>')
    assert (rows.test_ids, rows.outcomes, rows.refused) == (["C"], ["error"], [])


@pytest.mark.parametrize("attribute", ["", 'name=""', 'name=" " classname=" "'])
def test_a_case_without_name_and_class_is_refused_and_its_neighbour_kept(attribute: str) -> None:
    rows = one(f'<testcase {attribute}/><testcase name="good"/>')
    assert rows.test_ids == ["Suite::good"]
    assert [refusal.reason for refusal in rows.refused] == ["missing_name"]


def test_a_huge_name_is_cut_to_a_length_that_the_contract_still_refuses() -> None:
    (test_id,) = one(f'<testcase classname="C" name="{"n" * 100_000}"/>').test_ids
    assert len(test_id) == 4_000


def test_hostile_characters_in_a_name_are_data() -> None:
    case = '<testcase classname="&lt;script&gt;" name="a&#10;&apos;; DROP TABLE runs; --"/>'
    assert rows_of(suite(case)) == [("<script>::a\n'; DROP TABLE runs; --", "passed")]
