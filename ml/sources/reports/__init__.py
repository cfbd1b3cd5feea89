"""Report dialects: one file each. `read_report` looks at the first character and the root element, never at names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ml.sources.refusals import Refusal, as_value
from ml.sources.reports import trx
from ml.sources.reports.boost_test import BoostTest
from ml.sources.reports.cppunit import CppUnit
from ml.sources.reports.ctrf import Ctrf
from ml.sources.reports.json_stream import feed_json, starts_as_json
from ml.sources.reports.junit_xml import JUnitXml
from ml.sources.reports.nunit import NUnit
from ml.sources.reports.qtest import QTest
from ml.sources.reports.repeats import told_apart
from ml.sources.reports.robot import Robot
from ml.sources.reports.rows import ReportRows
from ml.sources.reports.testng import TestNg
from ml.sources.reports.trx import Trx
from ml.sources.reports.xml_stream import CHUNK, ReportTarget, feed, local_name, namespace, root_of
from ml.sources.reports.xunit_net import XUnitNet

JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of report: `root` is its root element, `within` what the namespace of that begins with."""

    name: str
    root: str
    target: Callable[[ReportRows], ReportTarget]
    within: str = ""


# The first that fits reads the report.
DIALECTS = (
    Dialect("JUnit XML", "testsuites", JUnitXml),
    Dialect("JUnit XML", "testsuite", JUnitXml),
    Dialect("TRX", "TestRun", Trx, trx.NAMESPACE),
    Dialect("CppUnit, AUnit", "TestRun", CppUnit),
    Dialect("NUnit 3", "test-run", NUnit),
    Dialect("NUnit 2", "test-results", NUnit),
    Dialect("xUnit.net v2, v3", "assemblies", XUnitNet),
    Dialect("xUnit.net v1", "assembly", XUnitNet),
    Dialect("TestNG", "testng-results", TestNg),
    Dialect("Boost.Test", "TestLog", BoostTest),
    Dialect("Boost.Test", "TestResult", BoostTest),
    Dialect("Robot Framework", "robot", Robot),
    Dialect("Qt Test", "TestCase", QTest),
)
JSON_DIALECTS = ("CTRF",)

__all__ = ["DIALECTS", "JSON_DIALECTS", "Dialect", "ReportRows", "read_report", "told_apart"]


def read_report(payload: Path | bytes, max_bytes: int) -> ReportRows:
    """Read one report file, hostile or not, in constant memory besides its rows.

    Args:
        payload: the file, or its bytes.
        max_bytes: a larger payload is refused unread.

    Returns:
        Its results in document order, and everything that could not be read in `refused`, with the reasons
        `empty_payload`, `payload_too_large`, `undecodable`, `forbidden_dtd`, `too_deep`, `truncated_xml`,
        `malformed_xml`, `truncated_json`, `malformed_json`, `value_too_large`, `unknown_dialect`, `no_tests`,
        `missing_name`, `missing_definition`, `unknown_outcome`, `not_a_number`, `unreadable`.
        Results that were complete before the point where a report breaks are kept.
    """
    rows = ReportRows()
    refusal = _read(payload, max_bytes, rows)
    if refusal is not None:
        rows.refused.append(refusal)
    elif not rows.test_ids and not rows.refused:
        rows.refused.append(Refusal("no_tests"))
    return rows


def _read(payload: Path | bytes, max_bytes: int, rows: ReportRows) -> Refusal | None:
    try:
        size = len(payload) if isinstance(payload, bytes) else payload.stat().st_size
        if size > max_bytes:
            return Refusal("payload_too_large", as_value(f"{size} bytes; at most {max_bytes}"))
        if isinstance(payload, Path) and size <= CHUNK:
            payload = payload.read_bytes()  # or it would be opened three times
        if starts_as_json(payload):
            return feed_json(payload, Ctrf(rows))
        tag = root_of(payload)
        if isinstance(tag, Refusal):
            return tag
        dialect = _dialect_of(tag)
        if dialect is None:
            known = ", ".join(dict.fromkeys(f"<{known.root}>" for known in DIALECTS))
            return Refusal("unknown_dialect", as_value(f"<{local_name(tag)[:60]}>; known: {known}, CTRF"))
        return feed(payload, dialect.target(rows))
    except OSError as error:
        return Refusal("unreadable", as_value(error.strerror))


def _dialect_of(tag: str) -> Dialect | None:
    root, within = local_name(tag), namespace(tag)
    fitting = (dialect for dialect in DIALECTS if dialect.root == root and within.startswith(dialect.within))
    return next(fitting, None)
