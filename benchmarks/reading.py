"""JUnit XML reports: `read_report`, and a history taken into the lake, against lxml's iterparse and junitparser."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg2
from junitparser import JUnitXml, TestSuite
from lxml import etree

from benchmarks.histories import history
from benchmarks.pairing import Contender, Pairing, Unequal
from benchmarks.warehouse import Dsns, running
from ml.settings import load_settings
from ml.sources.reports import read_report
from ml.sources.simulator import write_history
from ml.spec import Interval
from ml.stages import collection, fetching

RUNS, CASES = 100, 100_000
QUICK_RUNS, QUICK_CASES = 5, 2_000
FILES, QUICK_FILES, LARGE, REPORTS_PER_RUN = 1_000, 10, 1_000, 10
NOW = datetime(2027, 1, 1, tzinfo=UTC)
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
    many = scratch / "many"
    _write_many(many, QUICK_FILES if quick else FILES)
    with running(scratch / "postgres") as dsns:
        for title, place in (("a history of small reports", folder), ("a history of large reports", many)):
            yield _into_the_lake(title, place, partial(mkdtemp, dir=scratch), dsns)


def _into_the_lake(title: str, place: Path, new_home: Callable[[], str], dsns: Dsns) -> Pairing:
    reports = sorted(place.rglob("*.xml"))
    return Pairing(
        family=f"{title} into the lake, junitparser",
        size=f"{len(reports):,} files",
        count=_ours(reports),
        unit="tests",
        ours=Contender("fetch to append", lambda: partial(_collected, place, Path(new_home()), dsns)),
        peer=Contender("junitparser alone", lambda: partial(_peer, _junitparser, reports)),
        check=_check,
        note="ours also reads manifests, takes out secrets, lands and hashes every file, holds rows and batches "
        "against their contracts (Data Docs included) and appends to Delta tables, on two cores",
    )


def _write_many(folder: Path, files: int) -> None:
    """Ten reports of a thousand cases per run."""
    report = _large(LARGE)
    for number in range(files):
        run = folder / f"{number // REPORTS_PER_RUN:04}"
        if number % REPORTS_PER_RUN == 0:
            (run / "linux").mkdir(parents=True)
            start = NOW - timedelta(days=300) + timedelta(hours=number)
            document = {"run_id": run.name, "project": "many", "commit_sha": "c0ffee", "started_at": start.isoformat()}
            (run / "manifest.json").write_text(json.dumps(document))
        (run / "linux" / f"{number % REPORTS_PER_RUN}.xml").write_text(report.replace("org.acme", f"org{number % 10}"))


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


def _collected(history_folder: Path, home: Path, dsns: Dsns) -> int:
    """What `fourgate collect` does; an empty lake needs an empty ledger."""
    with closing(psycopg2.connect(dsns.owner)) as owner, owner, owner.cursor() as cursor:
        cursor.execute("TRUNCATE fourgate.collection_batch CASCADE")
    given = {
        "FOURGATE_WAREHOUSE_DSN": dsns.pipeline,
        "FOURGATE_HOME": str(home),
        "FOURGATE_LAKE_URI": str(home / "lake"),
    }
    settings = load_settings(given)
    request = fetching.Request(fetching.HISTORY, NOW, Interval(), history=str(history_folder))
    batches = fetching.fetch_each(settings, request)
    appended = collection.append(settings, collection.validate_each(settings, batches, NOW))
    return int(appended["rows"]["test_results"])


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
