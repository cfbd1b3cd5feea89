"""Source `github_actions`: the runs of a repository's workflows, with the test reports among their artifacts.

https://docs.github.com/en/rest/actions/workflow-runs
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import httpx
from pydantic import Field, HttpUrl

from ml.errors import SourceError
from ml.sources.ci_server import CiServer, Downloaded, ServerOptions, ServerRun
from ml.sources.github import artifacts, changes
from ml.sources.github.artifacts import Wanted
from ml.sources.github.runs import Facts, attempts_of, entries_of, moment, run_of, total_of, window
from ml.sources.http import patient_transport
from ml.sources.refusals import Refusal
from ml.sources.source import Finding, Surroundings
from ml.spec import Interval

# What an open side of an interval stands for: GitHub Actions began then; later than any run.
BEGAN, ENDS = datetime(2018, 10, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
GONE = (404, 410)


class Options(ServerOptions):
    """A GitHub repository's part of `fourgate.toml`.

    Attributes:
        kind: Always github_actions.
        url: Root of the REST API; of a GitHub Enterprise Server https://HOST/api/v3.
        repository: "owner/name".
        workflows: Names or file names of the workflows to collect; empty = all.
        artifacts: Patterns (``*``, ``?``, ``[...]``) of the names of artifacts that hold test reports.
        app_id: Number of a GitHub App; the secret is then its private key in PEM, else a token.
    """

    kind: Literal["github_actions"]
    url: HttpUrl = HttpUrl("https://api.github.com")
    repository: str = Field(
        max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*/[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$"
    )
    workflows: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ("*",)
    app_id: int | None = Field(None, ge=1)


def open_source(options: Options, secret: str, around: Surroundings) -> CiServer:
    """The server as a source of `fourgate.toml`."""
    return CiServer(GitHubActions(options, secret), around)


class GitHubActions:
    """One repository on GitHub; nothing is asked of it before the first call."""

    kind = "github_actions"

    def __init__(self, options: Options, secret: str, transport: httpx.BaseTransport | None = None) -> None:
        """`secret` is a token, or the private key of the App; empty reads what anyone may read."""
        from ml.sources.github.api import Access, GitHubApi  # noqa: PLC0415 -- takes most of a second

        self.project = options.project
        self._options = options
        access = Access(str(options.url), options.repository, secret, options.app_id)
        self._api = GitHubApi(access, transport or patient_transport(options.ca_file))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def find(self, interval: Interval) -> Iterator[ServerRun]:
        """Every attempt of the runs that were created in `interval`, in that order.

        Raises:
            SourceError: GitHub cannot be reached, refuses, answers what is no listing, or more runs were
                created in one second than it lists.
        """
        first = int((interval.start or BEGAN).timestamp())
        last = math.ceil((interval.end or ENDS).timestamp()) - 1
        seen: set[str] = set()
        for started_at, run_id, run in window(self._api, first, last):
            if run_id not in seen and interval.contains(started_at) and self._is_wanted(run):
                seen.add(run_id)
                yield from attempts_of(run_id, started_at, run)

    def download(self, run: ServerRun, folder: Path, max_bytes: int) -> Downloaded:
        """Put the reports of the attempt below `folder`; an artifact or an attempt that is gone is a refusal.

        Raises:
            SourceError: GitHub cannot be reached or refuses.
        """
        facts = self._facts(run, run.attempt)
        if facts is None:
            document = self._document(run, {**run.detail, "status": None, "run_started_at": None, "updated_at": None})
            gone = Refusal("attempt_gone", f"attempt {run.attempt}", contract="runs")
            return Downloaded(document, [gone])
        wanted = self._artifacts_of(run, facts)
        collected = artifacts.collect(self._api, wanted, folder, max_bytes)
        document = self._document(run, facts)
        document["finished_at"] = self._finish(run, facts, document["started_at"])
        document["reports"] = collected.reports
        return Downloaded(document, collected.refused)

    def test(self) -> Iterator[Finding]:
        """May repository, runs, artifacts and pull requests be read, how many runs are there, what budget is left."""
        repository = self._options.repository
        for subject, look in (
            (f"repository {repository}", self._look_at_repository),
            ("runs (Actions: read)", self._look_at_runs),
            ("artifacts (Actions: read)", self._look_at_artifacts),
            ("changed files (Pull requests: read)", self._look_at_pulls),
            ("rate limit", self._look_at_budget),
        ):
            try:
                yield Finding(subject, *look())
            except SourceError as error:
                yield Finding(subject, is_ok=False, detail=str(error))

    def _is_wanted(self, run: Facts) -> bool:
        wanted = self._options.workflows
        return not wanted or run["workflow"] in wanted or (run["path"] or "").split("@")[0].split("/")[-1] in wanted

    def _facts(self, run: ServerRun, attempt: int) -> Facts | None:
        if attempt == run.detail["run_attempt"]:
            return dict(run.detail)
        found = run_of(self._api.get(f"actions/runs/{run.run_id}/attempts/{attempt}", absent=GONE))
        return found[2] if found is not None and found[1] == run.run_id else None

    def _artifacts_of(self, run: ServerRun, facts: Facts) -> Wanted:
        """Artifacts belong to a run; those of an attempt were made before the next one began."""
        later = (self._facts(run, number) for number in range(run.attempt + 1, run.detail["run_attempt"] + 1))
        ends = (moment(following, "run_started_at") for following in later if following is not None)
        end = next((end for end in ends if end is not None), None)
        start = moment(facts, "run_started_at") if run.attempt > 1 else None
        return Wanted(run.run_id, self._options.artifacts, start, end)

    def _document(self, run: ServerRun, facts: Facts) -> Facts:
        names = ("workflow", "event", "branch", "commit_sha", "change_title", "status", "author", "is_fork")
        return {
            "run_id": run.run_id,
            "attempt": run.attempt,
            "project": self.project,
            "started_at": (moment(facts, "run_started_at") or run.started_at).isoformat(),
            **{name: facts[name] for name in names},
            **changes.change_of(self._api, facts),
        }

    def _finish(self, run: ServerRun, facts: Facts, started_at: str) -> str | None:
        """When the last job ended, else when the run was last touched; None where either lies before the start."""
        pages = self._api.pages(f"actions/runs/{run.run_id}/attempts/{run.attempt}/jobs", absent=GONE)
        listed = [job for page in pages if isinstance(page, dict) for job in entries_of(page, "jobs")]
        ends = [end for job in listed if (end := moment(job, "completed_at")) is not None]
        for finish in (max(ends, default=None), moment(facts, "updated_at")):
            if finish is not None and finish >= datetime.fromisoformat(started_at):
                return finish.isoformat()
        return None

    def _look_at_repository(self) -> tuple[bool, str]:
        found = self._api.get("")
        is_private = isinstance(found, dict) and found.get("private") is True
        return True, "can be read; it is private" if is_private else "can be read"

    def _look_at_runs(self) -> tuple[bool, str]:
        newest, oldest = self._api.last_of("actions/runs", {"per_page": "1"})
        total = total_of(newest)
        if not total:
            return False, "has no runs; right would be a repository whose workflows have run"
        starts = [run[0] for page in (oldest, newest) for run in map(run_of, entries_of(page, "workflow_runs")) if run]
        span = f", created {starts[0]:%Y-%m-%d} to {starts[-1]:%Y-%m-%d}" if starts else ""
        return True, f"{total} runs{span}"

    def _look_at_artifacts(self) -> tuple[bool, str]:
        found = self._api.get("actions/artifacts", {"per_page": "1"})
        total = found.get("total_count") if isinstance(found, dict) else None
        if not isinstance(total, int) or total < 1:
            return False, "none; right would be workflows that upload their test reports with actions/upload-artifact"
        return True, f"{total} artifacts"

    def _look_at_pulls(self) -> tuple[bool, str]:
        self._api.get("pulls", {"per_page": "1", "state": "all"})
        return True, "can be read"

    def _look_at_budget(self) -> tuple[bool, str]:
        found = self._api.get_root("rate_limit", absent=(404,))
        if found is None:
            return True, "the server sets none"
        try:
            core = found["resources"]["core"]
            left, most, reset = int(core["remaining"]), int(core["limit"]), datetime.fromtimestamp(core["reset"], UTC)
        except (LookupError, TypeError, ValueError, ArithmeticError, OSError):
            return False, "the answer cannot be understood; right would be resources.core with remaining and reset"
        return left > 0, f"{left} of {most} requests left until {reset:%Y-%m-%d %H:%M:%S} UTC"
