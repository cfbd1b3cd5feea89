"""Reports typed by hand, shared by the tests of the dialects."""

import math

from ml.sources.reports import ReportRows, read_report

MAX_BYTES = 1_000_000
Row = tuple[str, str, float | None]


def read(report: str) -> ReportRows:
    return read_report(report.encode(), MAX_BYTES)


def rows_of(report: str) -> list[Row]:
    """(test_id, outcome, seconds or None) of a report that has nothing to refuse."""
    rows = read(report)
    assert rows.refused == []
    seconds = [None if math.isnan(value) else round(value, 9) for value in rows.durations]
    return list(zip(rows.test_ids, rows.outcomes, seconds, strict=True))


def reasons(report: str) -> list[str]:
    return [refusal.reason for refusal in read(report).refused]
