"""Layout of the sets of RETECS (Spieker et al., ISSTA 2017, https://doi.org/10.1145/3092703.3092709), line by verdict.

Files ``iofrol.csv``, ``paintcontrol.csv``, ``gsdtsr.csv`` and any other with the columns
``Id;Name;Duration;CalcPrio;LastRun;LastResults;NumRan;Verdict;Cycle``; each is a project, each cycle a run.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ml.errors import UnreadableHistory
from ml.sources.csv_records import Refused
from ml.sources.csv_tables import CsvFile, read_columns
from ml.sources.refusals import Refusal
from ml.sources.text_table import TextTable

HEAD = b"Id;Name;Duration;CalcPrio;LastRun;LastResults;"
COLUMNS = ("Name", "Duration", "LastRun", "Verdict", "Cycle")
OUTCOMES = {"0": "passed", "1": "failed"}
FIRST = datetime(2000, 1, 1, tzinfo=UTC)


def find_sets(folder: Path) -> list[Path]:
    """Files of the folder with these columns."""
    return [file for file in sorted(folder.glob("*.csv")) if file.is_file() and _begins(file)]


def convert(files: Sequence[Path], folder: Path) -> list[Refusal]:
    """Write the tables as Parquet into `folder`; returns the lines that were refused.

    Raises:
        SourceError: a file cannot be read or lacks a column, or no line of any can be read.
    """
    refused: list[Refused] = []
    starts: dict[Path, dict[int, datetime | None]] = {}
    with TextTable(folder / "test_results.parquet", ["run_id", "test_id", "outcome", "duration_s"]) as results:
        for file in files:
            refused.append(Refused("test_results", file.name))
            starts[file] = {}
            for rows in read_columns(CsvFile(file, 0), COLUMNS, refused[-1], ";"):
                results.add_rows(list(_results(rows, file.stem, starts[file], refused[-1])))
    if not any(starts.values()):
        raise UnreadableHistory(f"{files[0]} has no line of a cycle that can be read")
    with TextTable(folder / "runs.parquet", ["project", "run_id", "started_at"]) as runs:
        for file in files:
            rows = [(file.stem, f"{file.stem}/{cycle}", start) for cycle, start in _started(starts[file])]
            runs.add_rows(rows)
    return [refusal for one in refused for refusal in one.all()]


def _begins(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(HEAD)) == HEAD
    except OSError:  # somebody else's file, of which nothing says that it is one of these
        return False


def _results(
    rows: Sequence[tuple[str, ...]], project: str, starts: dict[int, datetime | None], refused: Refused
) -> Iterator[tuple[str, str, str, str]]:
    """Results of the rows; `starts` takes the latest previous execution that a cycle names."""
    for name, duration, last_run, verdict, cycle in rows:
        if not (cycle.isascii() and cycle.isdigit() and len(cycle) < 19):
            refused.add("not_an_integer", f"cycle {cycle}")
        elif verdict not in OUTCOMES:
            refused.add("unknown_outcome", f"verdict {verdict} of {name} in cycle {cycle}")
        else:
            number, moment = int(cycle), _moment(last_run)
            known = starts.get(number)
            starts[number] = max(filter(None, (known, moment)), default=None)
            yield f"{project}/{number}", name, OUTCOMES[verdict], duration


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError:
        return None


def _started(starts: Mapping[int, datetime | None]) -> Iterator[tuple[int, str]]:
    """Start of each cycle: never before that of an earlier one, and that of the one before where it has none."""
    last = min(filter(None, starts.values()), default=FIRST)
    for cycle in sorted(starts):
        last = max(last, starts[cycle] or last)
        yield cycle, last.isoformat()
