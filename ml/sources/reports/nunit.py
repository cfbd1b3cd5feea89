"""NUnit 2 (``<test-results>``) and NUnit 3 (``<test-run>``), a ``<test-case>`` per test in nested ``<test-suite>``.

https://docs.nunit.org/articles/nunit/technical-notes/usage/Test-Result-XML-Format.html

- `test_id` is ``class::name(arguments)``, the class with its namespace and, for a fixture with parameters, those. In
  NUnit 3 it is the full name without the name, in NUnit 2 the name up to the last dot before the arguments; without
  either the nearest suite stands in.
- NUnit 3: Passed and Warning are passed; Failed is failed, or error where its label is Error, Invalid or Cancelled;
  Skipped and Inconclusive are skipped.
- NUnit 2: Success is passed, Failure failed, Error error; Ignored, Skipped, NotRunnable, Inconclusive and whatever was
  not executed are skipped. Before 2.5 there is no result: executed and success decide.
- a case with neither, as in the list that NUnit 3 makes of tests that it does not run, is refused: `unknown_outcome`.
"""

import re

from ml.sources.reports.elements import Elements
from ml.sources.reports.rows import ERROR, FAILED, PASSED, SKIPPED, ReportRows

_RESULTS = {
    **dict.fromkeys(("passed", "success", "warning"), PASSED),
    **dict.fromkeys(("failed", "failure"), FAILED),
    **dict.fromkeys(("error", "cancelled"), ERROR),
    **dict.fromkeys(("skipped", "ignored", "inconclusive", "notrunnable", "explicit"), SKIPPED),
}
_BROKEN_LABELS = ("error", "invalid", "cancelled")
# Arguments of a method or of a generic type: dots in them part nothing.
_ARGUMENTS = re.compile(r"[(<\"\[]")


class NUnit(Elements):
    """Target for both versions, whose cases differ in attributes only."""

    def __init__(self, rows: ReportRows) -> None:
        super().__init__(rows)
        self._suites: list[str] = []
        self._case: dict[str, str] | None = None
        self._has_failure = False

    def opened(self, name: str, attrib: dict[str, str]) -> None:
        """A suite or a case begins."""
        if name == "test-suite":
            self._suites.append(attrib.get("fullname") or attrib.get("name", ""))
        elif name == "test-case":
            self._case, self._has_failure = dict(attrib), False
        elif name == "failure" and self.parent == "test-case":
            self._has_failure = True

    def closed(self, name: str) -> None:
        """A case is complete, or a suite is left."""
        if name == "test-case" and self._case is not None:
            self._add(self._case)
            self._case = None
        elif name == "test-suite":
            self._suites.pop()

    def _add(self, case: dict[str, str]) -> None:
        group, name = _identity(case)
        if not group.strip():
            group = next((suite for suite in reversed(self._suites) if suite.strip()), "")
        outcome = self._outcome(case)
        if outcome is None:
            self._rows.refuse("unknown_outcome", "outcome", case.get("result"), {"classname": group, "name": name})
            return
        seconds = self._rows.seconds(case.get("duration", case.get("time")), name)
        self._rows.add_result(group, name, outcome, seconds)

    def _outcome(self, case: dict[str, str]) -> str | None:
        if case.get("executed", "").lower() == "false":
            return SKIPPED
        if "result" not in case and "executed" in case:
            return FAILED if self._has_failure or case.get("success", "").lower() == "false" else PASSED
        outcome = _RESULTS.get(case.get("result", "").lower())
        return ERROR if outcome == FAILED and case.get("label", "").lower() in _BROKEN_LABELS else outcome


def _identity(case: dict[str, str]) -> tuple[str, str]:
    name, full = case.get("name", ""), case.get("fullname", "")
    if full.endswith(f".{name}") and name:
        return full[: -len(name) - 1], name
    if "classname" in case:
        return case["classname"], name
    arguments = _ARGUMENTS.search(name)
    dot = name.rfind(".", 0, arguments.start() if arguments else len(name))
    return (name[:dot], name[dot + 1 :]) if 0 < dot < len(name) - 1 else ("", name)
