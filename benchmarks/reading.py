"""JUnit XML reports: `read_report`, and a history landed and read, against lxml's iterparse and junitparser."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from junitparser import JUnitXml, TestSuite
from lxml import etree

from benchmarks.histories import history
from benchmarks.pairing import Contender, Pairing, Unequal
from ml.sources import Limits, open_source, read_batch
from ml.sources.reports import read_report
from ml.sources.simulator import write_history
from ml.spec import Interval

RUNS, CASES = 100, 100_000
QUICK_RUNS, QUICK_CASES = 5, 2_000
MAX_BYTES = 1_000_000_000
LIMITS = Limits(MAX_BYTES, "salt")


def pairings(quick: bool, scratch: Path) -> Iterator[Pairing]:
    """Many small reports of a simulated history, and one large report."""
    folder = scratch / "reports"
    write_history(history(QUICK_RUNS if quick else RUNS), folder)
    small = sorted(folder.rglob("*.xml"))
    large = scratch / "large.xml"
    large.write_text(_large(QUICK_CASES if quick else CASES))
    for title, reports in (("small reports", small), ("one large report", [large])):
        tests = _ours(reports)
        for name, reader in PEERS.items():
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
    yield Pairing(
        family="a history to frames, junitparser",
        size=f"{len(small):,} files",
        count=_ours(small),
        unit="tests",
        ours=Contender("fetch and read_batch", lambda: partial(_collected, folder, Path(mkdtemp(dir=scratch)))),
        peer=Contender("junitparser", lambda: partial(_peer, _junitparser, small)),
        check=_check,
        note="ours also reads manifests, lands and hashes every file, and makes frames in the types of the contracts",
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


def _collected(history_folder: Path, landing: Path) -> int:
    batches = open_source(history_folder, landing, LIMITS).fetch(Interval())
    return sum(len(read_batch(batch, LIMITS).frames["test_results"]) for batch in batches)


def _junitparser(report: Path) -> int:
    """Name, outcome and duration of each case, from the tree that junitparser builds."""
    document = JUnitXml.fromfile(str(report))
    suites: Any = [document] if isinstance(document, TestSuite) else document
    found = [(f"{case.classname}::{case.name}", case.result, case.time) for suite in suites for case in suite]
    return len(found)


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


PEERS: dict[str, Callable[[Path], int]] = {
    "lxml iterparse counting": _count,
    "lxml iterparse with name, outcome, duration": _extract,
    "junitparser with name, outcome, duration": _junitparser,
}


def _check(ours: int, peer: int) -> str:
    if ours != peer:
        raise Unequal(f"{ours} tests by ours, {peer} by the peer")
    return f"{ours:,} tests found by both"
