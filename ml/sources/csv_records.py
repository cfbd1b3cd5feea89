"""Records of a stranger's CSV file (RFC 4180), one by one: a broken line is refused with its number, the rest goes on.

Read by the `csv` module and not by pyarrow's reader: that one ends a file at a record larger than a block, does not
tell on which line a record with quoted newlines stands, and takes all that follows a quote that nobody closes.
"""

import codecs
import csv
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from ml.errors import SourceError, UnreadableHistory
from ml.sources.refusals import Refusal, as_row, as_value

SLICE_ROWS = 50_000
SLICE_BYTES = 32_000_000
MAX_LINE = 1_000_000
MAX_REFUSED = 10_000
# What follows a quote that nobody closes is read a second time, up to so many bytes of a file.
MAX_AGAIN = 64_000_000
BOM = codecs.BOM_UTF8
# What a broken gzip file raises; one whose header is wrong raises an OSError.
_DAMAGE = (EOFError, zlib.error, OSError)


@dataclass(slots=True)
class Refused:
    """Lines of one file that were refused; beyond `MAX_REFUSED` they are only counted.

    `shows_text` is False where the text could hold what must not land.
    """

    table: str
    payload: str
    shows_text: bool = True
    kept: list[Refusal] = field(default_factory=list)
    more: int = 0

    def add(self, reason: str, detail: str, row: str | None = None) -> None:
        """One more refusal."""
        if len(self.kept) >= MAX_REFUSED:
            self.more += 1
            return
        shown = row if self.shows_text else None
        self.kept.append(Refusal(reason, as_value(detail), row=shown, contract=self.table, payload=self.payload))

    def all(self) -> list[Refusal]:
        """Every refusal, the last one telling how many more there were."""
        if not self.more:
            return self.kept
        told = Refusal("too_many_refused", f"{self.more} more", contract=self.table, payload=self.payload)
        return [*self.kept, told]


class ExceededSize(Exception):
    """A packed file holds more than it may."""


class _Lines:
    """Lines of a file as text, for `csv.reader`; those of the record at hand can be given back.

    `read` is the number of bytes given so far, `number` that of the line given last.
    """

    def __init__(self, stream: BinaryIO, max_bytes: int | None) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._unpacked = 0
        self._is_inside = False  # an endless line, which is skipped to its end
        self._again = MAX_AGAIN
        self._waiting: deque[bytes] = deque()
        self.record: list[bytes] = []
        self.read = self._begun = 0
        self.number = 0
        self.is_undecodable = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else self._read()
        if not line:
            raise StopIteration
        self.record.append(line)
        self.number += 1
        self.read += len(line)
        if self.read - self._begun > MAX_LINE:
            raise csv.Error(f"more than {MAX_LINE} bytes")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            self.is_undecodable = True
            return line.decode("utf-8", "replace")
        if "\x00" in text:
            self.is_undecodable = True
        return text

    @property
    def first_number(self) -> int:
        """Number of the first line of the record at hand."""
        return self.number - len(self.record) + 1

    def end_record(self) -> None:
        """The record at hand is done with."""
        self.record.clear()
        self.is_undecodable = False
        self._begun = self.read

    def keep_first(self) -> int:
        """Give back all lines of the record but the first, whose number is returned; an endless line is skipped."""
        first, *others = self.record
        number = self.first_number
        size = sum(map(len, others))
        if others and size <= self._again:
            self._again -= size
            self._waiting.extendleft(reversed(others))
            self.number -= len(others)
        else:
            self._is_inside = not self.record[-1].endswith(b"\n")
        self.record[:] = [first]
        return number

    def _read(self) -> bytes:
        line = self._read_bounded()
        while self._is_inside and line:
            self._is_inside = not line.endswith(b"\n")
            line = self._read_bounded()
        return line if self.number else line.removeprefix(BOM)

    def _read_bounded(self) -> bytes:
        line = self._stream.readline(MAX_LINE + 1)
        self._unpacked += len(line)
        if self._max_bytes is not None and self._unpacked > self._max_bytes:
            raise ExceededSize
        return line


class CsvRecords:
    """Iterates over the records of a file, in slices that fit into memory; `header` is its first.

    Args:
        stream: the file, binary, at its beginning.
        refused: takes what is refused: `wrong_field_count`, `malformed_line` (quotes that do not fit), `line_too_long`,
            `undecodable` (no UTF-8, or a NUL); of a packed file that ends early `archive_too_large`, `damaged_archive`.
        max_bytes: size of what a packed file may hold; None for one that is not packed.
        delimiter: between the fields.

    Raises:
        SourceError: the first line names no columns.
    """

    def __init__(self, stream: BinaryIO, refused: Refused, max_bytes: int | None = None, delimiter: str = ",") -> None:
        self._lines = _Lines(stream, max_bytes)
        self._refused = refused
        self._max_bytes = max_bytes
        self._reader = csv.reader(self._lines, strict=True, delimiter=delimiter)
        self.header = self._header()

    def __iter__(self) -> Iterator[list[list[str]]]:
        rows: list[list[str]] = []
        full = self._lines.read + SLICE_BYTES
        for row in self._rows():
            rows.append(row)
            if len(rows) >= SLICE_ROWS or self._lines.read >= full:
                yield rows
                rows, full = [], self._lines.read + SLICE_BYTES
        if rows:
            yield rows

    def _header(self) -> list[str]:
        try:
            header = next(self._reader, [])
        except (csv.Error, ExceededSize, *_DAMAGE):
            header = []
        if not header or self._lines.is_undecodable:
            raise UnreadableHistory(f"the first line of {self._refused.payload} names no columns in UTF-8")
        self._lines.end_record()
        return header

    def _rows(self) -> Iterator[list[str]]:
        while True:
            try:
                yield from self._whole_rows()
            except csv.Error as error:
                number = self._lines.keep_first()
                is_long = len(self._lines.record[0]) > MAX_LINE
                self._refuse("line_too_long" if is_long else "malformed_line", number, str(error))
            except ExceededSize:
                self._refused.add("archive_too_large", f"more than {self._max_bytes} bytes unpacked")
                return
            except _DAMAGE as error:
                if self._max_bytes is None:
                    raise SourceError(f"cannot read {self._refused.payload}: {error}") from error
                self._refused.add("damaged_archive", str(error))
                return
            else:
                return

    def _whole_rows(self) -> Iterator[list[str]]:
        lines, width = self._lines, len(self.header)
        for row in self._reader:
            if lines.is_undecodable:
                self._refuse("undecodable", lines.first_number, "not UTF-8, or a NUL")
            elif len(row) == width:
                lines.end_record()
                yield row
            elif row:
                detail = f"{len(row)} fields; the first line names {width}"
                self._refuse("wrong_field_count", lines.first_number, detail)
            else:
                lines.end_record()  # an empty line is none

    def _refuse(self, reason: str, number: int, detail: str) -> None:
        text = b"".join(self._lines.record)[:1_000].decode("utf-8", "replace").rstrip("\r\n")
        self._refused.add(reason, f"line {number}: {detail}", as_row({"line": number, "text": text}))
        self._lines.end_record()
