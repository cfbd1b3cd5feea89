"""Unpacks a stranger's zip or tar into an empty folder: no path, link, bomb or password gets further than a refusal.

What is hostile in one entry refuses that entry, what is hostile in the whole ends the unpacking; what was unpacked by
then stays. Sizes are counted while they are unpacked: what a header says about them is never believed.
https://cwe.mitre.org/data/definitions/409.html, https://snyk.io/research/zip-slip-vulnerability
"""

import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

from ml.errors import RefusedPayload, SourceError, UnreadableHistory
from ml.sources.refusals import Refusal, as_value, printable

CHUNK = 1 << 20
MAX_ENTRIES = 200_000
MAX_DEPTH = 40
MAX_PATH = 1_000
# Reports pack to a fifth or a thirtieth; a file may be dull, so that small ones are let through at any ratio.
MAX_RATIO = 200
ANY_RATIO_BYTES = 10_000_000
# All of an archive, in payloads of the largest size.
MAX_PAYLOADS = 50
# The header of a tar entry is read whole: a name of 16 MB is no name.
MAX_READ = 1 << 24
_DRIVE = re.compile(r"[A-Za-z]:")
_KNOWN_PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Everything that the two modules raise for a broken file; NotImplementedError is a RuntimeError.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    ArithmeticError,
    LookupError,
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file in an archive. `packed` is its size in there, None where only the whole is packed."""

    name: str
    problem: str | None
    packed: int | None
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, max_bytes: int) -> list[Refusal]:
    """Unpack the files of `archive` (zip, tar or tar.gz, told by its content) below the empty `folder`.

    Args:
        archive: the file.
        folder: where its files go.
        max_bytes: a larger entry is refused; the whole may be `MAX_PAYLOADS` times as large.

    Returns:
        What was not unpacked, with the reasons `path_outside_archive`, `too_deep`, `link_in_archive`, `not_a_file`,
        `encrypted`, `unsupported_compression`, `payload_too_large`, `archive_bomb`, `archive_too_large`,
        `too_many_entries`, `duplicate_entry`, `damaged_archive`; `payload` names the entry.

    Raises:
        SourceError: the file is no archive of these kinds, or cannot be read at all.
    """
    entries = _opener(archive)(archive, max_bytes * MAX_PAYLOADS)
    refused: list[Refusal] = []
    total = 0
    try:
        with closing(entries):
            for entry in _counted(entries):
                try:
                    total += _unpack_one(entry, folder, max_bytes, max_bytes * MAX_PAYLOADS - total)
                except RefusedPayload as problem:
                    if problem.reason == "archive_too_large":
                        raise
                    refused.append(_refusal(problem, entry.name))
    except RefusedPayload as problem:
        refused.append(_refusal(problem, archive.name))
    except _DAMAGE as error:
        refused.append(_refusal(RefusedPayload("damaged_archive", str(error)), archive.name))
    return refused


def _counted(entries: Iterator[_Entry]) -> Iterator[_Entry]:
    for number, entry in enumerate(entries):
        if number == MAX_ENTRIES:
            raise RefusedPayload("too_many_entries", f"at most {MAX_ENTRIES}")
        yield entry


def _refusal(problem: RefusedPayload, name: str) -> Refusal:
    return Refusal(problem.reason, as_value(problem), contract="test_results", payload=printable(name, MAX_PATH))


def _opener(archive: Path) -> Callable[[Path, int], Generator[_Entry, None, None]]:
    try:
        with archive.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise SourceError(f"the history {archive} cannot be read: {error.strerror}") from error
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_entries
    if head[:2] == b"\x1f\x8b" or head[257:262] == b"ustar":
        return _tar_entries
    raise UnreadableHistory(f"the history {archive} is neither a folder nor a zip, tar or tar.gz file")


def _zip_entries(archive: Path, max_total: int) -> Generator[_Entry, None, None]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if not info.filename.endswith("/"):  # `is_dir` of Python 3.11 fails at an empty name
                yield _Entry(info.filename, _zip_problem(info), info.compress_size, partial(opened.open, info))


def _zip_problem(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "link_in_archive"
    if kind not in (0, stat.S_IFREG):
        return "not_a_file"
    if info.flag_bits & 0x1:
        return "encrypted"
    return None if info.compress_type in _KNOWN_PACKING else "unsupported_compression"


class _Bounded:
    """An unpacked stream that ends with a refusal where it grows beyond all measure."""

    def __init__(self, stream: BinaryIO, max_bytes: int, reason: str) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._reason = reason

    def read(self, size: int) -> bytes:
        if size > MAX_READ:
            raise RefusedPayload("damaged_archive", f"a header of {size} bytes")
        self._check(self._stream.tell() + size - CHUNK)
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._max_bytes:
            raise RefusedPayload(self._reason, f"more than {self._max_bytes} bytes unpacked")


def _tar_entries(archive: Path, max_total: int) -> Generator[_Entry, None, None]:
    packed = archive.stat().st_size
    allowed = max(ANY_RATIO_BYTES, MAX_RATIO * packed)
    with archive.open("rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if is_packed else raw
        reason = "archive_bomb" if allowed < max_total else "archive_too_large"
        bounded = cast(BinaryIO, _Bounded(stream, min(allowed, max_total), reason))
        with tarfile.open(fileobj=bounded, mode="r:") as opened:
            for member in opened:
                opened.members = []  # type: ignore[attr-defined] # or it remembers every one
                if not member.isdir():
                    # Known to be a file by then, for which this is never None.
                    found = cast(Callable[[], IO[bytes]], partial(opened.extractfile, member))
                    yield _Entry(member.name, _tar_problem(member), None, found)


def _tar_problem(member: tarfile.TarInfo) -> str | None:
    if member.issym() or member.islnk():
        return "link_in_archive"
    return None if member.isreg() and not member.issparse() else "not_a_file"


def _unpack_one(entry: _Entry, folder: Path, max_bytes: int, left: int) -> int:
    """Bytes unpacked, at most `max_bytes`; `left` is what the archive as a whole may still have."""
    parts = safe_parts(entry.name)
    if entry.problem is not None:
        raise RefusedPayload(entry.problem, f"{entry.name} is not unpacked")
    target = folder.joinpath(*parts)
    copy = new_file(target)
    try:
        with copy, entry.open() as packed:
            return _copy(packed, copy, entry, {"payload_too_large": max_bytes, "archive_too_large": left})
    except RefusedPayload:
        target.unlink()
        raise
    except _DAMAGE as error:
        target.unlink()
        raise RefusedPayload("damaged_archive", str(error)) from error


def _copy(packed: IO[bytes], copy: BinaryIO, entry: _Entry, limits: dict[str, int]) -> int:
    if entry.packed is not None:
        limits = {**limits, "archive_bomb": max(ANY_RATIO_BYTES, MAX_RATIO * entry.packed)}
    written = 0
    while chunk := packed.read(CHUNK):
        written += len(chunk)
        for reason, limit in limits.items():
            if written > limit:
                raise RefusedPayload(reason, f"more than {limit} bytes unpacked")
        copy.write(chunk)
    return written


def new_file(target: Path) -> BinaryIO:
    """Open a file that is not there yet, and make the folders that it lies in.

    Raises:
        RefusedPayload: there is another file of its name, or of that of a folder (`duplicate_entry`).
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")
    except OSError as error:
        raise RefusedPayload("duplicate_entry", f"{error.strerror}: there is another of this name") from error


def safe_parts(name: str) -> list[str]:
    """Folders and file that a stranger's path names; a backslash parts them too.

    Raises:
        RefusedPayload: it is absolute or leads upwards (`path_outside_archive`), or no file system takes it
            (`too_deep`).
    """
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or _DRIVE.match(path) or ".." in parts or "\x00" in path or not parts:
        raise RefusedPayload("path_outside_archive", f"{name[:MAX_PATH]} leads elsewhere")
    if (
        len(parts) > MAX_DEPTH
        or len(path) > MAX_PATH
        or any(len(part.encode("utf-8", "replace")) > 255 for part in parts)
    ):
        raise RefusedPayload("too_deep", f"at most {MAX_DEPTH} folders and {MAX_PATH} characters")
    return parts
