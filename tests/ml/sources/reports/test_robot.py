import pytest

from tests.report_builders import reasons, rows_of

STAMPS = 'starttime="20260301 08:15:00.000" endtime="20260301 08:15:01.500"'


def output(status: str, keywords: str = "") -> str:
    test = f'<test id="s1-s1-t1" name="Pays">{keywords}{status}</test>'
    inner = f'<suite id="s1-s1" name="Cart">{test}<status status="FAIL"/></suite>'
    return f'<robot generator="Robot 7"><suite id="s1" name="Shop">{inner}<status status="FAIL"/></suite></robot>'


@pytest.mark.parametrize(
    ("status", "outcome"), [("PASS", "passed"), ("FAIL", "failed"), ("SKIP", "skipped"), ("NOT RUN", "skipped")]
)
def test_statuses(status: str, outcome: str) -> None:
    assert rows_of(output(f'<status status="{status}" {STAMPS}>why</status>')) == [("Shop.Cart::Pays", outcome, 1.5)]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [('start="2026-03-01T08:15:00" elapsed="0.25"', 0.25), ('starttime="N/A" endtime="N/A"', None), ("", None)],
)
def test_durations(times: str, seconds: float | None) -> None:
    assert rows_of(output(f'<status status="PASS" {times}/>')) == [("Shop.Cart::Pays", "passed", seconds)]


def test_the_status_of_a_keyword_is_not_that_of_the_test() -> None:
    keywords = '<kw name="Pay"><kw name="Try"><status status="FAIL"/></kw><status status="FAIL"/></kw>'
    assert rows_of(output('<status status="PASS"/>', keywords)) == [("Shop.Cart::Pays", "passed", None)]


def test_keywords_may_nest_deeper_than_suites_do_but_not_without_end() -> None:
    assert rows_of(output('<status status="PASS"/>', "<kw>" * 150 + "</kw>" * 150))[0][1] == "passed"
    assert reasons(output('<status status="PASS"/>', "<kw>" * 250 + "</kw>" * 250)) == ["too_deep"]


def test_a_test_without_a_status_is_refused() -> None:
    assert reasons(output("")) == ["unknown_outcome"]
