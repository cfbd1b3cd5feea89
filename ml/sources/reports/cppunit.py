"""CppUnit's XmlOutputter and AUnit's XML reporter: ``<TestRun>`` without a namespace, tests sorted by how they ended.

http://cppunit.sourceforge.net/doc/cvs/class_xml_outputter.html

- `test_id` is the text of ``<Name>``; CppUnit writes ``class::method``.
- a ``<FailedTest>`` is failed, or error where its ``<FailureType>`` is Error; tests of ``<SuccessfulTests>`` passed,
  those of ``<SkippedTests>`` were skipped. There are no durations.
"""

from ml.sources.reports.elements import Elements
from ml.sources.reports.rows import ERROR, FAILED, PASSED, SKIPPED, ReportRows

_GROUPS = {"FailedTests": FAILED, "SuccessfulTests": PASSED, "SkippedTests": SKIPPED, "IgnoredTests": SKIPPED}


class CppUnit(Elements):
    """Target for both producers."""

    def __init__(self, rows: ReportRows) -> None:
        super().__init__(rows)
        rows.keeps_order = False
        self._name = ""
        self._outcome = PASSED

    def opened(self, name: str, attrib: dict[str, str]) -> None:
        """A test, or its name or kind of failure."""
        if self.parent in _GROUPS:
            self._name, self._outcome = "", _GROUPS[self.parent]
        elif len(self._path) == 4 and name in ("Name", "FailureType"):
            self.collect()

    def closed(self, name: str) -> None:
        """A text or a test is complete."""
        if len(self._path) == 4 and self._pieces is not None:
            text = self.collected()
            if name == "Name":
                self._name = text
            elif text == "Error" and self._outcome == FAILED:
                self._outcome = ERROR
        elif self.parent in _GROUPS:
            self._rows.add_result("", self._name, self._outcome)
