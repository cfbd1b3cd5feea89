import pytest

from ml.sources.reports import told_apart
from ml.sources.reports.rows import ReportRows, Retried
from tests.report_builders import read


def suite(*outcomes: str, name: str = "S", attributes: str = "") -> str:
    """A suite that lists the case C::t once per outcome; p, f, e and s stand for the four of them."""
    marks = {"p": "", "f": "<failure/>", "e": "<error/>", "s": "<skipped/>"}
    cases = "".join(f'<testcase classname="C" name="t">{marks[outcome]}</testcase>' for outcome in outcomes)
    return f'<testsuite name="{name}" {attributes}>{cases}</testsuite>'


def named(report: str) -> list[tuple[str, int]]:
    return list(zip(*told_apart(read(report)), strict=True))


@pytest.mark.parametrize("outcomes", ["fp", "ff", "efp", "fs", "fffe"])
def test_failures_before_the_last_one_are_executions_of_one_test(outcomes: str) -> None:
    assert named(suite(*outcomes)) == [("C::t", number) for number in range(1, len(outcomes) + 1)]


@pytest.mark.parametrize("outcomes", ["pp", "pf", "fpp", "sf", "pfpp"])
def test_what_goes_on_after_a_pass_are_several_tests_of_one_name(outcomes: str) -> None:
    names = ["C::t", *(f"C::t #{ordinal}" for ordinal in range(2, len(outcomes) + 1))]
    assert named(suite(*outcomes)) == [(name, 1) for name in names]


def test_parametrised_names_are_never_reruns() -> None:
    cases = "".join(f'<testcase classname="C" name="t[{value}]"><failure/></testcase>' for value in (1, 2))
    assert named(f"<testsuite>{cases}</testsuite>") == [("C::t[1]", 1), ("C::t[2]", 1)]


def test_surefire_never_repeats_a_case_for_a_rerun() -> None:
    schema = "https://maven.apache.org/surefire/maven-surefire-plugin/xsd/surefire-test-report-3.0.xsd"
    xsi = "http://www.w3.org/2001/XMLSchema-instance"
    attributes = f'xmlns:xsi="{xsi}" xsi:noNamespaceSchemaLocation="{schema}"'
    assert named(suite("f", "p", attributes=attributes)) == [("C::t", 1), ("C::t #2", 1)]


@pytest.mark.parametrize(
    ("first", "second"),
    [(suite("f", name="A"), suite("p", name="B")), (suite("f"), suite("p", attributes='hostname="x"'))],
)
def test_another_suite_or_browser_is_another_test(first: str, second: str) -> None:
    assert named(f"<testsuites>{first}{second}</testsuites>") == [("C::t", 1), ("C::t #2", 1)]


def test_a_suite_that_comes_again_is_the_same_suite() -> None:
    assert named(f"<testsuites>{suite('f')}{suite('p')}</testsuites>") == [("C::t", 1), ("C::t", 2)]


def test_the_name_of_a_suite_stands_in_for_the_class_so_that_equal_cases_differ() -> None:
    suites = "".join(f'<testsuite name="{name}"><testcase classname="" name="t"/></testsuite>' for name in "AB")
    assert named(f"<testsuites>{suites}</testsuites>") == [("A::t", 1), ("B::t", 1)]


def test_executions_that_a_report_names_stay_together_when_the_case_comes_again() -> None:
    case = '<testcase classname="C" name="t"><flakyFailure/></testcase>'
    assert named(f"<testsuite>{case}{case}</testsuite>") == [("C::t", 1), ("C::t", 2), ("C::t #2", 1), ("C::t #2", 2)]


def test_other_dialects_have_no_reruns_by_repetition() -> None:
    rows = ReportRows()
    for outcome in ("failed", "passed"):
        rows.add("t", outcome)
    assert told_apart(rows) == (["t", "t #2"], [1, 1])


def test_retried_rows_are_one_test_in_any_dialect() -> None:
    rows = ReportRows(retried=[Retried(1, 3, 2)])
    for name in ("a", "t", "t", "b"):
        rows.add(name, "failed")
    assert told_apart(rows) == (["a", "t", "t", "b"], [1, 1, 2, 1])
