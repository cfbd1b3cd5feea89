"""JUnit XML as written by surefire, pytest, gtest, jest, go-junit-report, ctest, phpunit and their kin.

There is no standard; this reads what the producers have in common, wherever suites nest:

- `test_id` is ``classname::name``; without a class name the nearest suite's name stands in, else ``name`` alone. A
  case without a name (surefire: the set-up of a class failed) is called by its class.
- outcome: ``<failure>`` is failed, ``<error>`` is error, ``<skipped>`` or a status of notrun, disabled, suppressed or
  skipped (gtest, ctest) is skipped, anything else passed; the first that applies wins.
- surefire's and nextest's ``<flakyFailure>``/``<flakyError>`` are executions before the case's own outcome,
  ``<rerunFailure>``/``<rerunError>`` executions after it: one row each. A case with reruns alone has no other rows.
  https://maven.apache.org/surefire/maven-surefire-plugin/examples/rerun-failing-tests.html
- the text of a failure is read from its attributes ``type`` and ``message``, of which most producers write one or both.
- cases stand in the order of execution, save those of a suite with a property of `_SORTED`: gotestsum, known by the
  version of Go, lists failed tests first, and so does what servers tell case by case.
- a case that is listed several times gives several rows, in order; `ml.sources.reports.repeats` tells them apart.
"""

from ml.sources.reports.failure_text import read_failure
from ml.sources.reports.rows import ERROR, FAILED, PASSED, SKIPPED, ReportRows, Retried, test_id
from ml.sources.reports.xml_stream import MAX_DEPTH, Guard, local_name, refuse_deep

_PRECEDENCE = {"failure": FAILED, "error": ERROR, "skipped": SKIPPED}
_EARLIER = {"flakyFailure": FAILED, "flakyError": ERROR}
_LATER = {"rerunFailure": FAILED, "rerunError": ERROR}
_EXECUTIONS = {**_EARLIER, **_LATER}
ORDER_IS_LOST = "fourgate.order-is-lost"
_SORTED = ("go.version", ORDER_IS_LOST)
_NOT_RUN = {"notrun", "disabled", "suppressed", "skipped"}
_SCHEMA = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
# Attributes of the elements that say how a case ended, by name; those of each execution, in order.
_Marks = dict[str, dict[str, str]]
_Runs = list[tuple[str, dict[str, str]]]


class JUnitXml(Guard):
    """Target that fills `rows` while the report streams by."""

    def __init__(self, rows: ReportRows) -> None:
        self._rows = rows
        rows.repeats_are_reruns = True
        self._depth = 0
        self._suites: list[str] = []
        self._places: list[int] = [0]
        self._known_places: dict[tuple[int, str, str], int] = {}
        self._case: dict[str, str] | None = None
        self._case_depth = 0
        self._marks: _Marks = {}
        self._runs: _Runs = []
        self._outer: list[tuple[dict[str, str], int, _Marks, _Runs]] = []

    def start(self, tag: str, attrib: dict[str, str]) -> None:
        """An element begins: a suite, a case, or a mark inside a case."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            refuse_deep(self._depth)
        name = local_name(tag) if tag[0] == "{" else tag
        if name == "testcase":
            if self._case is not None:
                self._outer.append((self._case, self._case_depth, self._marks, self._runs))
            self._case, self._case_depth, self._marks, self._runs = attrib, self._depth, {}, []
        elif name == "testsuite":
            self._enter(attrib)
        elif name == "property":
            self._rows.keeps_order &= attrib.get("name") not in _SORTED
        elif self._depth == self._case_depth + 1:
            self._mark(name, attrib)

    def end(self, tag: str) -> None:
        """An element ends: a case is complete, or a suite is left."""
        if self._depth == self._case_depth and self._case is not None:
            self._add(self._case)
            outer = self._outer.pop() if self._outer else (None, 0, {}, [])
            self._case, self._case_depth, self._marks, self._runs = outer
        elif self._suites and local_name(tag) == "testsuite":
            self._suites.pop()
            self._places.pop()
        self._depth -= 1

    def _mark(self, name: str, attrib: dict[str, str]) -> None:
        if name in _PRECEDENCE:
            self._marks.setdefault(name, attrib)
        elif name in _EXECUTIONS:
            self._runs.append((name, attrib))

    def _enter(self, attrib: dict[str, str]) -> None:
        name = attrib.get("name", "")
        self._suites.append(name)
        # Playwright writes its project, a browser, where others write the machine.
        place = (self._places[-1], name, attrib.get("hostname", ""))
        self._places.append(self._known_places.setdefault(place, len(self._known_places) + 1))
        if "surefire-test-report" in attrib.get(_SCHEMA, ""):
            self._rows.repeats_are_reruns = False

    def _add(self, case: dict[str, str]) -> None:
        name, group = case.get("name", ""), case.get("classname", "")
        if not name.strip() and not group.strip():
            shown: dict[str, object] = {key: case[key] for key in ("time", "status") if key in case}
            self._rows.refuse("missing_name", "test_id", None, shown)
            return
        if not group.strip():
            group = next((suite for suite in reversed(self._suites) if suite.strip()), "")
        identity = test_id(group, name)
        seconds = self._rows.seconds(case.get("time"), identity)
        if self._runs:
            self._add_executions(identity, self._outcome(case), seconds)
        else:
            self._rows.add(identity, self._outcome(case), seconds, self._places[-1])
            if self._marks:
                self._tell(self._broken())

    def _add_executions(self, identity: str, outcome: str, seconds: float) -> None:
        rows, place = self._rows, self._places[-1]
        first = len(rows.test_ids)
        for name, run in self._runs:
            if name in _EARLIER:
                rows.add(identity, _EARLIER[name], rows.seconds(run.get("time"), identity), place)
                self._tell(run)
        verdict = len(rows.test_ids)
        # Reruns without the failure that they follow: no execution is known to have passed.
        if self._marks or verdict > first:
            rows.add(identity, outcome, seconds, place)
            self._tell(self._broken())
        for name, run in self._runs:
            if name in _LATER:
                rows.add(identity, _LATER[name], rows.seconds(run.get("time"), identity), place)
                self._tell(run)
        rows.retried.append(Retried(first, len(rows.test_ids), verdict))

    def _broken(self) -> dict[str, str]:
        return self._marks.get("failure") or self._marks.get("error") or {}

    def _tell(self, mark: dict[str, str]) -> None:
        self._rows.tell(read_failure(mark.get("type"), mark.get("message")))

    def _outcome(self, case: dict[str, str]) -> str:
        if self._marks:
            return next(outcome for mark, outcome in _PRECEDENCE.items() if mark in self._marks)
        if "status" not in case and "result" not in case:
            return PASSED
        is_left_out = case.get("status", "").lower() in _NOT_RUN or case.get("result", "").lower() in _NOT_RUN
        return SKIPPED if is_left_out else PASSED
