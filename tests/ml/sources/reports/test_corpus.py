"""Every report of the corpus against the counts of its manifest; differences are decisions, listed here with reasons.

The manifest counts elements named testcase, failure, error and skipped. For the dialects that have none of these, what
counts is the number of their own test elements.
"""

import csv
import os
import tarfile
from pathlib import Path

import pytest
from lxml import etree

from ml.sources.reports import ReportRows, read_report

CORPUS = Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[5] / "shared" / "data")) / "junit"
MAX_BYTES = 100_000_000
Counts = tuple[int, int, int, int, int]

SEVERAL_MARKS = "a case with several marks is one result; the manifest counts the marks"
NOT_RUN = "a status of disabled, notrun or suppressed is skipped; the manifest counts <skipped> only"
NAMELESS = "no test can be told from another: every case is refused as missing_name"
RERUNS_ALONE = "a case with <rerunFailure> alone failed: nothing says that it ever passed"
DIFFERENT: dict[str, tuple[Counts, str]] = {
    "junit-xml/junit.multiresult.xml": ((4, 2, 0, 1, 0), SEVERAL_MARKS),
    "junit-xml/no-attributes.xml": ((0, 0, 0, 0, 0), NAMELESS),
    "junit-xml/tst/disabled.xml": ((31, 19, 1, 5, 0), NOT_RUN),
    "issues/testDisabled.xml": ((22, 4, 2, 10, 0), NOT_RUN),
    "multiple_failures/test_multiple_errors.xml": ((3, 1, 1, 0, 0), SEVERAL_MARKS),
    "multiple_failures/test_multiple_failures.xml": ((4, 2, 0, 1, 0), SEVERAL_MARKS),
    "junit/wdio-failures-errors.xml": ((4, 2, 0, 0, 0), SEVERAL_MARKS),
    "JENKINS-51645/input.xml": ((4, 2, 0, 1, 0), NOT_RUN),
    "JENKINS-52253/googletest.xml": ((4, 2, 0, 1, 0), NOT_RUN),
    "cpptest/testcase6/result.xml": ((20, 1, 0, 0, 0), SEVERAL_MARKS),
    "cpptest/testcase7/result.xml": ((20, 1, 0, 0, 0), SEVERAL_MARKS),
    "customTool/testcase2/input.xml": ((7, 1, 1, 2, 0), SEVERAL_MARKS),
    "googletest/testcase2/input.xml": ((4, 2, 0, 1, 0), NOT_RUN),
    "googletest/testcase4/input.xml": ((24, 4, 0, 3, 0), f"{NOT_RUN}; {SEVERAL_MARKS}"),
    "junitdata/TEST-status-attribute.xml": ((3, 0, 0, 2, 0), NOT_RUN),
    "reports/test-junit-problem-string.xml": ((7, 2, 1, 1, 3), RERUNS_ALONE),
}
# What a broken report leaves: tests before the break, and the reason.
BROKEN = {
    "pytest/corrupt-xml.xml": (1, "truncated_xml"),
    "NUnit-issue17521.xml": (0, "malformed_xml"),
    "TEST-test.CorruptTest.xml": (0, "truncated_xml"),
    "junit-web-test/expected.xml": (0, "malformed_xml"),
    "junit-web-test/expectedRetries.xml": (0, "malformed_xml"),
}
# Jenkins' own store of results, which no producer hands over.
UNKNOWN = "junit/junitResult.xml"
# A list of tests that were not run.
LISTING = "nunit/list.xml"
TESTS = {
    "test-results": "//*[local-name()='test-case']",
    "test-run": "//*[local-name()='test-case']",
    "assemblies": "//test",
    "assembly": "//test",
    "testng-results": "//test-method[not(@is-config='true') and not(@retried='true')]",
    "TestLog": "//TestCase",
    "robot": "//test",
    "TestCase": "//TestFunction",
    "TestRun": "//*[local-name()='UnitTestResult']|//FailedTest|//Test",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not CORPUS.is_dir():
        pytest.skip("FOURGATE_REAL_DATA holds no junit/samples.tar.xz")
    folder = tmp_path_factory.mktemp("corpus")
    with tarfile.open(CORPUS / "samples.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def samples() -> list[dict[str, str]]:
    with (CORPUS / "MANIFEST.csv").open(newline="") as listing:
        return list(csv.DictReader(listing))


def counts(rows: ReportRows) -> Counts:
    tests = rows.tally()
    total = tests.total()
    return total, tests["failed"], tests["error"], tests["skipped"], len(rows.test_ids) - total


def entry(table: dict[str, tuple[object, str]], file: str) -> str | None:
    return next((suffix for suffix in table if file.endswith(f"/{suffix}")), None)


def test_junit_reports_have_the_counts_of_the_manifest_or_a_decision(corpus: Path) -> None:
    found, decided = {}, set()
    for sample in samples():
        if sample["root"] not in ("testsuite", "testsuites"):
            continue
        expected = tuple(
            int(sample[name]) for name in ("testcases", "failures", "errors", "skipped", "flaky_rerun_elems")
        )
        suffix = entry(DIFFERENT, sample["file"])
        if suffix is not None:
            decided.add(suffix)
            expected = DIFFERENT[suffix][0]
        measured = counts(read_report(corpus / sample["file"], MAX_BYTES))
        if measured != expected:
            found[sample["file"]] = (measured, expected)
    assert found == {}
    assert decided == set(DIFFERENT)


def test_other_dialects_have_a_row_for_each_of_their_tests(corpus: Path) -> None:
    found = {}
    for sample in samples():
        if sample["root"] not in TESTS or sample["file"].endswith(LISTING):
            continue
        expected = int(etree.parse(str(corpus / sample["file"])).xpath(f"count({TESTS[sample['root']]})"))
        rows = read_report(corpus / sample["file"], MAX_BYTES)
        told = {refusal.reason for refusal in rows.refused}
        if rows.tally().total() != expected or not told <= ({"not_a_number"} if expected else {"no_tests"}):
            found[sample["file"]] = (rows.tally().total(), expected, told)
    assert found == {}


def test_broken_reports_keep_what_comes_before_the_break(corpus: Path) -> None:
    broken = [sample["file"] for sample in samples() if sample["well_formed"] != "True"]
    assert len(broken) == len(BROKEN)
    for file in broken:
        rows = read_report(corpus / file, MAX_BYTES)
        suffix = entry(BROKEN, file)
        assert suffix is not None
        assert (len(rows.test_ids), rows.refused[-1].reason) == BROKEN[suffix]


def test_what_is_no_result_says_so(corpus: Path) -> None:
    told = {
        suffix: {refusal.reason for refusal in read_report(corpus / sample["file"], MAX_BYTES).refused}
        for sample in samples()
        for suffix in (UNKNOWN, LISTING)
        if sample["file"].endswith(suffix)
    }
    assert told == {UNKNOWN: {"unknown_dialect"}, LISTING: {"unknown_outcome"}}


def test_every_report_is_accounted_for(corpus: Path) -> None:
    listed = samples()
    junit = sum(sample["root"] in ("testsuite", "testsuites") for sample in listed)
    others = sum(sample["root"] in TESTS for sample in listed)
    assert (len(listed), junit + others + len(BROKEN) + 1) == (780, 780)
