"""Boost.Test: the XML log (``<TestLog>``) and the detailed XML report (``<TestResult>``).

https://www.boost.org/doc/libs/release/libs/test/doc/html/boost_test/test_output/log_formats.html

- `test_id` is ``suite/suite::case``, the suites joined as in Boost's own ``--run_test``.
- log: ``<Exception>`` or ``<FatalError>`` is error, ``<Error>`` is failed, ``skipped="yes"`` is skipped, else passed.
  ``<TestingTime>`` counts microseconds.
- a case may hold suites that it registered while it ran; their names come after its own suites.
- report: result is passed, failed, aborted (error) or skipped; it has no times.
"""

import math
from dataclasses import dataclass

from ml.sources.reports.elements import Elements
from ml.sources.reports.rows import ERROR, FAILED, PASSED, SKIPPED, ReportRows

_MARKS = {"Exception": ERROR, "FatalError": ERROR, "Error": FAILED}
_RESULTS = {"passed": PASSED, "failed": FAILED, "aborted": ERROR, "skipped": SKIPPED}


@dataclass(slots=True)
class _Case:
    name: str
    outcome: str | None
    seconds: float = math.nan


class BoostTest(Elements):
    """Target for both documents."""

    def __init__(self, rows: ReportRows) -> None:
        super().__init__(rows)
        self._suites: list[str] = []
        self._cases: list[_Case] = []

    def opened(self, name: str, attrib: dict[str, str]) -> None:
        """A suite, a case, or what happened in it."""
        if name == "TestSuite":
            self._suites.append(attrib.get("name", ""))
        elif name == "TestCase":
            is_skipped = attrib.get("skipped", "").lower() == "yes"
            result = SKIPPED if is_skipped else _RESULTS.get(attrib.get("result", "passed").lower())
            self._cases.append(_Case(attrib.get("name", ""), result))
        elif self.parent == "TestCase" and name in _MARKS:
            self._cases[-1].outcome = ERROR if self._cases[-1].outcome == ERROR else _MARKS[name]
        elif self.parent == "TestCase" and name == "TestingTime":
            self.collect()

    def closed(self, name: str) -> None:
        """A time, a case or a suite is complete."""
        if name == "TestingTime" and self._pieces is not None:
            self._cases[-1].seconds = self._rows.seconds(self.collected(), self._cases[-1].name, 1e-6)
        elif name == "TestCase":
            case = self._cases.pop()
            group = "/".join(suite for suite in self._suites if suite.strip())
            self._rows.add_result(group, case.name, case.outcome, case.seconds)
        elif name == "TestSuite":
            self._suites.pop()
