"""The order of execution as reports tell it: places of first executions, reports apart, nothing where it is lost."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ml.sources.case_report import Case, Suite, write_report
from ml.sources.frames import RowsOfRuns
from ml.sources.reports import ReportRows, read_report
from ml.spec import Outcome
from tests.history_builders import write_run
from tests.ml.sources.junit_builders import collect

GO = '<properties><property name="go.version" value="go1.22 linux/amd64"/></properties>'
RUN = {"project": "p", "run_id": "r", "attempt": 1}


def read(text: str) -> ReportRows:
    rows = read_report(text.encode(), 1_000_000)
    assert not rows.refused
    return rows


def positions(*reports: str, variants: str = "vvvvvv") -> list[tuple[str, int | None]]:
    """(test, position) of each row, in order; each report of the variant with the letter of its place."""
    rows = RowsOfRuns("p")
    for variant, text in zip(variants, reports, strict=False):
        rows.add_report(RUN, variant, read(text))
    found = rows.to_parsed().frames["test_results"]
    assert str(found["position"].dtype) == "Int64"
    return [
        (name, None if pd.isna(place) else int(place))
        for name, place in zip(found["test_id"], found["position"], strict=True)
    ]


def suite(*cases: str, inside: str = "", name: str = "") -> str:
    return f'<testsuite name="{name}">{inside}{"".join(cases)}</testsuite>'


def case(name: str, inside: str = "") -> str:
    return f'<testcase name="{name}">{inside}</testcase>'


def test_cases_count_in_document_order_and_skipped_ones_have_no_place() -> None:
    report = suite(case("b"), case("x", "<skipped/>"), case("a", "<failure/>"), case("c"))
    assert positions(report) == [("b", 1), ("x", None), ("a", 2), ("c", 3)]


def test_only_the_first_execution_of_a_test_has_a_place() -> None:
    again = suite(
        case("a", "<flakyFailure/>"),
        case("b", "<failure/><rerunFailure/>"),
        case("c", "<failure/>"),
        case("c"),
        case("d"),
    )
    assert positions(again) == [("a", 1), ("a", None), ("b", 2), ("b", None), ("c", 3), ("c", None), ("d", 4)]


def test_a_gap_parts_the_reports_of_a_variant() -> None:
    one, two = suite(case("a"), case("b")), suite(case("c"), case("x", "<skipped/>"))
    assert positions(one, two, one) == [("a", 1), ("b", 2), ("c", 4), ("x", None), ("a", 6), ("b", 7)]
    assert positions(one, two, variants="vw") == [("a", 1), ("b", 2), ("c", 1), ("x", None)]


def test_attempts_count_on_their_own() -> None:
    rows = RowsOfRuns("p")
    for attempt in (1, 2, 1):
        rows.add_report({**RUN, "attempt": attempt}, "v", read(suite(case("a"))))
    assert rows.to_parsed().frames["test_results"]["position"].tolist() == [1, 1, 3]


def test_a_report_that_lists_failed_tests_first_tells_no_order() -> None:
    sorted_by_outcome = suite(case("b", "<failure/>"), case("a"), inside=GO)
    assert positions(sorted_by_outcome) == [("b", None), ("a", None)]
    assert positions(sorted_by_outcome, suite(case("c")), variants="vv")[-1][1] is not None


def test_other_properties_leave_the_order() -> None:
    assert positions(suite(case("a"), inside=GO.replace("go.", "java."))) == [("a", 1)]


@pytest.mark.parametrize("keeps_order", [True, False])
def test_cases_of_a_server_have_places_where_it_tells_them_in_order(tmp_path: Path, keeps_order: bool) -> None:
    cases = [Case("S", name, 1, Outcome.PASSED) for name in "ab"]
    path, _ = write_report(tmp_path, 1, [Suite("", cases, keeps_order)], 1_000_000)
    assert path is not None
    found = positions((tmp_path / path).read_text("utf-8"))
    assert [place for _, place in found] == ([1, 2] if keeps_order else [None, None])


CTRF = {
    "results": {
        "tests": [
            {"name": "b", "status": "passed"},
            {"name": "x", "status": "skipped"},
            {"name": "a", "status": "passed", "retries": 1},
            {"name": "c", "status": "failed"},
        ]
    }
}
NUNIT = (
    '<test-run><test-case fullname="C.a" name="a" result="Passed"/><test-case fullname="C.b" name="b" result="Failed"/>'
)
XUNIT = (
    '<assemblies><assembly><collection><test type="C" name="b" result="Pass"/><test type="C" name="a" result="Fail"/>'
)
TESTNG = (
    '<testng-results><suite><test><class name="C"><test-method name="b" status="PASS"/>'
    '<test-method name="a" status="FAIL"/></class></test></suite></testng-results>'
)
TRX = (
    '<TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010"><Results>'
    '<UnitTestResult testId="1" testName="b" outcome="Passed"/></Results></TestRun>'
)
CPPUNIT = (
    "<TestRun><FailedTests><FailedTest><Name>C::b</Name></FailedTest></FailedTests>"
    "<SuccessfulTests><Test><Name>C::a</Name></Test></SuccessfulTests></TestRun>"
)
ROBOT = (
    '<robot><suite name="S"><test name="b"><status status="PASS"/></test>'
    '<test name="a"><status status="FAIL"/></test></suite></robot>'
)
BOOST = '<TestLog><TestSuite name="S"><TestCase name="b"/><TestCase name="a"><Error/></TestCase></TestSuite></TestLog>'
QTEST = (
    '<TestCase name="C"><TestFunction name="b"><Incident type="pass"/></TestFunction>'
    '<TestFunction name="a"><Incident type="fail"/></TestFunction></TestCase>'
)


@pytest.mark.parametrize(
    ("report", "places"),
    [
        (json.dumps(CTRF), [1, None, 2, None, 3]),
        (f"{NUNIT}</test-run>", [1, 2]),
        (f"{XUNIT}</collection></assembly></assemblies>", [1, 2]),
        (TESTNG, [1, 2]),
        (ROBOT, [1, 2]),
        (BOOST, [1, 2]),
        (QTEST, [1, 2]),
        (TRX, [None]),
        (CPPUNIT, [None, None]),
    ],
    ids=["ctrf", "nunit", "xunit", "testng", "robot", "boost", "qtest", "trx", "cppunit"],
)
def test_dialects_tell_the_order_unless_they_sort_by_something_else(report: str, places: list[int | None]) -> None:
    assert [place for _, place in positions(report)] == places


def test_files_of_a_variant_are_counted_in_the_order_of_their_names(tmp_path: Path) -> None:
    run = write_run(tmp_path / "history" / "r1", "r1", "2026-01-01T00:00:00Z")
    for name, tests in (("b", "xy"), ("a", "uv")):
        (run / f"{name}.xml").write_text(suite(*map(case, tests)), encoding="utf-8")
    found = collect(tmp_path / "history").frames["test_results"]
    assert dict(zip(found["test_id"], found["position"], strict=True)) == {"u": 1, "v": 2, "x": 4, "y": 5}
