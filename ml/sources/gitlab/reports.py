"""The reports of a GitLab pipeline: what GitLab made of them, or the files in the artifacts of its jobs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

from ml.errors import RefusedPayload
from ml.sources.artifact_files import keep_reports
from ml.sources.case_report import Case, Suite, write_report
from ml.sources.gitlab.pages import pages
from ml.sources.refusals import Refusal, as_value
from ml.sources.rest_api import Json, RestApi, as_name, as_number, as_objects, as_text
from ml.sources.unpacking import MAX_PAYLOADS, unpack
from ml.spec import Outcome

OUTCOMES = {
    "success": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "error": Outcome.ERROR,
    "skipped": Outcome.SKIPPED,
}
Found = tuple[list[Json], list[Refusal]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where reports come from, below the path `root` of the server, and go to; none is larger than `max_bytes`."""

    api: RestApi
    root: str
    folder: Path
    max_bytes: int


Reporting = Callable[[Place, str], Found]  # the reports of a pipeline by its id: `test_report`, or `artifacts`


def collect(place: Place, pipelines: Sequence[tuple[str, str]], reporting: Reporting) -> Found:
    """The reports of several pipelines, each (id, name) in a folder of its own; a name comes before its variants.

    Raises:
        SourceError: the server cannot be reached or refuses.
    """
    reports: list[Json] = []
    refused: list[Refusal] = []
    for number, (run_id, name) in enumerate(pipelines, start=1):
        folder = f"{number:04}"
        (place.folder / folder).mkdir()
        found, gone = reporting(replace(place, folder=place.folder / folder), run_id)
        reports += [{"path": f"{folder}/{one['path']}", "variant": _below(name, one["variant"])} for one in found]
        refused += [replace(one, payload=_below(name, one.payload or "")) for one in gone]
    return reports, refused


def _below(name: str, inner: str) -> str:
    return as_name(f"{name}/{inner}", inner) if name else inner


def test_report(place: Place, run_id: str) -> Found:
    """Write one report per suite, which is what one job reported; its name is the variant.

    Returns:
        Entries for `reports` of a manifest, and what could not be had.

    Raises:
        SourceError: the server cannot be reached or refuses.
    """
    try:
        report = _answer(place, f"{place.root}/pipelines/{run_id}/test_report")
    except RefusedPayload as problem:
        return [], [Refusal(problem.reason, as_value(problem), payload="test_report")]
    if report is None:
        return [], [Refusal("artifact_gone", None, payload="test_report")]
    reports, refused = [], []
    for number, suite in enumerate(as_objects(report.get("test_suites")), start=1):
        name = as_name(suite.get("name"), "default")
        # The name of a job must not become part of the names of its tests.
        cases = [_case(case) for case in as_objects(suite.get("test_cases"))]
        # GitLab sorts cases by outcome and duration.
        suite_of_job = Suite("", cases, keeps_order=False)
        path, problems = write_report(place.folder, number, [suite_of_job], place.max_bytes)
        refused += problems
        if path is not None:
            reports.append({"path": path, "variant": name})
        if suite.get("suite_error") is not None:
            refused.append(Refusal("unreadable", as_value(suite["suite_error"]), payload=name))
    return reports, refused


def artifacts(place: Place, run_id: str, patterns: Sequence[str]) -> Found:
    """Unpack the reports of the jobs whose names match, of those that were retried as well; see `test_report`.

    The variant is the name of the job. What a retry tells is a report of its own.
    """
    reports: list[Json] = []
    refused: list[Refusal] = []
    for number, job in enumerate(_jobs(place, run_id, patterns), start=1):
        name = as_name(job.get("name"), "default")
        unpacked = place.folder / f"{number:04}"
        unpacked.mkdir()
        refused += _unpack(place, job, name, unpacked)
        for file in keep_reports(unpacked):
            reports.append({"path": file.relative_to(place.folder).as_posix(), "variant": name})
    return reports, refused


def _answer(place: Place, path: str) -> Json | None:
    """A JSON object that may be as large as a report may be, since it quotes the output of the tests."""
    with TemporaryDirectory(prefix="fourgate-answer-") as scratch:
        file = Path(scratch, "answer")
        if not place.api.download(path, file, place.max_bytes):
            return None
        try:
            found = json.loads(file.read_bytes())
        except (ValueError, RecursionError):
            raise RefusedPayload("malformed_json", "no JSON") from None
    if not isinstance(found, dict):
        raise RefusedPayload("malformed_json", "no JSON object")
    return found


def _case(case: Json) -> Case:
    status = as_text(case.get("status"))
    return Case(case.get("classname"), case.get("name"), case.get("execution_time"), OUTCOMES.get(status or ""))


def _jobs(place: Place, run_id: str, patterns: Sequence[str]) -> list[Json]:
    """Jobs by their id, in the order in which they were made."""
    jobs: dict[int, Json] = {}
    for page in pages(place.api, f"{place.root}/pipelines/{run_id}/jobs", {"include_retried": "true"}):
        for job in page:
            job_id, name = as_number(job.get("id")), as_text(job.get("name")) or ""
            if job_id is not None and any(fnmatchcase(name, pattern) for pattern in patterns):
                jobs[job_id] = {**job, "id": job_id}
    return [jobs[job_id] for job_id in sorted(jobs)]


def _unpack(place: Place, job: Json, name: str, folder: Path) -> list[Refusal]:
    until = as_text(job.get("artifacts_expire_at"))
    gone = Refusal("artifact_gone", as_value(f"{name}, kept until {until or 'it was deleted'}"), payload=name)
    if not isinstance(job.get("artifacts_file"), dict):
        return [gone] if until else []
    with TemporaryDirectory(prefix="fourgate-artifact-") as scratch:
        archive = Path(scratch, "artifacts")
        path = f"{place.root}/jobs/{job['id']}/artifacts"
        try:
            if not place.api.download(path, archive, place.max_bytes * MAX_PAYLOADS):
                return [gone]
        except RefusedPayload as problem:
            return [Refusal(problem.reason, as_value(problem), payload=name)]
        if not _is_zip(archive):
            return [Refusal("damaged_archive", "no zip", payload=name)]
        refused = unpack(archive, folder, place.max_bytes)
    return [Refusal(one.reason, one.value, payload=as_name(f"{name}/{one.payload}", name)) for one in refused]


def _is_zip(archive: Path) -> bool:
    with archive.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
