"""One whole report per root element, typed by hand: for what must hold in every dialect, and to begin a fuzz run."""

SAMPLES = {
    "testsuites": """<?xml version="1.0" encoding="UTF-8"?>
<testsuites><testsuite name="S" hostname="h">
<testcase classname="C" name="a" time="1,234.5"/>
<testcase classname="C" name="b"><flakyFailure time="1">é</flakyFailure><flakyError/></testcase>
<testcase name="c"><failure message="&lt;no&gt;"/><rerunFailure/></testcase>
<testsuite name="T"><testcase name="d" status="notrun"/><testcase name="e"><error/></testcase></testsuite>
</testsuite></testsuites>""",
    "testsuite": """<testsuite name="S"><testcase classname="C" name="a"><![CDATA[x]]><failure/></testcase>
<testcase classname="C" name="b"><skipped/></testcase></testsuite>""",
    "TestRun (TRX)": """<TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010">
<TestDefinitions><UnitTest id="1"><TestMethod className="N.C, N, Version=1"/></UnitTest></TestDefinitions>
<Results><UnitTestResult testId="1" testName="a" outcome="Passed" duration="00:00:01.5"/>
<UnitTestResult testId="1" testName="N.C.b(1)" outcome="Failed"><InnerResults>
<UnitTestResult testId="1" testName="b (1)" outcome="NotExecuted"/></InnerResults></UnitTestResult>
</Results></TestRun>""",
    "TestRun": """<TestRun><FailedTests>
<FailedTest><Name>C::a</Name><FailureType>Error</FailureType></FailedTest></FailedTests>
<SuccessfulTests><Test><Name>C::b</Name></Test></SuccessfulTests></TestRun>""",
    "test-run": """<test-run><test-suite name="s" fullname="N.C">
<test-case name="a(1.5)" fullname="N.C.a(1.5)" classname="N.C" result="Passed" duration="0.5"/>
<test-case name="b" fullname="N.C.b" result="Failed" label="Error"><failure/></test-case></test-suite></test-run>""",
    "test-results": """<test-results><test-suite name="s"><results>
<test-case name="N.C.a" executed="True" success="False" time="0.5"><failure/></test-case>
<test-case name="N.C.b" executed="False" result="Ignored"/></results></test-suite></test-results>""",
    "assemblies": """<assemblies><assembly><collection name="c">
<test name="N.C.a" type="N.C" result="Pass" time="0.5"/><test name="b" type="N.C" result="Skip"/>
</collection></assembly></assemblies>""",
    "assembly": """<assembly><class name="N.C"><test name="a" result="Fail"><failure/></test></class></assembly>""",
    "testng-results": """<testng-results><suite name="s"><test name="t"><class name="C">
<test-method name="a" status="SKIP" retried="true" duration-ms="5"/><test-method name="a" status="PASS"/>
<test-method name="b" status="FAIL"><params><param><value><![CDATA[O@1f]]></value></param></params></test-method>
</class></test></suite></testng-results>""",
    "TestLog": """<TestLog><TestSuite name="M">
<TestCase name="a"><Error>1</Error><TestingTime>10</TestingTime></TestCase>
<TestCase name="b" skipped="yes"/></TestSuite></TestLog>""",
    "TestResult": """<TestResult><TestSuite name="M"><TestCase name="a" result="aborted"/></TestSuite></TestResult>""",
    "robot": """<robot><suite name="S"><suite name="T"><test name="a"><kw><status status="FAIL"/></kw>
<status status="PASS" starttime="20260301 08:15:00.000" endtime="20260301 08:15:01.500"/></test>
<test name="b"><status status="SKIP" elapsed="0.5"/></test></suite></suite></robot>""",
    "TestCase": """<TestCase name="C"><TestFunction name="a"><Incident type="pass"><DataTag>x</DataTag></Incident>
<Incident type="fail"/><Duration msecs="1,5"/></TestFunction>
<TestFunction name="b"><Message type="skip"/></TestFunction></TestCase>""",
    "CTRF": """{"reportFormat": "CTRF", "results": {"tool": {"name": "x"}, "tests": [
{"name": "a", "status": "passed", "duration": 5, "suite": ["s", "t"], "retries": 1},
{"name": "é \\u00e9", "status": "failed", "suite": "s", "extra": {"a": [1, -2.5e3, null, true]},
"retryAttempts": [{"attempt": 1, "status": "failed", "duration": 3}]},
{"name": "c", "status": "other", "rawStatus": "broken"}], "summary": {"tests": 3}}}""",
}
