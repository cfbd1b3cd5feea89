"""Takes a person out of what has landed: the one thing besides retention that changes the landing area."""

import json
from collections.abc import Iterator
from pathlib import Path

from ml.errors import SourceError
from ml.sources import manifest
from ml.sources.git import payload as git
from ml.sources.landing import batches_of, payload_file, payloads_of, rewrite
from ml.spec import Batch

AUTHOR = "author_id"


def forget_landed(landing: Path, project: str, pseudonym: str, *, dry_run: bool = False) -> tuple[int, list[str]]:
    """Take a person out of every manifest, and every list of commits, of a project.

    A batch keeps its id and folder, and can be read again at any moment, whoever is killed.

    Returns:
        how many of them named the person, and what could not be read or written: a batch, or a manifest of one.
    """
    found = 0
    unread: list[str] = []
    for batch in batches_of(landing):
        if isinstance(batch, str):
            unread.append(batch)
        elif batch.project == project:
            found += _forget_in(batch, pseudonym, unread, dry_run)
    return found, unread


def _forget_in(batch: Batch, pseudonym: str, unread: list[str], dry_run: bool) -> int:
    try:
        changed = dict(_without(batch, pseudonym, unread))
        if not dry_run:
            rewrite(batch, changed)
    except SourceError as error:
        unread.append(str(error))
        return 0
    return len(changed)


def _without(batch: Batch, pseudonym: str, unread: list[str]) -> Iterator[tuple[str, bytes]]:
    """Path and new content of each payload that names the person."""
    for path in (entry["path"] for entry in payloads_of(batch)):
        cleaned = _CLEANED.get(Path(path).name)
        if cleaned is None:
            continue
        try:
            content = cleaned(payload_file(batch, path).read_bytes(), pseudonym)
        except (OSError, ValueError, SourceError):
            unread.append(f"{batch.batch_id}/{path}")
            continue
        if content is not None:
            yield path, content


def _manifest(content: bytes, pseudonym: str) -> bytes | None:
    """The manifest without its author; None where that is somebody else."""
    document = manifest.parse(content)
    if document.get(AUTHOR) != pseudonym:
        return None
    return manifest.to_bytes({name: value for name, value in document.items() if name != AUTHOR})


def _commits(content: bytes, pseudonym: str) -> bytes | None:
    """The commits, those of the person without author; None where all are of others."""
    entries = [json.loads(line) for line in content.splitlines()]
    if all(entry[AUTHOR] != pseudonym for entry in entries):
        return None
    return git.to_bytes([{**entry, AUTHOR: None} if entry[AUTHOR] == pseudonym else entry for entry in entries])


_CLEANED = {manifest.NAME: _manifest, git.NAME: _commits}
