"""Writes the results that a server tells case by case as JUnit XML, so that they land as any other report does."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from ml.sources.refusals import Refusal, as_row, printable
from ml.sources.reports.junit_xml import ORDER_IS_LOST
from ml.sources.rest_api import as_text
from ml.spec import Outcome

# What XML 1.0 cannot hold: https://www.w3.org/TR/xml/#charsets
_NO_XML = str.maketrans(dict.fromkeys(map(chr, (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)), "?"))
_MARKS = {Outcome.FAILED: "failure", Outcome.ERROR: "error", Outcome.SKIPPED: "skipped"}


@dataclass(frozen=True, slots=True)
class Case:
    """One result as a server tells it: values of any type; an `outcome` of None is none that is known."""

    group: object
    name: object
    seconds: object
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Suite:
    """Results of one suite; `name` stands in for the class of those that name none, blank for none.

    `keeps_order` says that the cases are told in the order of execution.
    """

    name: object
    cases: Sequence[Case]
    keeps_order: bool = True


def write_report(
    folder: Path, number: int, suites: Iterable[Suite], max_bytes: int
) -> tuple[str | None, list[Refusal]]:
    """Write the report `<number>.xml` below `folder`.

    Returns:
        Its path relative to `folder`, None where there is nothing in it or it would be larger than `max_bytes`
        (`payload_too_large`); and what could not be written, with the reason `unknown_outcome`.
    """
    path = f"{number:06}.xml"
    root = etree.Element("testsuites")
    refused: list[Refusal] = []
    for suite in suites:
        _add(root, suite, path, refused)
    if len(root) == 0:
        return None, refused
    content = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    if len(content) > max_bytes:
        value = f"{len(content)} bytes; at most {max_bytes}"
        return None, [*refused, Refusal("payload_too_large", value, payload=path)]
    (folder / path).write_bytes(content)
    return path, refused


def _add(root: etree._Element, suite: Suite, path: str, refused: list[Refusal]) -> None:
    known = [case for case in suite.cases if case.outcome is not None]
    refused += [_refusal(case, path) for case in suite.cases if case.outcome is None]
    if known:
        element = etree.SubElement(root, "testsuite", _attributes({"name": suite.name}))
        if not suite.keeps_order:
            properties = etree.SubElement(element, "properties")
            etree.SubElement(properties, "property", {"name": ORDER_IS_LOST, "value": "true"})
        for case in known:
            _add_case(element, case)


def _add_case(suite: etree._Element, case: Case) -> None:
    attributes = _attributes({"classname": case.group, "name": case.name})
    if isinstance(case.seconds, str | int | float) and not isinstance(case.seconds, bool):
        attributes["time"] = _legal(str(case.seconds))
    element = etree.SubElement(suite, "testcase", attributes)
    if case.outcome in _MARKS:
        etree.SubElement(element, _MARKS[case.outcome])


def _attributes(values: Mapping[str, object]) -> dict[str, str]:
    return {name: _legal(value) for name, value in values.items() if as_text(value) and isinstance(value, str)}


def _legal(text: str) -> str:
    return printable(text).translate(_NO_XML)


def _refusal(case: Case, path: str) -> Refusal:
    row = as_row({"classname": case.group, "name": case.name})
    return Refusal("unknown_outcome", None, "outcome", row, payload=path)
