"""xUnit.net v2 and v3 (``<assemblies>``) and v1 (``<assembly>`` with ``<class>``).

https://xunit.net/docs/format-xml-v2 and https://xunit.net/docs/format-xml-v3

- `test_id` is ``type::name``, the display name without the type in front of it; arguments of a theory stay. Without a
  type the name of the class (v1) or of the collection stands in.
- Pass is passed, Fail is failed, Skip and NotRun are skipped.
- ``<errors>`` of an assembly belong to no test and give no row.
"""

from ml.sources.reports.elements import Elements
from ml.sources.reports.rows import FAILED, PASSED, SKIPPED, ReportRows, without_prefix

_RESULTS = {"pass": PASSED, "fail": FAILED, "skip": SKIPPED, "notrun": SKIPPED}


class XUnitNet(Elements):
    """Target for all versions."""

    def __init__(self, rows: ReportRows) -> None:
        super().__init__(rows)
        self._group = ""
        self._test: dict[str, str] | None = None

    def opened(self, name: str, attrib: dict[str, str]) -> None:
        """A group of tests, or a test."""
        if name in ("class", "collection"):
            self._group = attrib.get("name", "")
        elif name == "test":
            self._test = dict(attrib)

    def closed(self, name: str) -> None:
        """A test is complete; of one that is cut not even the attributes are."""
        if name == "test" and self._test is not None:
            self._add(self._test)
            self._test = None

    def _add(self, test: dict[str, str]) -> None:
        group = test.get("type", "")
        name = without_prefix(test.get("name", ""), group) or test.get("method", "")
        result = test.get("result", "")
        if result.lower() not in _RESULTS:
            self._rows.refuse("unknown_outcome", "outcome", result, {"classname": group, "name": name})
            return
        seconds = self._rows.seconds(test.get("time"), name)
        self._rows.add_result(group or self._group, name, _RESULTS[result.lower()], seconds)
