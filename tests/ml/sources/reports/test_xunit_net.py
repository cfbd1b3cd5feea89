import pytest

from tests.report_builders import reasons, rows_of


def report(*tests: str, group: str = "collection") -> str:
    listed = "".join(tests)
    return (
        f'<assemblies><assembly name="shop.dll"><errors/><{group} name="G">{listed}</{group}></assembly></assemblies>'
    )


@pytest.mark.parametrize(
    ("result", "outcome"), [("Pass", "passed"), ("Fail", "failed"), ("Skip", "skipped"), ("NotRun", "skipped")]
)
def test_results(result: str, outcome: str) -> None:
    test = f'<test name="Shop.Cart.Pays" type="Shop.Cart" method="Pays" time="0.25" result="{result}"/>'
    assert rows_of(report(test)) == [("Shop.Cart::Pays", outcome, 0.25)]


@pytest.mark.parametrize(
    ("attributes", "test"),
    [
        ('name="Shop.Cart.Pays(sum: 1.5)" type="Shop.Cart"', "Shop.Cart::Pays(sum: 1.5)"),
        ('name="a cart pays" type="Shop.Cart" method="Pays"', "Shop.Cart::a cart pays"),
        ('name="" type="Shop.Cart" method="Pays"', "Shop.Cart::Pays"),
        ('name="pays" type=""', "G::pays"),
    ],
)
def test_names(attributes: str, test: str) -> None:
    assert rows_of(report(f'<test {attributes} result="Pass"/>')) == [(test, "passed", None)]


def test_version_1_groups_by_class_and_may_be_one_assembly() -> None:
    test = '<test name="pays" result="Fail" time="1"><failure/></test>'
    assert rows_of(f'<assembly name="shop.dll"><class name="Shop.Cart">{test}</class></assembly>') == [
        ("Shop.Cart::pays", "failed", 1.0)
    ]


def test_an_unknown_result_is_refused() -> None:
    assert reasons(report('<test name="t" type="C"/>', '<test name="u" type="C" result="Pass"/>')) == [
        "unknown_outcome"
    ]
