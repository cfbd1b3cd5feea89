"""Texts of failures as programs write them, and the words that are made of them."""

import pytest

from ml.sources.reports import read_report
from ml.sources.reports.failure_text import MAX_READ, read_failure

CASES = {
    "timeout": [
        ("java.util.concurrent.TimeoutException", "Timed out waiting for condition"),
        ("org.junit.runners.model.TestTimedOutException", "test timed out after 30000 milliseconds"),
        (None, "context deadline exceeded"),
        ("Failed", "Timeout >30.0s"),
        (None, "Error: Timeout of 2000ms exceeded. For async tests, ensure done() is called"),
    ],
    "network": [
        ("java.net.ConnectException", "Connection refused (Connection refused)"),
        ("java.net.UnknownHostException", "repo.example.org"),
        ("requests.exceptions.ConnectionError", "Max retries exceeded with url: /x"),
        (None, "dial tcp 127.0.0.1:5432: connect: connection refused"),
        (None, "Error: getaddrinfo ENOTFOUND registry.example.org"),
        (None, "write ECONNRESET"),
    ],
    "resource": [
        ("java.lang.OutOfMemoryError", "Java heap space"),
        (None, "OSError: [Errno 28] No space left on device"),
        ("java.io.IOException", "Too many open files"),
    ],
    "assertion": [
        ("java.lang.AssertionError", "expected:<3> but was:<4>"),
        ("org.opentest4j.AssertionFailedError", None),
        (None, "assert 3 == 4"),
    ],
    "other": [("java.lang.NullPointerException", None), (None, "boom"), (None, "the standard output is not empty")],
}


@pytest.mark.parametrize(("kind", "thrown", "message"), [(kind, *text) for kind in CASES for text in CASES[kind]])
def test_a_text_has_a_kind(kind: str, thrown: str | None, message: str | None) -> None:
    text = read_failure(thrown, message)
    assert text is not None
    assert text.kind == kind


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("expected:<3> but was:<4>", "expected:<5> but was:<17>", True),
        ("port 8080 is taken", "port 31337 is taken", True),
        ("no file /tmp/a1/x.txt", "no file /var/y.txt", True),
        ("object at 0x7f00aa is gone", "object at 0x12bc is gone", True),
        ("key 'a' is missing", "key 'b b' is missing", True),
        ("key is missing", "key  is\n missing", True),
        ("key is missing", "lock is missing", False),
    ],
)
def test_a_fingerprint_leaves_out_what_varies(one: str, other: str, is_same: bool) -> None:
    first, second = read_failure("Error", one), read_failure("Error", other)
    assert first is not None
    assert second is not None
    assert (first.fingerprint == second.fingerprint) is is_same


@pytest.mark.parametrize(("thrown", "message"), [(None, None), ("", " \n"), (" ", None)])
def test_a_report_that_says_nothing_gives_nothing(thrown: str | None, message: str | None) -> None:
    assert read_failure(thrown, message) is None


@pytest.mark.parametrize("piece", ["'", '"', "<", "/a", "1a", "A" * 50, "time", "connection ", "\udc80", "\x00"])
def test_of_a_hostile_text_only_the_beginning_counts(piece: str) -> None:
    text, beginning = piece * 100_000, (piece * 100_000)[:MAX_READ]
    assert read_failure(text, text) == read_failure(beginning, beginning)


def test_failures_of_a_report_are_told_at_their_rows() -> None:
    report = b"""<testsuite name="S">
      <testcase name="a"/>
      <testcase name="b"><failure type="java.net.ConnectException" message="refused"/></testcase>
      <testcase name="c"><error message="deadline exceeded"/></testcase>
      <testcase name="d"><skipped message="connection refused"/></testcase>
      <testcase name="e"><failure>connection refused</failure></testcase>
      <testcase name="f"><flakyFailure message="No space left on device" type=""/></testcase>
      <testcase name="g"><failure message="boom"/><rerunFailure message="timed out"/></testcase>
    </testsuite>"""
    rows = read_report(report, 10_000)
    told = [(name.removeprefix("S::"), rows.failures.get(at)) for at, name in enumerate(rows.test_ids)]
    assert [(name, text.kind if text else None) for name, text in told] == [
        ("a", None),
        ("b", "network"),
        ("c", "timeout"),
        ("d", None),
        ("e", None),
        ("f", "resource"),
        ("f", None),
        ("g", "other"),
        ("g", "timeout"),
    ]


def test_messages_of_ctrf_are_read_attempt_by_attempt() -> None:
    report = b"""{"reportFormat": "CTRF", "specVersion": "0.0.0", "results": {"tool": {"name": "t"}, "tests": [
      {"name": "a", "status": "failed", "duration": 1, "message": "read ETIMEDOUT"},
      {"name": "b", "status": "passed", "duration": 1, "message": "connection refused",
       "retries": 1, "retryAttempts": [{"attempt": 1, "status": "failed", "message": "socket hang up"}]}]}}"""
    rows = read_report(report, 10_000)
    assert rows.refused == []
    kinds = [(name, text.kind if (text := rows.failures.get(at)) else None) for at, name in enumerate(rows.test_ids)]
    assert kinds == [("a", "timeout"), ("b", "network"), ("b", None)]
