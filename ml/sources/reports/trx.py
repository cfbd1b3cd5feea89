"""Visual Studio's TRX, as written by ``dotnet test --logger trx``, vstest and mstest.

Schema: ``vstst.xsd`` of Visual Studio, https://github.com/microsoft/vstest (TrxLogger).

- every ``*Result`` in ``<Results>`` is a test, and so is every one in its ``<InnerResults>`` (rows of a data-driven
  test, named after their data), as the report's own ``<Counters>`` count them.
- `test_id` is ``className::testName``. The class stands in ``<TestDefinitions>``, which may come after the results:
  they wait until the end. A class in front of the name, or an assembly behind the class, is left out.
- outcome: Passed, PassedButRunAborted, Completed, Warning are passed; Failed is failed; Error, Timeout, Aborted,
  Disconnected and none are error; NotExecuted, NotRunnable, Inconclusive, Pending, InProgress are skipped.
- results stand in no order: the logger keeps them by random ids.
- a report that is cut before the definitions leaves results whose class nobody knows: refused, `missing_definition`.
"""

import math
import re

from ml.sources.reports.elements import Elements
from ml.sources.reports.rows import ERROR, FAILED, PASSED, SKIPPED, ReportRows, without_prefix

NAMESPACE = "http://microsoft.com/schemas/VisualStudio/TeamTest/"
_OUTCOMES = {
    **dict.fromkeys(("passed", "passedbutrunaborted", "completed", "warning"), PASSED),
    "failed": FAILED,
    **dict.fromkeys(("error", "timeout", "aborted", "disconnected", ""), ERROR),
    **dict.fromkeys(("notexecuted", "notrunnable", "inconclusive", "pending", "inprogress"), SKIPPED),
}
_LISTS = ("Results", "InnerResults")
_ASSEMBLY = re.compile(r",[^,\[\]]+, *Version=.*$", re.DOTALL)
# [days.]hours:minutes:seconds[.fraction], the text of a .NET TimeSpan
_SPAN = re.compile(r"(?:(\d{1,6})\.)?(\d{1,6}):(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)")


class Trx(Elements):
    """Target that keeps the results until it knows their classes."""

    def __init__(self, rows: ReportRows) -> None:
        super().__init__(rows)
        rows.keeps_order = False
        self._results: list[dict[str, str]] = []
        self._open: list[dict[str, str]] = []
        self._definition = ("", "")
        self._classes: dict[str, str] = {}

    def opened(self, name: str, attrib: dict[str, str]) -> None:
        """A result, a definition, or the method of one."""
        if name.endswith("Result") and self.parent in _LISTS:
            self._open.append({key: attrib.get(key, "") for key in ("testId", "testName", "outcome", "duration")})
        elif self.parent == "TestDefinitions":
            self._definition = (attrib.get("id", ""), "")
        elif name == "TestMethod":
            self._definition = (self._definition[0], _ASSEMBLY.sub("", attrib.get("className", "")))

    def closed(self, name: str) -> None:
        """A result or a definition is complete; of one that is cut not even the attributes are."""
        if name.endswith("Result") and self.parent in _LISTS:
            self._results.append(self._open.pop())
        elif self.parent == "TestDefinitions":
            self._classes[self._definition[0]] = self._definition[1]

    def finish(self, is_whole: bool) -> None:
        """All definitions are known: name the results."""
        for result in self._results:
            group = self._classes.get(result["testId"])
            if group is None and not is_whole:
                self._rows.refuse("missing_definition", "test_id", result["testId"], {**result})
                continue
            self._add(group or "", result)

    def _add(self, group: str, result: dict[str, str]) -> None:
        name = without_prefix(result["testName"], group)
        outcome = _OUTCOMES.get(result["outcome"].lower())
        if outcome is None:
            self._rows.refuse("unknown_outcome", "outcome", result["outcome"], {**result})
            return
        self._rows.add_result(group, name, outcome, self._seconds(result["duration"], name))

    def _seconds(self, text: str, name: str) -> float:
        if not text.strip():
            return math.nan
        parts = _SPAN.fullmatch(text.strip())
        if parts is None:
            self._rows.refuse("not_a_number", "duration_s", text, {"name": name, "duration": text})
            return math.nan
        days, hours, minutes, seconds = parts.groups()
        return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(seconds)
