"""The body that a run is sent as, whole or from any byte on."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ml.errors import SourceError
from ml.sources import manifest
from ml.sources.http import CHUNK
from ml.sources.run_folders import ReportFile


class FormStream:
    """multipart/form-data of a run, from disk each time that it is sent; one file is open at a time.

    The same run is the same stream: its boundary depends on the content, and so stands nowhere in it.
    """

    def __init__(self, document: manifest.Document, reports: Sequence[ReportFile]) -> None:
        """Reads every report once.

        Raises:
            SourceError: a report cannot be read.
        """
        content = json.dumps(document).encode("ascii")
        self._boundary = _digest(content, reports)[:32]
        self._manifest = self._head('name="manifest"; filename="manifest.json"') + content + b"\r\n"
        self._reports = [
            (self._head(f'name="report"; filename="{_quoted(report.inner)}"'), report) for report in reports
        ]
        self._end = f"--{self._boundary}--\r\n".encode()
        sizes = [len(head) + report.size + 2 for head, report in self._reports]
        self.length = len(self._manifest) + sum(sizes) + len(self._end)
        self.content_type = f"multipart/form-data; boundary={self._boundary}"

    def __iter__(self) -> Iterator[bytes]:
        """The body, from its beginning.

        Raises:
            SourceError: a report is not what it was any more.
        """
        return self.piece(0, self.length)

    def piece(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes of the body from `start` up to `end`.

        Raises:
            SourceError: a report is not what it was any more.
        """
        at = 0
        for size, read in self._parts():
            if at < end and at + size > start:
                yield from read(max(0, start - at), min(size, end - at))
            at += size

    def _parts(self) -> Iterator[tuple[int, Callable[[int, int], Iterator[bytes]]]]:
        """Size of each part of the body, and what reads from one of its bytes up to another."""
        yield len(self._manifest), partial(_of_bytes, self._manifest)
        for head, report in self._reports:
            yield len(head), partial(_of_bytes, head)
            yield report.size, partial(_content, report)
            yield 2, partial(_of_bytes, b"\r\n")
        yield len(self._end), partial(_of_bytes, self._end)

    def _head(self, disposition: str) -> bytes:
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()


def _of_bytes(content: bytes, start: int, end: int) -> Iterator[bytes]:
    yield content[start:end]


def _content(report: ReportFile, start: int, end: int) -> Iterator[bytes]:
    left = end - start
    try:
        with report.path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(min(CHUNK, left)):
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise SourceError(f"{report.path} cannot be read: {error.strerror}") from error
    if left:
        raise SourceError(f"{report.path} became shorter while it was sent; upload when the tests have ended")


def _digest(document: bytes, reports: Sequence[ReportFile]) -> str:
    digest = hashlib.sha256(document)
    for report in reports:
        digest.update(f"\n{report.size} {report.inner}\n".encode())
        for chunk in _content(report, 0, report.size):
            digest.update(chunk)
    return digest.hexdigest()


def _quoted(name: str) -> str:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return quoted.replace("\r", "%0D").replace("\n", "%0A")
