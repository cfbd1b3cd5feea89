"""Report dialects: one file each. `read_report` looks at the root element and chooses."""

from collections.abc import Callable
from pathlib import Path

from ml.sources.refusals import Refusal, as_value
from ml.sources.reports.junit_xml import JUnitXml
from ml.sources.reports.rows import ReportRows
from ml.sources.reports.xml_stream import ReportTarget, feed, root_of

DIALECTS: dict[str, Callable[[ReportRows], ReportTarget]] = {"testsuite": JUnitXml, "testsuites": JUnitXml}

__all__ = ["DIALECTS", "ReportRows", "read_report"]


def read_report(payload: Path | bytes, max_bytes: int) -> ReportRows:
    """Read one report file, hostile or not, in constant memory besides its rows.

    Args:
        payload: the file, or its bytes.
        max_bytes: a larger payload is refused unread.

    Returns:
        Its results in document order, and everything that could not be read in `refused`, with the reasons
        `empty_payload`, `payload_too_large`, `undecodable`, `forbidden_dtd`, `too_deep`, `truncated_xml`,
        `malformed_xml`, `value_too_large`, `unknown_dialect`, `no_tests`, `missing_name`, `not_a_number`, `unreadable`.
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
        root = root_of(payload)
        if isinstance(root, Refusal):
            return root
        dialect = DIALECTS.get(root)
        if dialect is None:
            return Refusal("unknown_dialect", as_value(f"<{root[:80]}>; known: {', '.join(sorted(DIALECTS))}"))
        return feed(payload, dialect(rows))
    except OSError as error:
        return Refusal("unreadable", as_value(error.strerror))
