"""The landing area: raw payloads, kept as they were fetched save for secrets, so that anything can be read again.

Layout: ``<landing>/<source>/<batch_id>/batch.json`` and ``.../payloads/<path in the history>``.
A batch is written to a temporary sibling and renamed into place: a kill leaves no half batch. It never changes, until
it was joined with others into a larger one (`ml.sources.joining`): then its record says which, and has no payloads; or
until somebody who opted out is taken out of it (`rewrite`).
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.errors import SourceError
from ml.sources.scrubbing import scrubbed
from ml.spec import Batch

BATCH_ID = re.compile(r"[0-9a-f]{16}")
CHUNK = 1 << 20
INCOMING = "incoming-"
_BEFORE = "sha256_before"  # while a payload is replaced, either content is the right one


@dataclass(frozen=True, slots=True)
class Payload:
    """One file to land.

    `path` is where it lands; `identity` is the name that its hash is taken under, free of the place it came from;
    `content` is the bytes, or the file that holds them. Secrets are taken out of text; a binary file lands as it is.
    """

    path: str
    identity: str
    content: bytes | Path
    is_text: bool = True


@dataclass(frozen=True, slots=True)
class Shelf:
    """The part of the landing area that holds one source's batches of one project."""

    landing: Path
    source: str
    project: str


def land(shelf: Shelf, payloads: Sequence[Payload], index: Mapping[str, Any], notes: str = "") -> Batch:
    """Land `payloads` as one batch; a batch that is there already stays as it is.

    Args:
        shelf: where to land, for which source and project.
        payloads: files, in an order that depends on their content only.
        index: what the source needs to read the batch again; JSON-ready.
        notes: what else makes this content differ from other content, such as payloads that were refused.

    Raises:
        SourceError: a file cannot be copied.
    """
    folder = shelf.landing / shelf.source
    try:
        with _only_writer(folder), _incoming(folder) as incoming:
            return _place(shelf, incoming, payloads, {"index": index, "notes": notes})
    except OSError as error:
        raise SourceError(
            f"cannot land a batch of {shelf.source} in {folder}: {error}; make the folder writable with room for the "
            "history and collect again"
        ) from error


@contextmanager
def _incoming(folder: Path) -> Iterator[Path]:
    """A folder to fill, gone at the end unless it was renamed into place."""
    incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=folder))
    try:
        yield incoming
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _place(shelf: Shelf, incoming: Path, payloads: Sequence[Payload], about: Mapping[str, Any]) -> Batch:
    digest = hashlib.sha256(f"{shelf.source}\n{shelf.project}\n{about['notes']}\n".encode("utf-8", "replace"))
    listed = []
    for payload in payloads:
        content_hash = _write(payload, incoming / "payloads" / payload.path)
        digest.update(f"{content_hash} {payload.identity}\n".encode("utf-8", "replace"))
        listed.append({"path": payload.path, "sha256": content_hash})
    batch_id = digest.hexdigest()[:16]
    final = shelf.landing / shelf.source / batch_id
    record = {"source": shelf.source, "project": shelf.project, "payloads": listed, "index": about["index"]}
    if not final.exists():
        (incoming / "batch.json").write_text(json.dumps(record), encoding="ascii")
        incoming.rename(final)
    return Batch(batch_id, shelf.source, shelf.project, str(final), len(payloads))


def _write(payload: Payload, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("wb") as copy:
        for chunk in scrubbed(_chunks(payload.content)) if payload.is_text else _chunks(payload.content):
            digest.update(chunk)
            copy.write(chunk)
    return digest.hexdigest()


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel frees on a kill; clear what an earlier kill left."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"{INCOMING}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def find(landing: Path, batch_id: str) -> Batch:
    """The landed batch with this id, to read it again.

    Raises:
        SourceError: there is none, or the id is not 16 hexadecimal digits.
    """
    if BATCH_ID.fullmatch(batch_id) is None:
        raise SourceError(f"{batch_id[:40]!r} is not a batch id; expected 16 digits of 0-9 and a-f")
    for folder in sorted(landing.glob(f"*/{batch_id}")):
        record = _record(folder)
        if record.get("joined_into"):
            return find(landing, record["joined_into"])
        return Batch(batch_id, record["source"], record["project"], str(folder), len(record["payloads"]))
    raise SourceError(f"no batch {batch_id} in the landing area {landing}; collect it again or restore the folder")


def landed(landing: Path, source: str) -> list[Batch]:
    """Every batch of a source, in the order in which they landed; what was joined into a larger one is part of it.

    Raises:
        SourceError: one of them cannot be read.
    """
    found = [folder for folder in (landing / source).glob("*") if BATCH_ID.fullmatch(folder.name)]
    # It is written before the batch is renamed into place, and never again.
    found.sort(key=lambda folder: ((folder / "batch.json").stat().st_mtime_ns, folder.name))
    return [find(landing, folder.name) for folder in found if holder(folder) == folder.name]


def holder(folder: Path) -> str:
    """Id of the batch that has the payloads of the batch in `folder`: its own, or that of the one it was joined into.

    Raises:
        SourceError: it cannot be read.
    """
    return str(_record(folder).get("joined_into") or folder.name)


def retire(batch: Batch, into: str) -> None:
    """Let `into`, which has all of it, stand for the batch; again finishes what a kill left half done."""
    folder = Path(batch.folder)
    record = {**_record(folder), "payloads": [], "joined_into": into}
    scratch = folder / ".batch.json"
    scratch.write_text(json.dumps(record), encoding="ascii")
    scratch.replace(folder / "batch.json")
    shutil.rmtree(folder / "payloads", ignore_errors=True)


def noted_of(batch: Batch) -> dict[str, Any]:
    """What the source noted about the batch, whatever became of its payloads.

    Raises:
        SourceError: the batch is gone.
    """
    noted: dict[str, Any] = _record(Path(batch.folder))["index"]
    return noted


def index_of(batch: Batch) -> dict[str, Any]:
    """What the source noted about the batch, after a check that every payload is still as it was landed.

    Raises:
        SourceError: the batch is gone, or a payload is missing or changed.
    """
    folder = Path(batch.folder)
    record = _record(folder)
    for entry in record["payloads"]:
        if _hash_of(folder / "payloads" / entry["path"]) not in _hashes(entry):
            raise _changed(batch, entry)
    index: dict[str, Any] = record["index"]
    return index


def batches_of(landing: Path) -> Iterator[Batch | str]:
    """Every landed batch of any source; in place of one that cannot be read, its id."""
    for folder in sorted(landing.glob("*/*")):
        if BATCH_ID.fullmatch(folder.name):
            try:
                batch = find(landing, folder.name)
            except (SourceError, LookupError, TypeError):
                yield folder.name
                continue
            if batch.batch_id == folder.name:  # else it was joined into a larger one
                yield batch


def payloads_of(batch: Batch) -> list[dict[str, str]]:
    """`path` and `sha256` of every payload of the batch, as it landed.

    Raises:
        SourceError: the batch is gone.
    """
    listed: list[dict[str, str]] = _record(Path(batch.folder))["payloads"]
    return listed


def rewrite(batch: Batch, contents: Mapping[str, bytes]) -> None:
    """Give payloads of a batch another content; it keeps its id, its folder and the time at which it landed.

    Killed at any moment, every payload is one that `index_of` takes: first the batch names both hashes, then the
    payloads are replaced, then it names the new ones alone. That is done for what an earlier kill left, too.

    Raises:
        SourceError: a payload is not as it was landed, or a file cannot be written.
    """
    folder = Path(batch.folder)
    try:
        with _only_writer(folder.parent), _incoming(folder.parent) as scratch:
            record = _record(folder)
            both = [_changing(batch, entry, contents) for entry in record["payloads"]]
            final = [{name: entry[name] for name in entry if name != _BEFORE} for entry in both]
            if final != record["payloads"]:
                _replace(folder / "batch.json", _content({**record, "payloads": both}), scratch)
                for path, content in contents.items():
                    _replace(payload_file(batch, path), content, scratch)
                _replace(folder / "batch.json", _content({**record, "payloads": final}), scratch)
    except OSError as error:
        raise SourceError(f"cannot rewrite batch {batch.batch_id} in {folder}: {error}; make it writable") from error


def _changing(batch: Batch, entry: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """The entry of a payload with the hash that it gets, and the one that it has, where it gets another content."""
    if entry["path"] not in contents:
        return dict(entry)
    present = _hash_of(payload_file(batch, entry["path"]))
    if present not in _hashes(entry):
        raise _changed(batch, entry)
    return {**entry, "sha256": hashlib.sha256(contents[entry["path"]]).hexdigest(), _BEFORE: present}


def _content(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode("ascii")


def _hashes(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Of the contents that a payload may have."""
    return entry["sha256"], entry.get(_BEFORE, entry["sha256"])


def _changed(batch: Batch, entry: Mapping[str, Any]) -> SourceError:
    return SourceError(
        f"payload {entry['path']!r} of batch {batch.batch_id} in {batch.folder} is not as it was landed; "
        "remove the batch's folder and collect it again"
    )


def _replace(file: Path, content: bytes, scratch: Path) -> None:
    """Another content for a file at once, with the time of the old one."""
    found = file.stat()
    fresh = scratch / "fresh"
    fresh.write_bytes(content)
    os.utime(fresh, ns=(found.st_atime_ns, found.st_mtime_ns))
    fresh.chmod(found.st_mode)
    fresh.rename(file)


def payload_file(batch: Batch, path: str) -> Path:
    """Where a payload of the batch lies."""
    return Path(batch.folder) / "payloads" / path


def _record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((folder / "batch.json").read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder} holds no readable batch.json: {error}; collect the batch again") from error
    return record


def _hash_of(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
