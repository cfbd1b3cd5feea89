"""A history of tables in CSV: runs.csv, test_results.csv and changed_files.csv, or .csv.gz (docs/history-layout.md).

Each becomes a Parquet table of text below a scratch folder, and goes on as that: `ml.sources.tables`.
"""

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from ml.errors import SourceError, UnreadableHistory
from ml.sources.csv_records import CsvRecords, Refused
from ml.sources.refusals import Refusal
from ml.sources.tables import COLUMNS, REQUIRED
from ml.sources.text_table import TextTable
from ml.sources.unpacking import MAX_PAYLOADS

SUFFIXES = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file, packed by gzip if its name says so; `max_bytes` bounds what a packed one may hold."""

    path: Path
    max_bytes: int

    @contextmanager
    def records(self, refused: Refused, delimiter: str = ",") -> Iterator[CsvRecords]:
        """Its records while the block lasts.

        Raises:
            SourceError: it cannot be read, or its first line names no columns.
        """
        is_packed = self.path.name.endswith(".gz")
        try:
            with self.path.open("rb") as raw:
                if not is_packed:
                    yield CsvRecords(raw, refused, delimiter=delimiter)
                    return
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield CsvRecords(cast(BinaryIO, unpacked), refused, self.max_bytes, delimiter)
        except OSError as error:
            raise SourceError(f"cannot read {self.path}: {error.strerror or error}") from error


def has_csv(folder: Path) -> bool:
    """Whether the folder holds any of the tables as CSV."""
    return any((folder / f"{name}{suffix}").exists() for name in COLUMNS for suffix in SUFFIXES)


def find_csv(folder: Path, max_payload_bytes: int) -> dict[str, CsvFile]:
    """The file of each table; `changed_files` may be absent.

    Raises:
        SourceError: a table is missing, or is there in more than one form.
    """
    found = {}
    for name in COLUMNS:
        forms = [f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").exists()]
        if len(forms) > 1:
            raise UnreadableHistory(f"{folder} holds {' and '.join(forms)}; remove the one that is not meant")
        if forms:
            if not (folder / forms[0]).is_file():  # a named pipe would be waited for without end
                raise UnreadableHistory(f"{folder / forms[0]} is no file")
            found[name] = CsvFile(folder / forms[0], max_payload_bytes * MAX_PAYLOADS)
    mixed = [f"{name}.parquet" for name in COLUMNS if (folder / f"{name}.parquet").exists()]
    if mixed:
        told = ", ".join([file.path.name for file in found.values()] + mixed)
        raise UnreadableHistory(f"{folder} mixes CSV and Parquet ({told}); right would be all tables in one of the two")
    for name in ("runs", "test_results"):
        if name not in found:
            raise UnreadableHistory(
                f"{folder / name}.csv is missing; a history of tables has runs.csv and test_results.csv"
            )
    return found


def convert(files: dict[str, CsvFile], folder: Path) -> list[Refusal]:
    """Write the tables as Parquet into `folder`; returns the lines that were refused.

    Raises:
        SourceError: a file cannot be read, lacks a required column, or no run of it can be read.
    """
    refused: list[Refusal] = []
    for name, file in files.items():
        lines = Refused(name, file.path.name)
        rows = _convert(name, file, folder, lines)
        refused += lines.all()
        if name == "runs" and not rows:
            why = f"; {refused[0].reason}: {refused[0].value}" if refused else ""
            raise UnreadableHistory(f"{file.path} has no rows that can be read; expected one row per run{why}")
    return refused


def _convert(name: str, file: CsvFile, folder: Path, refused: Refused) -> int:
    with file.records(refused) as records:
        places = places_of(file.path, records.header, REQUIRED[name], tuple(COLUMNS[name]))
        # A line whose fields cannot be told apart may hold what does not belong to the layout, such as a name.
        refused.shows_text = len(places) == len(records.header)
        with TextTable(folder / f"{name}.parquet", list(places)) as table:
            for rows in records:
                columns = list(zip(*rows, strict=True))
                table.add([columns[place] for place in places.values()])
    return table.rows


def places_of(
    path: Path | str, header: Sequence[str], required: Sequence[str], known: Sequence[str] = ()
) -> dict[str, int]:
    """Position in `header` of the `required` columns and those of the `known` that stand there once.

    Raises:
        SourceError: a required one is not there once.
    """
    for name in required:
        if header.count(name) != 1:
            raise UnreadableHistory(
                f"{path} needs one column {name!r}; found: {', '.join(header)[:500]} (layout: docs/history-layout.md)"
            )
    return {name: header.index(name) for name in dict.fromkeys((*required, *known)) if header.count(name) == 1}


def read_columns(
    file: CsvFile, names: Sequence[str], refused: Refused, delimiter: str = ","
) -> Iterator[list[tuple[str, ...]]]:
    """The named columns of a file, in slices of rows that fit into memory.

    Raises:
        SourceError: the file cannot be read or lacks one of them.
    """
    with file.records(refused, delimiter) as records:
        places = list(places_of(file.path, records.header, names).values())
        refused.shows_text = False  # public sets hold people's addresses in columns that are passed over
        for rows in records:
            yield [tuple(row[place] for place in places) for row in rows]
