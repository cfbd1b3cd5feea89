"""JUnit XML as written by surefire, pytest, gtest, jest, go-junit-report, ctest, phpunit and their kin.

There is no standard; this reads what the producers have in common, wherever suites nest:

- `test_id` is ``classname::name``; without a class name the nearest suite's name stands in, else ``name`` alone.
- outcome: ``<failure>`` or a lone ``<rerunFailure>``/``<rerunError>`` is failed, ``<error>`` is error, ``<skipped>``
  or a status of notrun, disabled, suppressed or skipped (gtest, ctest) is skipped, anything else passed; the first
  that applies wins.
- surefire's ``<flakyFailure>``/``<flakyError>`` mark earlier attempts of a test that passed in the end: one row,
  passed.
- a case that is listed several times (reruns) gives several rows, in order.
"""

import math
import re

from ml.sources.refusals import MAX_TEXT, Refusal, as_row, as_value
from ml.sources.reports.rows import ReportRows
from ml.sources.reports.xml_stream import MAX_DEPTH, Guard, local_name, refuse_deep
from ml.spec import Outcome

_PRECEDENCE = {
    "failure": Outcome.FAILED.value,
    "error": Outcome.ERROR.value,
    "rerunFailure": Outcome.FAILED.value,
    "rerunError": Outcome.FAILED.value,
    "skipped": Outcome.SKIPPED.value,
}
_NOT_RUN = {"notrun", "disabled", "suppressed", "skipped"}
_PASSED = Outcome.PASSED.value
# surefire groups thousands: time="1,234.5"
_GROUPED = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d*)?")


class JUnitXml(Guard):
    """Target that fills `rows` while the report streams by."""

    def __init__(self, rows: ReportRows) -> None:
        self._rows = rows
        self._depth = 0
        self._suites: list[str] = []
        self._case: dict[str, str] | None = None
        self._case_depth = 0
        self._marks: set[str] = set()
        self._outer: list[tuple[dict[str, str], int, set[str]]] = []

    def start(self, tag: str, attrib: dict[str, str]) -> None:
        """An element begins: a suite, a case, or a mark inside a case."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            refuse_deep(self._depth)
        name = local_name(tag) if tag[0] == "{" else tag
        if name == "testcase":
            if self._case is not None:
                self._outer.append((self._case, self._case_depth, self._marks))
            self._case, self._case_depth, self._marks = attrib, self._depth, set()
        elif name == "testsuite":
            self._suites.append(attrib.get("name", ""))
        elif self._depth == self._case_depth + 1 and name in _PRECEDENCE:
            self._marks.add(name)

    def end(self, tag: str) -> None:
        """An element ends: a case is complete, or a suite is left."""
        if self._depth == self._case_depth and self._case is not None:
            self._add(self._case)
            self._case, self._case_depth, self._marks = self._outer.pop() if self._outer else (None, 0, set())
        elif self._suites and local_name(tag) == "testsuite":
            self._suites.pop()
        self._depth -= 1

    def _add(self, case: dict[str, str]) -> None:
        name = case.get("name", "")
        if not name.strip():
            self._refuse("missing_name", "test_id", None, case)
            return
        duration = _seconds(case.get("time"))
        if duration is None:
            self._refuse("not_a_number", "duration_s", case.get("time"), case)
            return
        group = case.get("classname", "")
        if not group.strip():
            group = next((suite for suite in reversed(self._suites) if suite.strip()), "")
        test_id = f"{group}::{name}" if group else name
        self._rows.test_ids.append(test_id if len(test_id) <= MAX_TEXT else test_id[:MAX_TEXT])
        self._rows.outcomes.append(self._outcome(case))
        self._rows.durations.append(duration)

    def _outcome(self, case: dict[str, str]) -> str:
        if self._marks:
            return next(outcome for mark, outcome in _PRECEDENCE.items() if mark in self._marks)
        if "status" not in case and "result" not in case:
            return _PASSED
        is_left_out = case.get("status", "").lower() in _NOT_RUN or case.get("result", "").lower() in _NOT_RUN
        return Outcome.SKIPPED.value if is_left_out else _PASSED

    def _refuse(self, reason: str, column: str, value: str | None, case: dict[str, str]) -> None:
        shown: dict[str, object] = {key: case[key] for key in ("classname", "name", "time", "status") if key in case}
        self._rows.refused.append(Refusal(reason, as_value(value), column, as_row(shown)))


def _seconds(text: str | None) -> float | None:
    """Duration in seconds; NaN when the report gives none, None when what it gives is no finite number."""
    if text is None:
        return math.nan
    try:
        seconds = float(text)
    except ValueError:
        if not text.strip():
            return math.nan
        return float(text.replace(",", "")) if _GROUPED.fullmatch(text) else None
    # Python reads 1_000 as a number; no producer writes it.
    return seconds if math.isfinite(seconds) and "_" not in text else None
