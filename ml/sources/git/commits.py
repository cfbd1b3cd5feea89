"""Which commits there are, and what each changes against its first parent: for a merge, what came to the trunk."""

import math
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pygit2
from pygit2.enums import DeltaStatus, DiffFind, SortMode

from ml.errors import SourceError
from ml.sources.git.repository import GIT_ERRORS
from ml.sources.pseudonyms import pseudonym
from ml.sources.refusals import printable
from ml.sources.titles import MAX_MESSAGE, subject_of, without_secrets
from ml.spec import Interval

# As many as GitHub lists. Renames are looked for among no more: that takes time by the square of them.
MAX_FILES = 3_000
# A larger file holds data, and is no more compared by lines than a binary one.
MAX_BLOB = 10_000_000
# Commits in a row from before the interval, after which none is expected in it; clocks of committers may be wrong.
SLOP = 1_000
_ID = re.compile(r"[0-9a-f]{7,40}")

Facts = dict[str, Any]
Change = tuple[pygit2.DiffDelta, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Authors:
    """How authors are told apart: by pseudonyms of a project, not at all without a salt or after they opted out."""

    project: str
    salt: str | None
    forgotten: Set[str] = frozenset()


def tip_of(repository: pygit2.Repository, branch: str) -> pygit2.Commit | None:
    """Newest commit of a branch, of HEAD without a name; None in a repository without commits.

    Raises:
        SourceError: there is no such branch; names those that there are.
    """
    if not branch and next(iter(repository.references), None) is None:
        return None
    for name in (branch, f"origin/{branch}") if branch else ("HEAD",):
        try:
            tip = repository.lookup_reference_dwim(name).peel(pygit2.Commit)
        except GIT_ERRORS:
            continue
        return tip
    there = ", ".join(islice(repository.branches, 20)) or "none"
    raise SourceError(f"the repository has no branch {branch or 'HEAD'!r}; set `branch` to one of: {there}")


def committed_at(commit: pygit2.Commit) -> datetime | None:
    """When it was committed; None for a moment that no calendar has."""
    try:
        return datetime.fromtimestamp(commit.commit_time, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def within(repository: pygit2.Repository, tip: pygit2.Commit, interval: Interval) -> Iterator[pygit2.Commit]:
    """Commits reachable from `tip` that were committed in `interval`, newest first as far as clocks go."""
    earliest = interval.start.timestamp() if interval.start else -math.inf
    before = 0
    for commit in repository.walk(tip.id, SortMode.TIME):
        before = before + 1 if commit.commit_time < earliest else 0
        if before > SLOP:
            return
        moment = committed_at(commit)
        if moment is not None and interval.contains(moment):
            yield commit


def find(repository: pygit2.Repository, name: str) -> pygit2.Commit | None:
    """The commit with this id, or with an id that begins so; None for anything else."""
    if _ID.fullmatch(name) is None:
        return None
    try:
        found = repository.get(name)
    except GIT_ERRORS:  # several begin so, or it cannot be read
        return None
    return found if isinstance(found, pygit2.Commit) else None


def describe(repository: pygit2.Repository, commit: pygit2.Commit, authors: Authors, with_files: bool) -> Facts:
    """Columns of its row of `commits`, without the project, and its `files` as [path, added, deleted]
    if they are wanted.

    Raises:
        GitError: the repository is damaged.
    """
    changes = list(_changes(repository, _diff(repository, commit)))
    moment = committed_at(commit)
    return {
        "commit_sha": str(commit.id),
        "author_id": _author(commit, authors),
        "committed_at": moment.isoformat() if moment else None,
        "parent_count": len(commit.parent_ids),
        "subject": _subject(commit),
        "file_count": len(changes),
        "added": sum(added or 0 for _, added, _ in changes),
        "deleted": sum(deleted or 0 for _, _, deleted in changes),
        "files": _files(changes[:MAX_FILES]) if with_files else [],
    }


def _diff(repository: pygit2.Repository, commit: pygit2.Commit) -> pygit2.Diff:
    if commit.parent_ids:
        diff = repository.diff(commit.parent_ids[0], commit.id, context_lines=0)
    else:
        diff = commit.tree.diff_to_tree(swap=True, context_lines=0)
    if len(diff) <= MAX_FILES:
        diff.find_similar(DiffFind.FIND_RENAMES)
    return diff


def _changes(repository: pygit2.Repository, diff: pygit2.Diff) -> Iterator[Change]:
    """Each touched file with its added and deleted lines; None for a binary or very large one."""
    for number, delta in enumerate(diff.deltas):
        is_large = any(_size(repository, side.id) > MAX_BLOB for side in (delta.old_file, delta.new_file))
        patch = None if is_large else diff[number]
        if patch is None or patch.delta.is_binary:
            yield delta, None, None
        else:
            _, added, deleted = patch.line_stats
            yield delta, added, deleted


def _size(repository: pygit2.Repository, blob: pygit2.Oid) -> int:
    """Bytes; 0 where a side of a change has no file, or one of another repository."""
    try:
        return int(repository.odb.read_header(blob)[1])
    except KeyError:
        return 0


def _files(changes: list[Change]) -> list[list[Any]]:
    """Each path once; a renamed file is named by both, since a test may know either."""
    found: dict[str, list[Any]] = {}
    for delta, added, deleted in changes:
        path = _path(delta.new_file)
        found.setdefault(path, [path, added, deleted])
        if delta.status == DeltaStatus.RENAMED:
            before = _path(delta.old_file)
            found.setdefault(before, [before, None, None])
    return list(found.values())


def _path(file: pygit2.DiffFile) -> str:
    return without_secrets(printable(file.raw_path.decode("utf-8", "surrogateescape")))


def _author(commit: pygit2.Commit, authors: Authors) -> str | None:
    if authors.salt is None:
        return None
    try:
        author = commit.author
    except GIT_ERRORS:  # the commit names none that can be read
        return None
    named = author.raw_name + b" <" + author.raw_email + b">"
    hidden = pseudonym(named.decode("utf-8", "surrogateescape"), authors.project, authors.salt)
    return None if hidden in authors.forgotten else hidden


def _subject(commit: pygit2.Commit) -> str | None:
    message = commit.raw_message.lstrip()[:MAX_MESSAGE]
    try:
        text = message.decode(commit.message_encoding or "utf-8", "replace")
    except (LookupError, ValueError):  # an encoding that nobody knows
        text = message.decode("utf-8", "replace")
    return subject_of(text)
