"""Source `git`: the commits of a branch, and for runs that are in the lake without them the files of their change.

It has no runs of its own: those come from a CI server, a push or a folder. All of `history_days` is looked through each
time; what is known is left out, so that a clone which was behind is caught up with.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Literal, Self

import pygit2
from pydantic import Field, field_validator

from ml.errors import SourceError
from ml.sources.git import payload
from ml.sources.git.address import checked_url
from ml.sources.git.commits import Authors, describe, find, tip_of, within
from ml.sources.git.repository import GIT_ERRORS, Login, open_repository
from ml.sources.landing import Payload, Shelf, land
from ml.sources.refusals import Refusal, as_value
from ml.sources.rest_api import checked_secret
from ml.sources.source import Finding, Progress, SourceOptions, Surroundings
from ml.spec import Batch, Interval

LOG = logging.getLogger(__name__)
KIND = "git"
MAX_BATCH_COMMITS = 5_000
# Bounds memory: a commit of many files may have been tested by many runs.
MAX_BATCH_ROWS = 200_000
MAX_ENTRY_RUNS = 50


class Options(SourceOptions):
    """A git repository.

    Attributes:
        kind: `git`.
        url: Absolute path of a clone on this machine, or an https, ssh or file URL, of which a mirror is kept.
        branch: Whose commits are collected; HEAD without one.
        user: Name that the token goes with over https.
        author: Whether a keyed hash of who wrote a commit is stored.
    """

    asks_for_commits: ClassVar[bool] = True
    needs_secret: ClassVar[bool] = False
    brings_runs: ClassVar[bool] = False

    kind: Literal["git"] = "git"
    url: str
    branch: str = Field("", max_length=1_000)
    user: str = Field("x-access-token", pattern="^[^:\\s]+$", max_length=200)
    author: bool = True

    _is_right = field_validator("url")(checked_url)


def open_source(options: Options, secret: str, around: Surroundings) -> "GitSource":
    """The repository as a source of `fourgate.toml`."""
    return GitSource(options, secret, around)


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """A commit to land: because it is new, because runs tested it, or both."""

    committed_s: int
    commit_sha: str
    is_new: bool
    runs: list[str] = field(default_factory=list, compare=False)


class GitSource:
    """The commits of one repository; `secret` is a token for https."""

    name = KIND

    def __init__(self, options: Options, secret: str, around: Surroundings) -> None:
        self._options, self._around = options, around
        self._login = Login(options.user, checked_secret(secret))
        salt = around.limits.author_salt if options.author else None
        self._authors = Authors(options.project, salt, around.limits.forgotten)
        self._repository: pygit2.Repository | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the repository's files."""
        if self._repository is not None:
            self._repository.free()

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """Land what is not known of the branch's commits in `interval`, and the commits of known runs without files.

        `on_progress` is called with (commits landed, commits to land) after each batch, in the order of their time.

        Raises:
            SourceError: the repository cannot be read or is shallow, or has no such branch.
        """
        repository = self._open()
        wanted = sorted(self._wanted(repository, interval))
        done = 0
        for batch in _batches(self._entries(repository, wanted)):
            yield self._land(batch)
            done = min(done + len(batch), len(wanted))
            if on_progress is not None:
                on_progress(done, len(wanted))

    def test(self) -> Iterator[Finding]:
        """Repository, branch, history, and the commits of runs, as far as each can be read."""
        try:
            repository = self._open()
            yield Finding("repository", True, f"{self._options.url} can be read, and its history is whole")
            tip = tip_of(repository, self._options.branch)
            told = f"{self._options.branch or 'HEAD'} is at {tip.short_id}" if tip else "there are no commits yet"
            yield Finding("branch", tip is not None, told)
            if tip is not None:
                yield _history(repository, tip)
            yield from self._runs(repository)
        except SourceError as error:
            yield Finding("access", False, str(error))

    def _open(self) -> pygit2.Repository:
        if self._repository is None:
            self._repository = open_repository(self._options.url, self._login, self._around.cache)
        return self._repository

    def _wanted(self, repository: pygit2.Repository, interval: Interval) -> Iterable[Wanted]:
        tip = tip_of(repository, self._options.branch)
        found = _listed(repository, tip, interval) if tip is not None else {}
        landed = self._around.known.landed
        wanted = {sha: Wanted(moment, sha, True) for sha, moment in found.items() if sha not in landed}
        missing = 0
        for run_id, name in sorted(self._around.known.commits.items()):
            commit = find(repository, name)
            if commit is None:
                missing += 1
                continue
            sha = str(commit.id)
            wanted.setdefault(sha, Wanted(commit.commit_time, sha, sha not in landed)).runs.append(run_id)
        if missing:
            LOG.warning(
                "%d of %d runs name a commit that is not in %s: a forced push, another repository, or not fetched yet",
                missing,
                len(self._around.known.commits),
                self._options.url,
            )
        return wanted.values()

    def _entries(self, repository: pygit2.Repository, wanted: Iterable[Wanted]) -> Iterator[payload.Entry | Refusal]:
        for one in wanted:
            try:
                commit = repository[one.commit_sha].peel(pygit2.Commit)
                facts = describe(repository, commit, self._authors, with_files=bool(one.runs))
            except GIT_ERRORS as error:
                yield Refusal("unreadable", as_value(error), contract="commits", payload=one.commit_sha)
                continue
            yield from _pieces(facts, one)

    def _land(self, batch: Sequence[payload.Entry | Refusal]) -> Batch:
        entries = [entry for entry in batch if not isinstance(entry, Refusal)]
        refused = [asdict(refusal) for refusal in batch if isinstance(refusal, Refusal)]
        # Secrets are out of each text already; what looks like the beginning of a key must not take other lines along.
        lines = Payload(payload.NAME, payload.NAME, payload.to_bytes(entries), is_text=False)
        shelf = Shelf(self._around.landing, self.name, self._options.project)
        return land(shelf, [lines], {"refused": refused}, repr(refused))

    def _runs(self, repository: pygit2.Repository) -> Iterator[Finding]:
        named = self._around.known.commits
        if named:
            found = sum(find(repository, name) is not None for name in named.values())
            told = f"the commits of {found} of {len(named)} runs without changed files are there"
            yield Finding("commits of runs", found > 0, told)


def _listed(repository: pygit2.Repository, tip: pygit2.Commit, interval: Interval) -> dict[str, int]:
    """Moment of each commit of the branch in the interval, in seconds since 1970.

    Raises:
        SourceError: the repository is damaged.
    """
    try:
        return {str(commit.id): commit.commit_time for commit in within(repository, tip, interval)}
    except GIT_ERRORS as error:
        raise SourceError(
            f"the history of {repository.path} breaks off: {error}; see `git fsck` there, or clone it anew"
        ) from error


def _history(repository: pygit2.Repository, tip: pygit2.Commit) -> Finding:
    moments = sorted(_listed(repository, tip, Interval()).values())
    first, last = (f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}" for moment in (moments[0], moments[-1]))
    return Finding("history", True, f"{len(moments):,} commits from {first} to {last}")


def _pieces(facts: payload.Entry, wanted: Wanted) -> Iterator[payload.Entry]:
    """Entries of a commit with so many runs each; none where there is nothing new in it and no file for its runs."""
    groups = [wanted.runs[at : at + MAX_ENTRY_RUNS] for at in range(0, len(wanted.runs), MAX_ENTRY_RUNS)] or [[]]
    for number, runs in enumerate(groups):
        files = facts["files"] if runs else []
        is_new = wanted.is_new and number == 0
        if files or is_new:
            yield {**facts, "files": files, "runs": runs, "is_new": is_new}


def _batches(entries: Iterable[payload.Entry | Refusal]) -> Iterator[list[payload.Entry | Refusal]]:
    batch: list[payload.Entry | Refusal] = []
    rows = 0
    for entry in entries:
        size = 1 if isinstance(entry, Refusal) else 1 + len(entry["runs"]) * len(entry["files"])
        if batch and (len(batch) >= MAX_BATCH_COMMITS or rows + size > MAX_BATCH_ROWS):
            yield batch
            batch, rows = [], 0
        batch.append(entry)
        rows += size
    if batch:
        yield batch
