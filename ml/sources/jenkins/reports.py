"""The test results of a Jenkins build, as the plugin JUnit tells them, written as JUnit XML per variant.

A variant is the enclosing blocks of a pipeline (stages and branches of `parallel`), outermost first; of a matrix or
Maven build, the configuration or module comes before them.
https://github.com/jenkinsci/junit-plugin
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from ml.errors import RefusedPayload
from ml.sources.case_report import Case, Suite, write_report
from ml.sources.refusals import Refusal, as_value
from ml.sources.rest_api import Json, RestApi, as_list, as_name, as_objects, as_text
from ml.spec import Outcome

OUTCOMES = {
    "PASSED": Outcome.PASSED,
    "FIXED": Outcome.PASSED,
    "FAILED": Outcome.FAILED,
    "REGRESSION": Outcome.FAILED,
    "SKIPPED": Outcome.SKIPPED,
}
SUITES = "suites[name,enclosingBlockNames,nodeId,cases[className,name,status,duration,skipped]]"
TREE = f"{SUITES},childReports[child[number,url],result[{SUITES}]]"
PAYLOAD = "testReport"


def fetch(api: RestApi, build: str, folder: Path, max_bytes: int) -> tuple[list[Json], list[Refusal]]:
    """Write one report per variant of the build at the path `build`.

    Returns:
        Entries for `reports` of a manifest, and what could not be had. A build without results has neither.

    Raises:
        SourceError: the server cannot be reached or refuses.
    """
    try:
        found = api.find(f"{build}/testReport/api/json", {"tree": TREE})
    except RefusedPayload as problem:
        return [], [Refusal(problem.reason, as_value(problem), payload=PAYLOAD)]
    variants: dict[str, list[Suite]] = {}
    for variant, suite in _suites(found or {}):
        cases = [_case(case) for case in as_objects(suite.get("cases"))]
        variants.setdefault(variant, []).append(Suite(suite.get("name"), cases))
    reports, refused = [], []
    for number, (variant, suites) in enumerate(variants.items(), start=1):
        path, problems = write_report(folder, number, suites, max_bytes)
        refused += problems
        if path is not None:
            reports.append({"path": path, "variant": variant})
    return reports, refused


def _suites(report: Json) -> Iterator[tuple[str, Json]]:
    for suite in as_objects(report.get("suites")):
        yield _variant([], suite), suite
    for child in as_objects(report.get("childReports")):
        result, of = child.get("result"), child.get("child")
        place = _configuration(of.get("url")) if isinstance(of, dict) else None
        for suite in as_objects(result.get("suites")) if isinstance(result, dict) else []:
            yield _variant([place] if place else [], suite), suite


def _variant(places: list[str], suite: Json) -> str:
    # Jenkins names the innermost first.
    blocks = [as_name(name, "?") for name in reversed(as_list(suite.get("enclosingBlockNames")))]
    return " / ".join([*places, *blocks]) or "default"


def _configuration(url: object) -> str | None:
    """``os=linux`` of ``https://ci/job/shop/os=linux/12/``: read as text, never asked for."""
    parts = (as_text(url) or "").rstrip("/").split("/")
    return as_name(unquote(parts[-2]), "") or None if len(parts) > 1 else None


def _case(case: Json) -> Case:
    status = as_text(case.get("status")) or ("SKIPPED" if case.get("skipped") is True else "")
    return Case(case.get("className"), case.get("name"), case.get("duration"), OUTCOMES.get(status.upper()))
