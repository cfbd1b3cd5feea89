from tests.report_builders import reasons, rows_of


def test_tests_are_sorted_by_how_they_ended() -> None:
    report = """<TestRun>
      <SuiteInfo><Project><Name>not a test</Name></Project></SuiteInfo>
      <FailedTests>
        <FailedTest id="1"><Name>CartTest::pays</Name><FailureType>Assertion</FailureType></FailedTest>
        <FailedTest id="2"><Name>CartTest::ships</Name><FailureType>Error</FailureType>
          <Location><File>a.cpp</File><Line>3</Line></Location></FailedTest>
      </FailedTests>
      <SuccessfulTests><Test id="3"><Name>CartTest::adds</Name></Test></SuccessfulTests>
      <SkippedTests><Test id="4"><Name>CartTest::waits</Name></Test></SkippedTests>
      <Statistics><Tests>4</Tests></Statistics>
    </TestRun>"""
    assert rows_of(report) == [
        ("CartTest::pays", "failed", None),
        ("CartTest::ships", "error", None),
        ("CartTest::adds", "passed", None),
        ("CartTest::waits", "skipped", None),
    ]


def test_aunit_writes_the_same_with_other_elements() -> None:
    report = "<TestRun elapsed='1'><FailedTests><Test><Name>Stack.Push</Name></Test></FailedTests></TestRun>"
    assert rows_of(report) == [("Stack.Push", "failed", None)]


def test_a_test_without_a_name_is_refused() -> None:
    assert reasons("<TestRun><SuccessfulTests><Test/></SuccessfulTests></TestRun>") == ["missing_name"]
