import pytest

from tests.report_builders import rows_of


@pytest.mark.parametrize(
    ("marks", "outcome"),
    [
        ('<Incident type="pass"/>', "passed"),
        ('<Incident type="xfail"/><Incident type="pass"/>', "passed"),
        ('<Incident type="pass"><DataTag>a</DataTag></Incident><Incident type="fail"/>', "failed"),
        ('<Incident type="xpass"/>', "failed"),
        ('<Incident type="skip"/>', "skipped"),
        ('<Message type="skip"><Description>no</Description></Message>', "skipped"),
        ('<Message type="skip"/><Incident type="fail"/>', "failed"),
        ('<Message type="qwarn"/>', "passed"),
    ],
)
def test_a_function_is_what_its_incidents_make_of_it(marks: str, outcome: str) -> None:
    function = f'<TestFunction name="pays">{marks}<Duration msecs="1,5"/></TestFunction>'
    report = f'<TestCase name="Cart"><Environment/>{function}<Duration msecs="9"/></TestCase>'
    assert rows_of(report) == [("Cart::pays", outcome, 0.0015)]
