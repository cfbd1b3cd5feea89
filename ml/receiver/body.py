"""Streams the parts of a push to disk, each bounded; nothing of a report is held in memory.

multipart/form-data: https://www.rfc-editor.org/rfc/rfc7578
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ml.errors import RefusedPayload, RefusedRequest
from ml.sources.manifest import NAME
from ml.sources.unpacking import new_file, safe_parts

MANIFEST = "manifest"
REPORT = "report"
MAX_REPORTS = 5_000
MAX_MANIFEST_BYTES = 10_000_000
# All of a request, in payloads of the largest size.
MAX_PAYLOADS = 5
EXPECTED = (
    f"multipart/form-data with one part {MANIFEST!r} (JSON) and any number of parts {REPORT!r}, each with a filename"
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most bytes of one report and of a whole request, and most reports in it."""

    report_bytes: int
    request_bytes: int
    reports: int = MAX_REPORTS


class Body:
    """Takes a body chunk by chunk; `reports` are the paths, below `folder`, of what came.

    Every method raises `RefusedRequest` as soon as something is not as it should be.
    """

    def __init__(self, content_type: str, folder: Path, bounds: Bounds) -> None:
        self.reports: list[str] = []
        self._folder = folder
        self._bounds = bounds
        self._received = 0
        self._has_manifest = False
        self._is_complete = False
        self._header: tuple[bytes, bytes] = (b"", b"")
        self._headers: dict[bytes, bytes] = {}
        self._file: BinaryIO | None = None
        self._left = 0
        self._parser = _parser(content_type, self)

    def write(self, chunk: bytes) -> None:
        """Take the next piece of the body."""
        self._received += len(chunk)
        if self._received > self._bounds.request_bytes:
            raise too_large("the request", self._bounds.request_bytes)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise RefusedRequest(400, "the body is no multipart/form-data", EXPECTED) from error

    def finish(self) -> None:
        """Say that the body has ended."""
        if not self._is_complete:
            raise RefusedRequest(400, "the body ends before its closing boundary", EXPECTED)
        if not self._has_manifest:
            raise RefusedRequest(400, f"there is no part {MANIFEST!r}", EXPECTED)

    def close(self) -> None:
        """Close what is open, where the body broke off."""
        if self._file is not None:
            with suppress(OSError):  # a full disk, which was told already
                self._file.close()

    def on_part_begin(self) -> None:
        """A part's headers follow."""
        self._headers = {}

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self._header = (self._header[0] + data[start:end], self._header[1])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's value."""
        self._header = (self._header[0], self._header[1] + data[start:end])

    def on_header_end(self) -> None:
        """A header is whole."""
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = (b"", b"")

    def on_headers_finished(self) -> None:
        """A part's content follows: open the file that it goes to."""
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if self._headers.get(b"content-transfer-encoding", b"binary").lower() not in (b"binary", b"8bit", b"7bit"):
            raise RefusedRequest(400, "a part has a Content-Transfer-Encoding", "parts as they are (RFC 7578, 4.7)")
        name = options.get(b"name")
        if name == MANIFEST.encode() and not self._has_manifest:
            self._has_manifest = True
            self._left = min(MAX_MANIFEST_BYTES, self._bounds.report_bytes)
            self._file = (self._folder / NAME).open("xb")
        elif name == REPORT.encode():
            self._left = self._bounds.report_bytes
            self._file = self._open_report(options.get(b"filename", b""))
        else:
            raise RefusedRequest(400, "a part is neither the one manifest nor a report", EXPECTED)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of a part's content."""
        self._left -= end - start
        if self._left < 0:
            raise too_large("a part", self._bounds.report_bytes)
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def on_part_end(self) -> None:
        """A part is whole."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def on_end(self) -> None:
        """The closing boundary came."""
        self._is_complete = True

    def _open_report(self, filename: bytes) -> BinaryIO:
        if len(self.reports) >= self._bounds.reports:
            raise RefusedRequest(413, f"more than {self._bounds.reports} reports", "fewer reports in each request")
        try:
            parts = _report_parts(filename)
            opened = new_file(self._folder.joinpath(*parts))
        except (UnicodeDecodeError, RefusedPayload) as error:
            reason = error.reason if isinstance(error, RefusedPayload) else "undecodable"
            raise RefusedRequest(
                422,
                f"the filename of report {len(self.reports) + 1} is refused: {reason}",
                "a path of its own inside the run, in UTF-8, such as linux/report.xml",
            ) from error
        self.reports.append("/".join(parts))
        return opened


def _report_parts(filename: bytes) -> list[str]:
    parts = safe_parts(filename.decode("utf-8"))
    # Another manifest would make what lies beside it another run, of whatever project it says.
    if parts[-1].lower() == NAME:
        raise RefusedPayload("duplicate_entry", f"{NAME} is the name of the manifest")
    return parts


def too_large(what: str, most: int) -> RefusedRequest:
    """What is said of something that has more than `most` bytes."""
    return RefusedRequest(413, f"{what} is too large", f"at most {most} bytes")


def _parser(content_type: str, body: Body) -> MultipartParser:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise RefusedRequest(415, "the Content-Type is not multipart/form-data", EXPECTED)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise RefusedRequest(400, "the Content-Type has no boundary", EXPECTED)
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": body.on_part_begin,
                "on_header_field": body.on_header_field,
                "on_header_value": body.on_header_value,
                "on_header_end": body.on_header_end,
                "on_headers_finished": body.on_headers_finished,
                "on_part_data": body.on_part_data,
                "on_part_end": body.on_part_end,
                "on_end": body.on_end,
            },
        )
    except FormParserError as error:
        raise RefusedRequest(400, "the boundary is too long", "a boundary of at most 70 characters") from error
