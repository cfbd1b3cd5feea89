"""Robot Framework's ``output.xml``, of any version: nested ``<suite>``, ``<test>`` with a ``<status>`` of its own.

https://github.com/robotframework/robotframework/tree/master/doc/schema

- `test_id` is ``Suite.Sub suite::Test``, Robot's long name of the suite.
- PASS is passed, FAIL is failed, SKIP and NOT RUN are skipped.
- duration: ``elapsed`` in seconds (Robot 7), else ``endtime`` - ``starttime``.
"""

import math
from datetime import datetime

from ml.sources.reports.elements import Elements
from ml.sources.reports.rows import FAILED, PASSED, SKIPPED, ReportRows

_STATUSES = {"PASS": PASSED, "FAIL": FAILED, "SKIP": SKIPPED, "NOT RUN": SKIPPED, "NOT_RUN": SKIPPED}


class Robot(Elements):
    """Target for results; keywords, which are most of the document, pass by."""

    # Keywords may call each other 140 deep; libxml2 itself stops at 256.
    max_depth = 200

    def __init__(self, rows: ReportRows) -> None:
        super().__init__(rows)
        self._suites: list[str] = []
        self._test: str | None = None
        self._status: dict[str, str] = {}

    def opened(self, name: str, attrib: dict[str, str]) -> None:
        """A suite, a test, or the status of a test."""
        if name == "suite" and self.parent in ("robot", "suite"):
            self._suites.append(attrib.get("name", ""))
        elif name == "test" and self.parent == "suite":
            self._test, self._status = attrib.get("name", ""), {}
        elif name == "status" and self.parent == "test":
            self._status = dict(attrib)

    def closed(self, name: str) -> None:
        """A test is complete, or a suite is left."""
        if name == "test" and self._test is not None:
            self._add(self._test)
            self._test = None
        elif name == "suite" and self.parent in ("robot", "suite"):
            self._suites.pop()

    def _add(self, name: str) -> None:
        group = ".".join(suite for suite in self._suites if suite.strip())
        status = self._status.get("status", "")
        outcome = _STATUSES.get(status.upper())
        if outcome is None:
            self._rows.refuse("unknown_outcome", "outcome", status, {"classname": group, "name": name})
            return
        self._rows.add_result(group, name, outcome, self._seconds(name))

    def _seconds(self, name: str) -> float:
        if "elapsed" in self._status:
            return self._rows.seconds(self._status["elapsed"], name)
        start, end = (_moment(self._status.get(key, "")) for key in ("starttime", "endtime"))
        return math.nan if start is None or end is None else (end - start).total_seconds()


def _moment(text: str) -> datetime | None:
    """A local time such as ``20260301 08:15:00.123``; None for ``N/A`` and anything else."""
    try:
        return datetime.strptime(text, "%Y%m%d %H:%M:%S.%f")  # noqa: DTZ007 - differences only
    except ValueError:
        return None
