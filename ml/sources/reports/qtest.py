"""Qt Test's XML (``-o file,xml``): ``<TestCase>``, a ``<TestFunction>`` per test, an ``<Incident>`` per check.

https://doc.qt.io/qt-6/qtest-overview.html

- `test_id` is ``class::function``. Rows of a data table are no tests of their own: Qt 4 names those that fail only.
- an incident fail, xpass, bfail or bxpass makes the function failed; else a skip (incident or message) makes it
  skipped; pass, xfail and bpass are passed.
- ``<Duration msecs>``, where some versions write a comma for the point.
"""

import math

from ml.sources.reports.elements import Elements
from ml.sources.reports.rows import FAILED, PASSED, SKIPPED, ReportRows

_FAILING = ("fail", "xpass", "bfail", "bxpass")


class QTest(Elements):
    """Target for one test class."""

    def __init__(self, rows: ReportRows) -> None:
        super().__init__(rows)
        self._class = ""
        self._function = ""
        self._kinds: set[str] = set()
        self._seconds = math.nan

    def opened(self, name: str, attrib: dict[str, str]) -> None:
        """The class, a function, or what happened in it."""
        if name == "TestCase":
            self._class = attrib.get("name", "")
        elif name == "TestFunction":
            self._function, self._kinds, self._seconds = attrib.get("name", ""), set(), math.nan
        elif self.parent == "TestFunction" and (name == "Incident" or attrib.get("type") == "skip"):
            self._kinds.add(attrib.get("type", ""))
        elif self.parent == "TestFunction" and name == "Duration":
            text = attrib.get("msecs", "").replace(",", ".")
            self._seconds = self._rows.seconds(text, self._function, 0.001)

    def closed(self, name: str) -> None:
        """A function is complete."""
        if name == "TestFunction":
            skipped = SKIPPED if "skip" in self._kinds else PASSED
            outcome = FAILED if self._kinds.intersection(_FAILING) else skipped
            self._rows.add_result(self._class, self._function, outcome, self._seconds)
