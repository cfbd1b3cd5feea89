"""Source `jenkins`: builds of a Jenkins job, or of every branch of a multibranch job, with their test results.

A build is a run with one attempt; its id is ``<path of the job>#<number>``. Every address is built here: the ones that
Jenkins sends follow its own idea of its name, and are not believed.
https://www.jenkins.io/doc/book/using/remote-access-api/
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx
from pydantic import Field

from ml.errors import RefusedPayload, SourceError
from ml.sources.ci_server import CiServer, Downloaded, ServerOptions, ServerRun
from ml.sources.http import patient_transport
from ml.sources.jenkins.changes import changes_of, tree
from ml.sources.jenkins.reports import fetch
from ml.sources.manifest import Document
from ml.sources.refusals import Refusal, as_value
from ml.sources.rest_api import (
    Json,
    RestApi,
    as_list,
    as_moment,
    as_number,
    as_objects,
    as_text,
    checked_secret,
)
from ml.sources.source import Finding, Surroundings
from ml.spec import Interval

PAGE = 100
# More than the builds of years; a job that never comes to an end is none.
MAX_PAGES = 1_000
# A branch, in a multibranch job, in an organisation folder.
JOBS = "jobs[name,jobs[name,jobs[name]]]"
BUILDS = "allBuilds[number,timestamp,duration,building,result]"
# Jenkins numbers builds when they are queued; they start in about that order.
QUEUED = timedelta(days=1)
MILLISECONDS = 1_000
ADVICE = {
    401: "user or API token are missing or wrong; right would be a user's id and an API token of that user",
    403: "this user may not read this; right would be the permissions Overall/Read, Job/Read and Job/Discover",
    404: "there is no such job, or this user may not see it; right would be the names of the folders and of the job, "
    "as folder/sub/job, and the permission Job/Read",
}


class Options(ServerOptions):
    """A job of Jenkins.

    Attributes:
        kind: `jenkins`.
        url: Root of the server; also one below a path, as ``https://ci.example.org/jenkins``.
        job: Names of its folders and of the job, as ``folder/sub/job``; of a multibranch job or a folder, every job
            below it is collected.
        user: Whose API token the secret is; without one the secret goes as a bearer token, and none as nothing.
        author: Whether to ask who made a change; only a keyed hash of it is ever stored.
    """

    kind: Literal["jenkins"] = "jenkins"
    job: str = Field(pattern="[^/]", max_length=1_000)
    user: str = ""
    author: bool = True


def open_source(options: Options, secret: str, around: Surroundings) -> CiServer:
    """The server as a source of `fourgate.toml`."""
    return CiServer(Jenkins(options, secret), around)


class Jenkins:
    """One job of a Jenkins server, or all jobs below one; `secret` is an API token."""

    kind = "jenkins"

    def __init__(self, options: Options, secret: str, transport: httpx.BaseTransport | None = None) -> None:
        self.project = options.project
        self._options = options
        token = checked_secret(secret)
        auth = httpx.BasicAuth(options.user, token) if options.user else None
        headers = {"Authorization": f"Bearer {token}"} if token and auth is None else {}
        self._api = RestApi(str(options.url), ADVICE, headers, auth, transport or patient_transport(options.ca_file))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self._api.__exit__(*error)

    def find(self, interval: Interval) -> Iterator[ServerRun]:
        """Every build that started in `interval`, in the order of their start.

        Raises:
            SourceError: the server cannot be reached, refuses, or answers what is no job.
        """
        runs = [run for job in self._jobs() for run in self._builds(job, interval)]
        yield from sorted(runs, key=lambda run: (run.started_at, run.run_id))

    def download(self, run: ServerRun, folder: Path, max_bytes: int) -> Downloaded:
        """Put the test results of a build below `folder`, as one JUnit XML report per variant.

        Raises:
            SourceError: the server cannot be reached or refuses. A build without test results has no reports.
        """
        path = f"{_path(run.detail['job'])}/{run.detail['number']}"
        refused: list[Refusal] = []
        build: Json | None = {}
        try:
            build = self._api.find(f"{path}/api/json", {"tree": tree(self._options.author)})
        except RefusedPayload as problem:
            refused.append(Refusal(problem.reason, as_value(problem), contract="runs", payload="build"))
        if build is None:
            refused.append(Refusal("artifact_gone", "the build was deleted", payload="build"))
        reports, unread = fetch(self._api, path, folder, max_bytes)
        document = _describe(run, self.project)
        changes = changes_of(build or {}, run.detail["job"])
        return Downloaded({**document, **changes, "reports": reports}, [*refused, *unread])

    def test(self) -> Iterator[Finding]:
        """Job, builds, test results and history, as far as each can be read."""
        try:
            jobs = self._jobs()
            yield Finding("job", True, f"{self._options.job} can be read, with {len(jobs)} jobs")
            runs = list(self.find(Interval()))
            yield Finding("builds", bool(runs), "can be read" if runs else "can be read, but there are none")
            if runs:
                first, last = runs[0].started_at, runs[-1].started_at
                yield Finding("history", True, f"{len(runs)} builds from {first:%Y-%m-%d} to {last:%Y-%m-%d}")
                yield self._results_of([run for run in runs if run.is_finished][-1:])
        except SourceError as error:
            yield Finding("access", False, str(error))

    def _results_of(self, newest: list[ServerRun]) -> Finding:
        for run in newest:
            path = f"{_path(run.detail['job'])}/{run.detail['number']}/testReport/api/json"
            if self._api.find(path, {"tree": "totalCount,passCount,failCount"}) is not None:
                return Finding("test results of the newest build", True, "can be read")
        return Finding("test results of the newest build", False, "none; a job needs the step `junit`")

    def _jobs(self) -> list[list[str]]:
        """Names of the folders and of the job, for each job that has builds of its own."""
        names = [name for name in self._options.job.split("/") if name]
        found = self._api.get(f"{_path(names)}/api/json", {"tree": f"name,{JOBS}"})
        job = self._api.json(found)
        if not isinstance(job, dict):
            raise SourceError(f"{self._api.place(_path(names))} is no job; right would be the root of Jenkins as url")
        return sorted(_leaves(names, job))

    def _builds(self, job: list[str], interval: Interval) -> Iterator[ServerRun]:
        """Newest first, so that a build that comes meanwhile moves none out of sight."""
        runs: dict[str, ServerRun] = {}
        before: list[Any] = []
        for first in range(0, MAX_PAGES * PAGE, PAGE):
            page = self._page(job, first)
            found = [run for entry in as_objects(page) if (run := _run(job, entry)) is not None]
            runs |= {run.run_id: run for run in found}
            # The same page again: a server that does not know ranges.
            is_repeated = bool(found) and page == before
            if len(page) < PAGE or is_repeated or _all_before(found, interval):
                break
            before = page
        yield from (run for run in runs.values() if interval.contains(run.started_at))

    def _page(self, job: list[str], first: int) -> list[Any]:
        path = f"{_path(job)}/api/json"
        found = self._api.find(path, {"tree": f"{BUILDS}{{{first},{first + PAGE}}}"})
        # None: a branch that was deleted meanwhile.
        return as_list((found or {}).get("allBuilds"))


def _path(job: list[str]) -> str:
    return "/".join(f"job/{quote(name, safe='')}" for name in job)


def _leaves(names: list[str], job: Json, depth: int = JOBS.count("jobs")) -> Iterator[list[str]]:
    if "jobs" not in job:
        yield names
    elif depth > 0:
        for below in as_objects(job["jobs"]):
            name = as_text(below.get("name"))
            # Two that an address cannot hold as names.
            if name is not None and name not in (".", ".."):
                yield from _leaves([*names, name], below, depth - 1)


def _run(job: list[str], entry: Json) -> ServerRun | None:
    number, started = as_number(entry.get("number")), as_moment(entry.get("timestamp"), MILLISECONDS)
    if number is None or started is None:
        return None
    is_finished = entry.get("building") is False and as_text(entry.get("result")) is not None
    detail = {**entry, "job": job, "number": number}
    return ServerRun(f"{'/'.join(job)}#{number}", 1, started, is_finished, detail)


def _all_before(runs: list[ServerRun], interval: Interval) -> bool:
    if interval.start is None or not runs:
        return False
    earliest = interval.start - QUEUED
    return all(run.started_at < earliest for run in runs)


def _describe(run: ServerRun, project: str) -> Document:
    started, took = as_number(run.detail["timestamp"]), as_number(run.detail.get("duration"))
    finished = as_moment((started or 0) + took, MILLISECONDS) if took else None
    return {
        "run_id": run.run_id,
        "attempt": run.attempt,
        "project": project,
        "workflow": "/".join(run.detail["job"]),
        "started_at": run.started_at.isoformat(),
        "finished_at": finished.isoformat() if finished else None,
        "status": (as_text(run.detail.get("result")) or "").lower(),
    }
