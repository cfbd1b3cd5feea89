"""Source `tables`: a history in Parquet files, runs, test_results and changed_files (docs/history-layout.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ml.errors import UnreadableHistory
from ml.sources.casting import Kind
from ml.sources.landing import Payload, Shelf, index_of, land, payload_file
from ml.sources.parquet_file import ParquetFile
from ml.sources.refusals import UNKNOWN_PROJECT, Refusal
from ml.sources.source import Limits, Progress
from ml.sources.table_rows import TableRows
from ml.sources.titles import title_of
from ml.spec import Batch, Interval, Parsed

NAME = "tables"
MAX_BATCH_RESULTS = 1_000_000
MAX_BATCH_RUNS = 20_000
COLUMNS: dict[str, dict[str, Kind]] = {
    "runs": {
        "project": Kind.TEXT,
        "run_id": Kind.TEXT,
        "attempt": Kind.INTEGER,
        "workflow": Kind.TEXT,
        "event": Kind.TEXT,
        "branch": Kind.TEXT,
        "commit_sha": Kind.TEXT,
        "change_id": Kind.TEXT,
        "change_title": Kind.TEXT,
        "author_id": Kind.TEXT,
        "started_at": Kind.MOMENT,
        "finished_at": Kind.MOMENT,
        "status": Kind.TEXT,
        "is_fork": Kind.FLAG,
    },
    "test_results": {
        "run_id": Kind.TEXT,
        "attempt": Kind.INTEGER,
        "variant": Kind.TEXT,
        "test_id": Kind.TEXT,
        "outcome": Kind.TEXT,
        "duration_s": Kind.NUMBER,
        "imputed": Kind.FLAG,
        "failure_kind": Kind.TEXT,
        "failure_fingerprint": Kind.TEXT,
        "position": Kind.INTEGER,
    },
    "changed_files": {
        "run_id": Kind.TEXT,
        "path": Kind.TEXT,
        "added": Kind.INTEGER,
        "deleted": Kind.INTEGER,
        "change_source": Kind.TEXT,
    },
}
REQUIRED = {
    "runs": ("project", "run_id", "started_at"),
    "test_results": ("run_id", "test_id", "outcome"),
    "changed_files": ("run_id", "path"),
}
_ORPHAN, _ELSEWHERE = -1, -2


@dataclass(frozen=True, slots=True)
class Slice:
    """Runs that land together: `rows` are positions in the runs file, in time order."""

    project: str
    rows: np.ndarray[Any, Any]


class Tables:
    """Reads a folder of Parquet tables.

    Raises:
        SourceError: a file is missing, is no Parquet, lacks a required column, or has one of an impossible type.
    """

    def __init__(self, history: Path, landing: Path, refused: Sequence[Refusal] = (), name: str = NAME) -> None:
        """`refused` is what was refused of the history before it became Parquet; it lands with rows of no run.

        `name` is the source that the runs land under, where they came from a database.
        """
        self.name = name
        self._refused = refused
        self._landing = landing
        self._files = {name: open_table(history, name) for name in COLUMNS if is_expected(history, name)}

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """Land the runs that started in `interval`, with their results and files, up to a million results a batch.

        Rows that belong to no run, runs without a readable start and what was refused before land with the last batch
        of a fetch whose interval is open on both sides: validation refuses them there.

        Raises:
            SourceError: a file cannot be read or landed.
        """
        runs = self._runs()
        if runs.empty:
            raise UnreadableHistory(f"{self._files['runs'].path} has no rows; expected one row per run")
        is_whole = interval.start is None and interval.end is None
        results = _positions(self._files["test_results"], runs, by_attempt=True)
        counts = np.bincount(results[results >= 0], minlength=len(runs))
        slices = list(_slices(runs[_selected(runs, interval, is_whole)], counts))
        batch_of_run = np.full(len(runs), _ELSEWHERE, dtype=np.int32)
        for number, piece in enumerate(slices):
            batch_of_run[piece.rows] = number
        last = len(slices) - 1 if is_whole else _ELSEWHERE
        places = {"test_results": _batch_of(results, batch_of_run, last)}
        if "changed_files" in self._files:
            files = _positions(self._files["changed_files"], runs, by_attempt=False)
            places["changed_files"] = _batch_of(files, batch_of_run, last)
        done = 0
        for number, piece in enumerate(slices):
            rows = {name: np.flatnonzero(place == number) for name, place in places.items()}
            # A database is asked for each interval of its own: what it refuses then is not told another time.
            is_told = number == last or (self.name != NAME and number == len(slices) - 1)
            refused = self._refused if is_told else ()
            yield self._land(piece, rows, str(runs["project"].iloc[0]), refused)
            done += len(piece.rows)
            if on_progress is not None:
                on_progress(done, sum(len(each.rows) for each in slices))

    def read(self, batch: Batch, limits: Limits) -> Parsed:
        """Rows of a landed batch; see `ml.sources.read_batch`.

        Raises:
            SourceError: the landed batch is missing or no longer as it was landed.
        """
        return read(batch, limits)

    def _runs(self) -> pd.DataFrame:
        """Runs in the order of the file: project, run_id, attempt, started_at; indexed by position."""
        file = self._files["runs"]
        table = file.read()
        frame = pd.DataFrame(
            {
                name: file.cast(name, table.column(name)).values.to_pandas()
                for name in ("project", "run_id", "started_at")
            }
        )
        frame["project"] = frame["project"].fillna(UNKNOWN_PROJECT)
        frame["attempt"] = _attempts(file, table)
        return frame

    def _land(
        self, piece: Slice, rows: dict[str, np.ndarray[Any, Any]], orphan_project: str, refused: Sequence[Refusal]
    ) -> Batch:
        # The runs file is small and its rows are wanted in time order, so that they are taken in memory.
        tables = {"runs": _with_titles(self._files["runs"].take(np.sort(piece.rows)))}
        tables |= {name: self._files[name].take(positions) for name, positions in rows.items()}
        payloads = [Payload(f"{name}.parquet", name, _to_bytes(table), is_text=False) for name, table in tables.items()]
        index = {"orphan_project": orphan_project, "refused": [asdict(one) for one in refused]}
        notes = f"{orphan_project}{index['refused'] or ''}"
        return land(Shelf(self._landing, self.name, piece.project), payloads, index, notes)


def is_expected(history: Path, name: str) -> bool:
    """Whether a file of the layout must be opened: `changed_files` may be absent."""
    return name != "changed_files" or (history / f"{name}.parquet").exists()


def open_table(folder: Path, name: str) -> ParquetFile:
    """The file of one table.

    Raises:
        SourceError: it is missing or does not have the layout's columns.
    """
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise UnreadableHistory(f"{path} is missing; a history of tables has runs.parquet and test_results.parquet")
    return ParquetFile(path, COLUMNS[name], REQUIRED[name])


def read(batch: Batch, limits: Limits) -> Parsed:
    """Rows of a landed batch of this source.

    Raises:
        SourceError: the landed batch is missing or no longer as it was landed.
    """
    index = index_of(batch)
    # batches that landed before there was a CSV reader tell nothing of refusals
    refused = [Refusal(**one) for one in index.get("refused", [])]
    rows = TableRows(batch.project, index["orphan_project"], refused)
    folder = payload_file(batch, "runs.parquet").parent
    for name in COLUMNS:
        rows.add(name, open_table(folder, name) if is_expected(folder, name) else None)
    return rows.to_parsed()


def _attempts(file: ParquetFile, table: pa.Table | pa.RecordBatch) -> np.ndarray[Any, Any]:
    """Attempt per row: 1 in a file without the column, -1 where it cannot be read."""
    if "attempt" not in file.present:
        return np.ones(table.num_rows, dtype=np.int64)
    column = table.column("attempt")
    values = file.cast("attempt", pa.chunked_array([column]) if isinstance(column, pa.Array) else column).values
    attempts: np.ndarray[Any, Any] = values.fill_null(-1).to_numpy(zero_copy_only=False)
    return attempts


def _positions(file: ParquetFile, runs: pd.DataFrame, by_attempt: bool) -> np.ndarray[Any, Any]:
    """Position in `runs` of the run that each row of `file` belongs to, -1 for none; the earliest of several.

    A result of an attempt that `runs` does not tell is one more execution in its run.
    """
    ordered = runs.sort_values("started_at", kind="stable")
    keys = ["run_id", "attempt"] if by_attempt else ["run_id"]
    first = ordered.dropna(subset=["run_id"]).drop_duplicates(keys)
    codes = pd.Index(first["run_id"].unique())
    first_codes = codes.get_indexer(pd.Index(first["run_id"]))
    attempts = first["attempt"].to_numpy() if by_attempt else np.zeros(len(first), dtype=np.int64)
    known = pd.MultiIndex.from_arrays([first_codes, attempts])
    first_of = first.index.to_numpy()[np.unique(first_codes, return_index=True)[1]]
    found = [np.empty(0, dtype=np.int32)]
    for piece in file.slices(["run_id", "attempt"] if by_attempt else ["run_id"]):
        run_ids = file.cast("run_id", pa.chunked_array([piece.column("run_id")])).values.dictionary_encode()
        of_value = codes.get_indexer(run_ids.dictionary.to_pandas())
        code = np.append(of_value, _ELSEWHERE)[run_ids.indices.fill_null(len(of_value)).to_numpy(zero_copy_only=False)]
        attempt = _attempts(file, piece) if by_attempt else np.zeros(len(code), dtype=np.int64)
        at = known.get_indexer(pd.MultiIndex.from_arrays([code, attempt]))
        of_run = np.append(first_of, _ORPHAN)[np.maximum(code, _ORPHAN)]
        found.append(np.where(at < 0, of_run, np.append(first.index.to_numpy(), _ORPHAN)[at]).astype(np.int32))
    return np.concatenate(found)


def _selected(runs: pd.DataFrame, interval: Interval, is_whole: bool) -> np.ndarray[Any, Any]:
    started = runs["started_at"]
    chosen = started.notna()
    if interval.start is not None:
        chosen &= started >= interval.start
    if interval.end is not None:
        chosen &= started < interval.end
    return np.asarray(chosen | is_whole)


def _slices(runs: pd.DataFrame, counts: np.ndarray[Any, Any]) -> Iterator[Slice]:
    ordered = runs.sort_values(["started_at", "run_id", "attempt"], kind="stable")
    for project, group in ordered.groupby("project", sort=False):
        sizes = counts[group.index]
        first = size = 0
        for position, results in enumerate(sizes):
            is_full = size + results > MAX_BATCH_RESULTS or position - first >= MAX_BATCH_RUNS
            if position > first and is_full:
                yield Slice(str(project), group.index.to_numpy()[first:position])
                first, size = position, 0
            size += results
        yield Slice(str(project), group.index.to_numpy()[first:])


def _batch_of(positions: np.ndarray[Any, Any], batch_of_run: np.ndarray[Any, Any], last: int) -> np.ndarray[Any, Any]:
    batches: np.ndarray[Any, Any] = np.append(batch_of_run, np.int32(last))[positions]
    return batches


def _with_titles(runs: pa.Table) -> pa.Table:
    """Commit messages as titles of changes; what is no text is for the reader to refuse."""
    at = runs.schema.get_field_index("change_title")
    if at < 0 or not all(value is None or isinstance(value, str) for value in runs.column(at).to_pylist()):
        return runs
    titles = [title_of(message) for message in runs.column(at).to_pylist()]
    return runs.set_column(at, "change_title", pa.array(titles, pa.string()))


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
