"""TestNG's own ``testng-results.xml``: suite, test, class, test-method.

https://testng.org/#_xml_reports

- `test_id` is ``class::method(parameters)``. The address in Java's default text of an object (``Order@1b2c3d``) differs
  from run to run and is left out; parameters keep the rows of a data provider apart.
- PASS is passed, FAIL is failed, SKIP is skipped; FAIL within the success percentage is passed.
- a method with ``retried="true"``, which TestNG marks SKIP, failed and was run again: a failed execution of the test
  that follows in its class.
- methods of the configuration (``is-config``) are no tests.
"""

import re

from ml.sources.reports.elements import Elements
from ml.sources.reports.rows import FAILED, PASSED, SKIPPED, ReportRows, Retried, test_id

_STATUSES = {"PASS": PASSED, "FAIL": FAILED, "SKIP": SKIPPED, "SUCCESS_PERCENTAGE_FAILURE": PASSED}
_ADDRESS = re.compile(r"(?<=[\w$\]>;])@[0-9a-f]{1,8}(?![\w.])")
_Execution = tuple[str, float, bool]


class TestNg(Elements):
    """Target that keeps the methods of one class, to join what was retried."""

    def __init__(self, rows: ReportRows) -> None:
        super().__init__(rows)
        self._class = ""
        self._method: dict[str, str] | None = None
        self._parameters: list[str] = []
        self._executions: dict[str, list[_Execution]] = {}

    def opened(self, name: str, attrib: dict[str, str]) -> None:
        """A class, a method, or a parameter of it."""
        if name == "class" and self.parent == "test":
            self._class = attrib.get("name", "")
        elif name == "test-method":
            self._method, self._parameters = dict(attrib), []
        elif name == "value" and self.parent == "param":
            if attrib.get("is-null") == "true":
                self._parameters.append("null")
            else:
                self.collect()

    def closed(self, name: str) -> None:
        """A parameter, a method or a class is complete."""
        if name == "value" and self._pieces is not None:
            self._parameters.append(_ADDRESS.sub("", self.collected()))
        elif name == "test-method" and self._method is not None:
            self._keep(self._method)
            self._method = None
        elif name == "class" and self.parent == "test":
            self._add_class()

    def finish(self, is_whole: bool) -> None:
        """Methods of a class that was cut are complete all the same."""
        self._add_class()

    def _keep(self, method: dict[str, str]) -> None:
        if method.get("is-config") == "true":
            return
        name = method.get("name", "")
        parameters = f"({', '.join(self._parameters)})" if self._parameters else ""
        status = method.get("status", "")
        outcome = _STATUSES.get(status.upper())
        if outcome is None or not name.strip():
            reason, column = ("missing_name", "test_id") if outcome is not None else ("unknown_outcome", "outcome")
            self._rows.refuse(reason, column, status, {"classname": self._class, "name": name, "status": status})
            return
        is_retried = method.get("retried") == "true"
        seconds = self._rows.seconds(method.get("duration-ms"), name, 0.001)
        execution = (FAILED if is_retried else outcome, seconds, is_retried)
        self._executions.setdefault(test_id(self._class, name + parameters), []).append(execution)

    def _add_class(self) -> None:
        for identity, executions in self._executions.items():
            first = len(self._rows.test_ids)
            for outcome, seconds, is_retried in executions:
                self._rows.add(identity, outcome, seconds)
                row = len(self._rows.test_ids)
                if not is_retried:
                    self._close(first, row)
                    first = row
            self._close(first, len(self._rows.test_ids))
        self._executions = {}

    def _close(self, first: int, stop: int) -> None:
        if stop - first > 1:
            self._rows.retried.append(Retried(first, stop, stop - 1))
