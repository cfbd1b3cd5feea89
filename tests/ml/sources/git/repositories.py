"""Repositories made in a test, commit by commit, and the source over them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, ObjectType

from ml.sources import read_batch
from ml.sources.git.source import GitSource, Options
from ml.sources.source import Known, Limits, Surroundings
from ml.spec import Batch, Interval, Parsed

LIMITS = Limits(1_000_000, "salt")
# 2026-01-01T00:00:00Z, the moment of the first commit; each further one is an hour later.
NEW_YEAR = 1_767_225_600
HOUR = 3_600
ALWAYS = Interval()
ADA = ("Ada Lovelace", "ada@example.org")


class Repository:
    """A bare repository whose commits are whole trees, named by path."""

    def __init__(self, folder: Path, branch: str = "main") -> None:
        self.folder = folder
        self.git = pygit2.init_repository(str(folder), bare=True, initial_head=branch)
        self._clock = NEW_YEAR - HOUR

    def tree(self, files: Mapping[str, bytes]) -> pygit2.Oid:
        """A tree of these files."""
        index = pygit2.Index()
        for path, content in files.items():
            index.add(pygit2.IndexEntry(path, self.git.create_blob(content), FileMode.BLOB))
        return index.write_tree(self.git)

    def commit(
        self,
        files: Mapping[str, bytes],
        *parents: str,
        subject: str = "a change",
        branch: str = "main",
        at: int | None = None,
    ) -> str:
        """Commit a tree on a branch; returns its id."""
        self._clock += HOUR
        who = pygit2.Signature(*ADA, self._clock if at is None else at, 0)
        ids = [pygit2.Oid(hex=parent) for parent in parents]
        made = self.git.create_commit(None, who, who, subject, self.tree(files), ids)
        self.point(branch, str(made))
        return str(made)

    def write(self, tree: pygit2.Oid, header: bytes, message: bytes) -> str:
        """A commit as no client would write it, at the end of `main`."""
        raw = b"tree " + str(tree).encode() + b"\n" + header + b"\n\n" + message
        made = str(self.git.odb.write(ObjectType.COMMIT, raw))
        self.point("main", made)
        return made

    def point(self, branch: str, commit: str) -> None:
        """Move a branch, as a forced push does."""
        self.git.references.create(f"refs/heads/{branch}", pygit2.Oid(hex=commit), force=True)


def lines(count: int, first: int = 0) -> bytes:
    """So many different lines."""
    return b"".join(b"line %d\n" % number for number in range(first, first + count))


def at(hour: int) -> datetime:
    """The moment of the commit with this number, from 0."""
    return datetime.fromtimestamp(NEW_YEAR + hour * HOUR, UTC)


def source(url: object, folder: Path, known: Known | None = None, **options: object) -> GitSource:
    """The source, which lands below `folder` and keeps mirrors there."""
    around = Surroundings(folder / "landing", LIMITS, known or Known(), folder / "cache")
    return GitSource(Options(project="shop", url=str(url), **options), "", around)


def fetched(
    url: object, folder: Path, known: Known | None = None, interval: Interval = ALWAYS, **options: object
) -> list[Batch]:
    """Every batch of a fetch."""
    with source(url, folder, known, **options) as opened:
        return list(opened.fetch(interval))


def parsed(url: object, folder: Path, known: Known | None = None, **options: object) -> Parsed:
    """What the one batch of a fetch says."""
    (batch,) = fetched(url, folder, known, **options)
    return read_batch(batch, LIMITS)


def files_of(found: Parsed) -> list[tuple[str, str, int | None, int | None]]:
    """(run, path, added, deleted) of each changed file, in order."""
    frame = found.frames["changed_files"].astype(object)
    rows = frame.where(frame.notna(), None)[["run_id", "path", "added", "deleted"]]
    return sorted(rows.itertuples(index=False, name=None), key=str)


def commits_of(found: Parsed, columns: Sequence[str]) -> list[tuple[object, ...]]:
    """Some columns of each commit, in order."""
    return list(found.frames["commits"][list(columns)].itertuples(index=False, name=None))
