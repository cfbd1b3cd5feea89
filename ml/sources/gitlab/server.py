"""Source `gitlab`: pipelines of a GitLab project, with their test reports or the artifacts of their jobs.

A pipeline is a run with one attempt. GitLab retries jobs inside a pipeline: it runs again, `updated_at` changes, and
the pipeline keeps its id. What is retried before a pipeline is collected is in its report; a pipeline that is collected
is never asked for again, so what is retried later is not seen. What its child pipelines report is part
of its run.
https://docs.gitlab.com/api/pipelines/, https://docs.gitlab.com/api/jobs/
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

import httpx
from pydantic import BeforeValidator, Field, HttpUrl

from ml.errors import SourceError
from ml.sources.ci_server import CiServer, Downloaded, ServerOptions, ServerRun
from ml.sources.gitlab.changes import changes_of
from ml.sources.gitlab.children import CHILD, ENDED, Child, children_of
from ml.sources.gitlab.pages import pages
from ml.sources.gitlab.reports import Place, Reporting, artifacts, collect, test_report
from ml.sources.http import patient_transport
from ml.sources.manifest import Document, read_moment
from ml.sources.refusals import Refusal
from ml.sources.rest_api import Json, RestApi, as_moment, as_name, as_number, as_objects, as_text, checked_secret
from ml.sources.source import Finding, Surroundings
from ml.spec import Interval

# `created_after` leaves out what was created at that very moment.
MARGIN = timedelta(seconds=1)
ADVICE = {
    401: "the token is missing, wrong or expired; right would be an access token with the scope read_api",
    403: "the token may not read this; right would be the scope read_api and the role Reporter in the project, "
    "with its repository, merge requests and CI/CD switched on",
    404: "there is no such project, or the token may not see it; right would be the path as in the project's address, "
    "group/sub/name, and a token of a member",
}


def _as_path(value: object) -> object:
    """A project's numeric id as text."""
    return str(int(value)) if isinstance(value, int | float) and value == value // 1 else value


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Options(ServerOptions):
    """A project of GitLab.

    Attributes:
        kind: `gitlab`.
        url: Root of the server; also one below a path.
        path: The project's path, as ``group/sub/name``, or its numeric id.
        reports: `test_report`: what GitLab made of the JUnit reports of all jobs. `artifacts`: the report files in the
            artifacts of the jobs.
        jobs: With `artifacts`, patterns of the names of the jobs that are asked, as ``test-*``.
    """

    kind: Literal["gitlab"] = "gitlab"
    url: HttpUrl = HttpUrl("https://gitlab.com")
    path: Annotated[str, BeforeValidator(_as_path)] = Field(min_length=1, max_length=500)
    reports: Literal["test_report", "artifacts"] = "test_report"
    jobs: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ("*",)


def open_source(options: Options, secret: str, around: Surroundings) -> CiServer:
    """The server as a source of `fourgate.toml`."""
    return CiServer(GitLab(options, secret), around)


class GitLab:
    """One project of a GitLab server; `secret` is an access token with the scope `read_api`."""

    kind = "gitlab"

    def __init__(self, options: Options, secret: str, transport: httpx.BaseTransport | None = None) -> None:
        self.project = options.project
        self._options = options
        token = checked_secret(secret)
        headers = {"PRIVATE-TOKEN": token} if token else {}
        transport = transport or patient_transport(options.ca_file)
        self._api = RestApi(f"{str(options.url).rstrip('/')}/api/v4", ADVICE, headers, transport=transport)
        self._root = f"projects/{quote(options.path.strip('/'), safe='')}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self._api.__exit__(*error)

    def find(self, interval: Interval) -> Iterator[ServerRun]:
        """Every pipeline that was created in `interval`, in the order of its creation; a run's start is that.

        A pipeline that waits for somebody to start a job by hand counts as finished once another job has run: most
        wait forever for a deployment. Whether one waits for its children shows when it is downloaded.

        Raises:
            SourceError: the server cannot be reached, refuses, or answers what is no listing.
        """
        runs: dict[str, ServerRun] = {}
        for entry in self._listed(interval):
            run_id, created = as_number(entry.get("id")), _read(entry.get("created_at"))
            if run_id is None or created is None or entry.get("source") == CHILD:
                continue
            if interval.contains(created):
                is_finished = self._is_finished(run_id, entry.get("status"))
                runs[str(run_id)] = ServerRun(str(run_id), 1, created, is_finished, entry)
        yield from sorted(runs.values(), key=lambda run: (run.started_at, int(run.run_id)))

    def download(self, run: ServerRun, folder: Path, max_bytes: int) -> Downloaded | None:
        """Put the reports of a pipeline and of its children below `folder`; None while it waits for one of them.

        Raises:
            SourceError: the server cannot be reached or refuses.
        """
        found = self._api.find(f"{self._root}/pipelines/{run.run_id}")
        if found is None:
            gone = Refusal("artifact_gone", "the pipeline was deleted", payload="pipeline")
            return Downloaded({**self._document(run, dict(run.detail), ()), "reports": []}, [gone])
        pipeline = {**run.detail, **found, "id": run.run_id}
        children = children_of(self._api, self._root, pipeline)
        if not all(child.is_finished for child in children):
            return None
        pipelines = [(run.run_id, ""), *((child.run_id, child.name) for child in children)]
        place = Place(self._api, self._root, folder, max_bytes)
        reports, refused = collect(place, pipelines, self._reporting())
        return Downloaded({**self._document(run, pipeline, children), "reports": reports}, refused)

    def _reporting(self) -> Reporting:
        if self._options.reports == "test_report":
            return test_report
        return partial(artifacts, patterns=self._options.jobs)

    def _document(self, run: ServerRun, pipeline: Json, children: Sequence[Child]) -> Document:
        changes = changes_of(self._api, self._root, pipeline)
        return {**_describe(run, pipeline, self.project, children), **changes}

    def test(self) -> Iterator[Finding]:
        """Project, pipelines, reports, history and rate limit, as far as each can be read."""
        try:
            answer = self._api.get(self._root)
            yield Finding("project", True, f"{self._options.path} can be read")
            newest = self._end_of_history("desc")
            yield Finding("pipelines", bool(newest), "can be read" if newest else "can be read, but there are none")
            if newest:
                yield self._history(newest)
                yield self._reports_of(newest)
            yield _rate_limit(answer)
        except SourceError as error:
            yield Finding("access", False, str(error))

    def _listed(self, interval: Interval) -> Iterator[Json]:
        """Newest first, so that a pipeline that comes meanwhile moves none out of sight."""
        bounds = {}
        if interval.start is not None:
            bounds["created_after"] = _iso(interval.start - MARGIN)
        if interval.end is not None:
            bounds["created_before"] = _iso(interval.end + MARGIN)
        order = {**bounds, "order_by": "id", "sort": "desc"}
        for page in pages(self._api, f"{self._root}/pipelines", order):
            yield from page
            # A server that does not know `created_after` yet would go back to the first pipeline.
            if interval.start is not None and page and _all_before(page, interval.start - MARGIN):
                return

    def _is_finished(self, run_id: int, status: object) -> bool:
        if status != "manual":
            return status in ENDED
        return as_text((self._api.find(f"{self._root}/pipelines/{run_id}") or {}).get("started_at")) is not None

    def _end_of_history(self, sort: str) -> httpx.Response | None:
        """The listing of the newest (`desc`) or oldest (`asc`) pipeline, None where there is none."""
        order: dict[str, str | int] = {"order_by": "id", "sort": sort, "per_page": 1}
        answer = self._api.get(f"{self._root}/pipelines", order)
        return answer if as_objects(self._api.json(answer)) else None

    def _history(self, newest: httpx.Response) -> Finding:
        oldest = self._end_of_history("asc") or newest
        first, last = (as_name(_created(self._api.json(answer)), "?") for answer in (oldest, newest))
        # Beyond 10,000 GitLab does not count.
        count = as_number(newest.headers.get("x-total"))
        return Finding("history", True, f"{count if count is not None else 'many'} pipelines from {first} to {last}")

    def _reports_of(self, newest: httpx.Response) -> Finding:
        run_id = as_number(as_objects(self._api.json(newest))[0].get("id"))
        if self._options.reports == "artifacts":
            self._api.get(f"{self._root}/pipelines/{run_id}/jobs", {"per_page": 1})
            return Finding("artifacts", True, "jobs can be read")
        summary = self._api.find(f"{self._root}/pipelines/{run_id}/test_report_summary") or {}
        total = summary.get("total")
        count = as_number(total.get("count")) if isinstance(total, dict) else None
        advice = f"{count} tests" if count else "none; a job needs `artifacts: reports: junit:`, or choose artifacts"
        return Finding("test report of the newest pipeline", bool(count), advice)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _created(listing: Any) -> object:
    return as_objects(listing)[0].get("created_at")


def _all_before(page: Sequence[Json], start: datetime) -> bool:
    created = [_read(entry.get("created_at")) for entry in page]
    return all(moment is not None and moment < start for moment in created)


def _describe(run: ServerRun, pipeline: Json, project: str, children: Sequence[Child]) -> Document:
    user = pipeline.get("user")
    # A parent need not wait for its children; what they tell is known when the last of them has ended.
    ends = [end for one in (pipeline, *(child.pipeline for child in children)) if (end := _end(one))]
    return {
        "run_id": run.run_id,
        "attempt": run.attempt,
        "project": project,
        "workflow": as_text(pipeline.get("name")),
        "event": as_text(pipeline.get("source")),
        "branch": as_text(pipeline.get("ref")),
        "commit_sha": as_text(pipeline.get("sha")),
        "author": as_text(user.get("username")) if isinstance(user, dict) else None,
        "started_at": (_read(pipeline.get("started_at")) or run.started_at).isoformat(),
        "finished_at": max(ends).isoformat() if ends else None,
        "status": as_text(pipeline.get("status")),
    }


def _end(pipeline: Json) -> datetime | None:
    return _read(pipeline.get("finished_at")) or _read(pipeline.get("updated_at"))


def _read(value: object) -> datetime | None:
    return read_moment(as_text(value) or "")


def _rate_limit(answer: httpx.Response) -> Finding:
    left, most = (as_number(answer.headers.get(f"ratelimit-{name}")) for name in ("remaining", "limit"))
    reset = as_moment(answer.headers.get("ratelimit-reset"))
    if left is None or most is None:
        return Finding("rate limit", True, "the server tells none")
    until = f", reset at {reset:%Y-%m-%d %H:%M:%S} UTC" if reset else ""
    return Finding("rate limit", left > 0, f"{left} of {most} requests left{until}")
