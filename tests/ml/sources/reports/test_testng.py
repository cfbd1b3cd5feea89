import pytest

from ml.sources.reports import told_apart
from tests.report_builders import read, reasons, rows_of


def report(*methods: str, cut: int = 0) -> str:
    head = '<testng-results total="9"><reporter-output/><suite name="All"><groups/><test name="chrome">'
    tail = "</class></test></suite></testng-results>"
    return f'{head}<class name="shop.Cart">{"".join(methods)}{tail[: len(tail) - cut]}'


def method(name: str, status: str = "PASS", more: str = "", values: str = "") -> str:
    return f'<test-method name="{name}" status="{status}" duration-ms="250" {more}>{values}</test-method>'


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("PASS", "passed"), ("FAIL", "failed"), ("SKIP", "skipped"), ("SUCCESS_PERCENTAGE_FAILURE", "passed")],
)
def test_statuses(status: str, outcome: str) -> None:
    assert rows_of(report(method("pays", status))) == [("shop.Cart::pays", outcome, 0.25)]


def test_configuration_is_no_test() -> None:
    assert rows_of(report(method("setUp", "FAIL", 'is-config="true"'), method("pays"))) == [
        ("shop.Cart::pays", "passed", 0.25)
    ]


def test_parameters_tell_the_rows_of_a_data_provider_apart_without_addresses() -> None:
    def with_value(value: str) -> str:
        return method("pays", values=f'<params><param index="0"><value>{value}</value></param></params>')

    nothing = method("pays", values='<params><param index="0"><value is-null="true"/></param></params>')
    rows = rows_of(report(with_value("<![CDATA[ cash ]]>"), with_value("shop.Order@1b2c3d"), nothing))
    assert [row[0] for row in rows] == ["shop.Cart::pays(cash)", "shop.Cart::pays(shop.Order)", "shop.Cart::pays(null)"]
    assert [row[0] for row in rows_of(report(with_value("me@beef.example")))] == ["shop.Cart::pays(me@beef.example)"]


def test_a_retried_method_is_a_failed_execution_of_the_test_that_follows() -> None:
    rows = read(report(method("pays", "SKIP", 'retried="true"'), method("ships"), method("pays")))
    assert list(zip(rows.test_ids, rows.outcomes, strict=True)) == [
        ("shop.Cart::pays", "failed"),
        ("shop.Cart::pays", "passed"),
        ("shop.Cart::ships", "passed"),
    ]
    assert told_apart(rows)[1] == [1, 2, 1]
    assert rows.tally() == {"passed": 2}


def test_methods_before_a_cut_are_kept() -> None:
    rows = read(report(method("pays"), method("ships"), cut=30))
    assert rows.test_ids == ["shop.Cart::pays", "shop.Cart::ships"]
    assert [refusal.reason for refusal in rows.refused] == ["truncated_xml"]


def test_an_unknown_status_and_a_missing_name_are_refused() -> None:
    assert reasons(report(method("pays", "MAYBE"), method(""), method("ships"))) == ["unknown_outcome", "missing_name"]
