"""JUnit XML reports: `read_report` against lxml's iterparse, counting cases or taking the same three facts of each."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lxml import etree

from benchmarks.histories import history
from benchmarks.pairing import Contender, Pairing, Unequal
from ml.sources.reports import read_report
from ml.sources.simulator import write_history

RUNS, CASES = 100, 100_000
QUICK_RUNS, QUICK_CASES = 5, 2_000
MAX_BYTES = 1_000_000_000


def pairings(quick: bool, scratch: Path) -> Iterator[Pairing]:
    """Many small reports of a simulated history, and one large report."""
    folder = scratch / "reports"
    write_history(history(QUICK_RUNS if quick else RUNS), folder)
    small = sorted(folder.rglob("*.xml"))
    large = scratch / "large.xml"
    large.write_text(_large(QUICK_CASES if quick else CASES))
    for title, reports in (("small reports", small), ("one large report", [large])):
        tests = _ours(reports)
        for name, reader in _peers().items():
            yield Pairing(
                family=f"{title}, {name}",
                size=f"{len(reports):,} files",
                count=tests,
                unit="tests",
                ours=Contender("read_report", lambda reports=reports: partial(_ours, reports)),
                peer=Contender(name, lambda reader=reader, reports=reports: partial(_peer, reader, reports)),
                check=_check,
                note="ours also refuses DTDs, depth and size, and keeps what was complete before a report breaks",
            )


def _large(cases: int) -> str:
    """One suite; one case in fifty failed, with a short stack trace."""
    trace = "\n".join(f"  at org.acme.Shop.line{number}(Shop.java:{number})" for number in range(10))
    failure = f'<failure type="AssertionError" message="expected 1">{trace}</failure>'
    lines = (
        f'<testcase classname="org.acme.shop.Test{number // 20}" name="case{number}" time="0.{number % 1000:03}">'
        f"{failure if number % 50 == 0 else ''}</testcase>\n"
        for number in range(cases)
    )
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="large" tests="{cases}">\n'
    return f"{head}{''.join(lines)}</testsuite>\n"


def _ours(reports: Sequence[Path]) -> int:
    return sum(len(read_report(report, MAX_BYTES).test_ids) for report in reports)


def _peer(reader: Callable[[Path], int], reports: Sequence[Path]) -> int:
    return sum(reader(report) for report in reports)


def _peers() -> dict[str, Callable[[Path], int]]:
    """Named readers; junitparser, where somebody installed it, as well."""
    peers = {"lxml iterparse counting": _count, "lxml iterparse with name, outcome, duration": _extract}
    try:
        from junitparser import JUnitXml  # noqa: PLC0415 - no dependency of ours
    except ImportError:
        return peers
    return {**peers, "junitparser": lambda report: _junitparser(JUnitXml.fromfile(str(report)))}


def _junitparser(document: Any) -> int:
    suites = [document] if type(document).__name__ == "TestSuite" else document
    return sum(1 for suite in suites for case in suite if case.name)


def _cases(report: Path) -> Iterator[etree._Element]:
    for _, case in etree.iterparse(str(report), tag="testcase", resolve_entities=False, no_network=True):
        yield case
        # the usual way to keep memory constant: forget the case, and its siblings before it
        case.clear(keep_tail=True)
        while case.getprevious() is not None:
            del case.getparent()[0]


def _count(report: Path) -> int:
    return sum(1 for _ in _cases(report))


def _extract(report: Path) -> int:
    found = []
    for case in _cases(report):
        marks = {child.tag for child in case}
        outcome = next((mark for mark in ("failure", "error", "skipped") if mark in marks), "passed")
        found.append((f"{case.get('classname')}::{case.get('name')}", outcome, float(case.get("time", "nan"))))
    return len(found)


def _check(ours: int, peer: int) -> str:
    if ours != peer:
        raise Unequal(f"{ours} tests by ours, {peer} by the peer")
    return f"{ours:,} tests found by both"
