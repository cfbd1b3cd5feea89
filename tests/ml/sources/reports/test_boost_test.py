import pytest

from tests.report_builders import reasons, rows_of


def log(cases: str) -> str:
    return f'<TestLog><TestSuite name="Master"><TestSuite name="cart">{cases}</TestSuite></TestSuite></TestLog>'


@pytest.mark.parametrize(
    ("marks", "outcome"),
    [
        ("<Info>fine</Info><Message/><Warning/>", "passed"),
        ("<Error>1 != 2</Error>", "failed"),
        ("<FatalError/>", "error"),
        ("<Exception>no<LastCheckpoint/></Exception>", "error"),
        ("<FatalError/><Error/>", "error"),
        ("<Error/><Exception/>", "error"),
    ],
)
def test_the_log_says_what_happened_in_a_case(marks: str, outcome: str) -> None:
    case = f'<TestCase name="pays">{marks}<TestingTime>1500000</TestingTime></TestCase>'
    assert rows_of(log(case)) == [("Master/cart::pays", outcome, 1.5)]


def test_a_case_can_be_skipped() -> None:
    assert rows_of(log('<TestCase name="pays" skipped="yes" reason="disabled"/>')) == [
        ("Master/cart::pays", "skipped", None)
    ]


def test_a_case_that_registers_suites_is_counted_with_theirs() -> None:
    inner = '<TestSuite name="rows"><TestCase name="one"><Error/></TestCase></TestSuite>'
    case = f'<TestCase name="all">{inner}<TestingTime>10</TestingTime></TestCase>'
    assert rows_of(log(case)) == [("Master/cart/rows::one", "failed", None), ("Master/cart::all", "passed", 1e-05)]


def test_the_detailed_report_names_a_result() -> None:
    cases = "".join(
        f'<TestCase name="{result}" result="{result}"/>' for result in ("passed", "failed", "aborted", "skipped")
    )
    report = f'<TestResult><TestSuite name="cart" result="failed">{cases}</TestSuite></TestResult>'
    assert [outcome for _, outcome, _ in rows_of(report)] == ["passed", "failed", "error", "skipped"]
    assert reasons(report.replace("aborted", "lost")) == ["unknown_outcome"]
