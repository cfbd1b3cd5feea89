import pytest

from tests.report_builders import read, reasons, rows_of


def three(case: str) -> str:
    fixture = '<test-suite type="TestFixture" name="Cart" fullname="Shop.Cart">'
    return f'<test-run id="2"><test-suite name="shop.dll">{fixture}{case}</test-suite></test-suite></test-run>'


def two(case: str) -> str:
    return (
        f'<test-results name="shop.dll"><test-suite name="Cart"><results>{case}</results></test-suite></test-results>'
    )


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ('result="Passed"', "passed"),
        ('result="Warning"', "passed"),
        ('result="Failed"', "failed"),
        ('result="Failed" label="Error"', "error"),
        ('result="Failed" label="Invalid"', "error"),
        ('result="Failed" label="Cancelled"', "error"),
        ('result="Skipped" label="Ignored"', "skipped"),
        ('result="Inconclusive"', "skipped"),
    ],
)
def test_results_of_nunit_3(attributes: str, outcome: str) -> None:
    case = f'<test-case name="Pays" fullname="Shop.Cart.Pays" classname="Shop.Cart" duration="0.5" {attributes}/>'
    assert rows_of(three(case)) == [("Shop.Cart::Pays", outcome, 0.5)]


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ('executed="True" result="Success" success="True"', "passed"),
        ('executed="True" result="Failure" success="False"', "failed"),
        ('executed="True" result="Error" success="False"', "error"),
        ('executed="True" result="Inconclusive" success="False"', "skipped"),
        ('executed="False" result="NotRunnable"', "skipped"),
        ('executed="False" result="Ignored"', "skipped"),
        ('executed="True" success="True"', "passed"),
        ('executed="true" success="false"', "failed"),
        ('executed="False"', "skipped"),
    ],
)
def test_results_of_nunit_2(attributes: str, outcome: str) -> None:
    assert rows_of(two(f'<test-case name="Shop.Cart.Pays" time="0.5" {attributes}/>')) == [
        ("Shop.Cart::Pays", outcome, 0.5)
    ]


@pytest.mark.parametrize(
    ("attributes", "test"),
    [
        ('name="Pays(&quot;a.b&quot;)" fullname="Shop.Cart(42).Pays(&quot;a.b&quot;)"', 'Shop.Cart(42)::Pays("a.b")'),
        ('name="Pays" classname="Shop.Cart"', "Shop.Cart::Pays"),
        ('name="Pays"', "Shop.Cart::Pays"),
    ],
)
def test_names_of_nunit_3(attributes: str, test: str) -> None:
    assert rows_of(three(f'<test-case {attributes} result="Passed"/>')) == [(test, "passed", None)]


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("Shop.Cart.Pays(1.5)", "Shop.Cart::Pays(1.5)"),
        ("Shop.Cart&lt;System.Int32&gt;.Pays", "Shop::Cart<System.Int32>.Pays"),
        ("pays", "Cart::pays"),
        ("ends.", "Cart::ends."),
    ],
)
def test_names_of_nunit_2(name: str, test: str) -> None:
    assert [row[0] for row in rows_of(two(f'<test-case name="{name}" executed="True" success="True"/>'))] == [test]


def test_a_list_of_tests_that_were_not_run_is_no_result() -> None:
    rows = read(three('<test-case name="Pays" fullname="Shop.Cart.Pays" runstate="Runnable"/>'))
    assert rows.test_ids == []
    assert [refusal.reason for refusal in rows.refused] == ["unknown_outcome"]
    assert reasons(three('<test-case name="Pays" result="Perhaps"/>')) == ["unknown_outcome"]
