from tests.report_builders import read, reasons, rows_of

HEAD = '<TestRun id="1" xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010">'
DEFINITIONS = """<TestDefinitions>
  <UnitTest name="Pays" id="a"><Execution id="x"/><TestMethod className="Shop.CartTests" name="Pays"/></UnitTest>
  <UnitTest name="Ships" id="b">
    <TestMethod className="Shop.CartTests, Shop.Tests, Version=1.0.0.0, Culture=neutral" name="Ships"/>
  </UnitTest>
</TestDefinitions>"""
RESULTS = """<Results>
  <UnitTestResult testId="a" testName="Pays" outcome="Passed" duration="00:01:02.5000000"/>
  <UnitTestResult testId="b" testName="Shop.CartTests.Ships(&quot;x.y&quot;)" outcome="Failed" duration="1.00:00:01">
    <Output><ErrorInfo><Message>no</Message></ErrorInfo></Output>
  </UnitTestResult>
</Results>"""
ROWS = [("Shop.CartTests::Pays", "passed", 62.5), ('Shop.CartTests::Ships("x.y")', "failed", 86401.0)]


def one(outcome: str) -> str:
    result = f'<UnitTestResult testId="z" testName="t" {outcome}/>'
    return f"{HEAD}<Results>{result}</Results></TestRun>"


def test_classes_come_from_the_definitions_before_or_behind_the_results() -> None:
    assert rows_of(f"{HEAD}{RESULTS}{DEFINITIONS}</TestRun>") == ROWS
    assert rows_of(f"{HEAD}{DEFINITIONS}{RESULTS}</TestRun>") == ROWS
    assert rows_of(f"{HEAD}{RESULTS}{DEFINITIONS}</TestRun>".replace("2010", "2006")) == ROWS


def test_every_outcome_of_the_schema_is_known() -> None:
    outcomes = {
        "passed": ["Passed", "PassedButRunAborted", "Completed", "Warning"],
        "failed": ["Failed"],
        "error": ["Error", "Timeout", "Aborted", "Disconnected"],
        "skipped": ["NotExecuted", "NotRunnable", "Inconclusive", "Pending", "InProgress"],
    }
    for expected, names in outcomes.items():
        for name in names:
            assert rows_of(one(f'outcome="{name}"')) == [("t", expected, None)]
    assert rows_of(one("")) == [("t", "error", None)]
    assert reasons(one('outcome="Maybe"')) == ["unknown_outcome"]


def test_rows_of_a_data_driven_test_count_beside_it() -> None:
    inner = '<UnitTestResult testId="a" testName="Pays (cash)" outcome="Passed"/>'
    outer = '<UnitTestResult testId="a" testName="Pays" outcome="Failed">'
    results = f"{outer}<InnerResults>{inner}</InnerResults></UnitTestResult>"
    report = f"{HEAD}<Results>{results}</Results>{DEFINITIONS}</TestRun>"
    assert [(test, outcome) for test, outcome, _ in rows_of(report)] == [
        ("Shop.CartTests::Pays (cash)", "passed"),
        ("Shop.CartTests::Pays", "failed"),
    ]


def test_a_report_that_is_cut_before_the_definitions_refuses_results_without_a_class() -> None:
    rows = read(f"{HEAD}{RESULTS}<TestDefinitions>")
    assert rows.test_ids == []
    assert [refusal.reason for refusal in rows.refused] == ["missing_definition"] * 2 + ["truncated_xml"]
    kept = read(f"{HEAD}{DEFINITIONS}{RESULTS[:-20]}")
    assert kept.test_ids == [ROWS[0][0]]


def test_a_duration_that_is_no_time_span_is_told() -> None:
    assert reasons(one('outcome="Passed" duration="soon"')) == ["not_a_number"]
