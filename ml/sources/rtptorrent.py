"""Layout of RTPTorrent (Mattis et al., MSR 2020, https://doi.org/10.1145/3379597.3387458): 20 projects of Travis CI.

``tr_all_built_commits.csv`` (tr_job_id, git_commit_id) beside a folder ``user@project`` for each project, with
``user@project.csv`` (a line per job and test class) and ``user@project-patches.csv`` (sha, name). The set holds no
times: they come from ``travistorrent_8_2_2017.csv`` of TravisTorrent where it lies beside, else jobs are an hour apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ml.errors import UnreadableHistory
from ml.sources.csv_records import Refused
from ml.sources.csv_tables import CsvFile, read_columns
from ml.sources.manifest import MAX_INTEGER
from ml.sources.refusals import Refusal
from ml.sources.text_table import TextTable

COMMITS = "tr_all_built_commits.csv"
BUILDS = "travistorrent_8_2_2017.csv"
RESULT = ("travisJobId", "testName", "duration", "count", "failures", "errors", "skipped")
FIRST = datetime(2000, 1, 1, tzinfo=UTC)
APART = timedelta(hours=1)


def is_rtptorrent(folder: Path) -> bool:
    """Whether the folder has this layout."""
    return (folder / COMMITS).is_file() and any(True for _ in _projects(folder))


def convert(history: Path, folder: Path) -> list[Refusal]:
    """Write the tables as Parquet into `folder`; returns the lines that were refused.

    Raises:
        SourceError: a file cannot be read or lacks a column, or there is no job that can be read.
    """
    found = _Conversion(history, folder)
    found.write_results()
    if not found.jobs:
        raise UnreadableHistory(f"{history} has no line of a job that can be read; expected {', '.join(RESULT)}")
    found.write_runs()
    found.write_changes()
    return [refusal for lines in found.refused for refusal in lines.all()]


class _Conversion:
    """One conversion: `jobs` are the projects of the jobs with results, `refused` one entry for each file read."""

    def __init__(self, history: Path, folder: Path) -> None:
        self._history = history
        self._folder = folder
        self._files = list(_projects(history))
        self._commits: dict[int, list[str]] = {}
        self.jobs: dict[int, str] = {}
        self.refused: list[Refused] = []

    def write_results(self) -> None:
        with TextTable(self._folder / "test_results.parquet", ["run_id", "test_id", "outcome", "duration_s"]) as table:
            for file in self._files:
                for rows in self._read(file, RESULT, "test_results"):
                    table.add_rows(list(_results(rows, _project(file), self.jobs, self.refused[-1])))

    def write_runs(self) -> None:
        for rows in self._read(self._history / COMMITS, ("tr_job_id", "git_commit_id"), "runs"):
            for job, sha in rows:
                if (number := _number(job)) in self.jobs and sha:
                    self._commits.setdefault(number, []).append(sha)
        with TextTable(self._folder / "runs.parquet", ["project", "run_id", "commit_sha", "started_at"]) as table:
            started = _started(self.jobs, self._starts())
            first = {number: shas[0] for number, shas in self._commits.items()}
            table.add_rows([(self.jobs[number], str(number), first.get(number), start) for number, start in started])

    def write_changes(self) -> None:
        with TextTable(self._folder / "changed_files.parquet", ["run_id", "path"]) as table:
            for file in self._files:
                patches = file.with_name(f"{file.stem}-patches.csv")
                if not patches.is_file():
                    continue
                built = _by_commit(self._commits, self.jobs, _project(file))
                seen: set[tuple[str, str]] = set()
                for rows in self._read(patches, ("sha", "name"), "changed_files"):
                    table.add_rows(list(_changes(rows, built, seen)))

    def _starts(self) -> dict[int, str]:
        starts: dict[int, str] = {}
        if (self._history / BUILDS).is_file():
            for rows in self._read(self._history / BUILDS, ("tr_job_id", "gh_build_started_at"), "runs"):
                told = ((_number(job), start) for job, start in rows)
                starts |= {number: start for number, start in told if number in self.jobs and start[:1].isdigit()}
        return starts

    def _read(self, file: Path, names: Sequence[str], table: str) -> Iterator[list[tuple[str, ...]]]:
        self.refused.append(Refused(table, file.name))
        return read_columns(CsvFile(file, 0), names, self.refused[-1])


def _project(file: Path) -> str:
    return file.stem.replace("@", "/")


def _projects(folder: Path) -> Iterator[Path]:
    for pattern in ("*@*.csv", "*@*/*@*.csv"):
        for file in sorted(folder.glob(pattern)):
            if not file.stem.endswith(("-patches", "-pr", "-offenders", "-builds", "-commits")) and file.is_file():
                yield file


def _results(
    rows: Sequence[tuple[str, ...]], project: str, jobs: dict[int, str], refused: Refused
) -> Iterator[tuple[str, str, str, str]]:
    for job, test, duration, *counts in rows:
        number, told = _number(job), [_number(count) for count in counts]
        if number < 0 or min(told) < 0:
            refused.add("not_an_integer", f"{test}: {job}, {', '.join(counts)}")
            continue
        # A job belongs to one project; the first one keeps it.
        jobs.setdefault(number, project)
        yield str(number), test, _outcome(*told), duration


def _outcome(count: int, failures: int, errors: int, skipped: int) -> str:
    """What the counts of a test class come to."""
    if failures:
        return "failed"
    if errors:
        return "error"
    return "skipped" if skipped and skipped >= count else "passed"


def _number(text: str) -> int:
    """A count or id; -1 for anything else."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    return number if number <= MAX_INTEGER else -1


def _started(jobs: Mapping[int, str], starts: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    """Start of each job in the order of their numbers, which is that of time; if not known, as the one before."""
    ordered = sorted(jobs)
    if not starts:
        for position, number in enumerate(ordered):
            yield number, (FIRST + position * APART).isoformat()
        return
    last = next(starts[number] for number in ordered if number in starts)
    for number in ordered:
        last = starts.get(number, last)
        yield number, last


def _by_commit(commits: Mapping[int, Sequence[str]], jobs: Mapping[int, str], project: str) -> dict[str, list[str]]:
    built: dict[str, list[str]] = {}
    for number, shas in commits.items():
        if jobs[number] == project:
            for sha in shas:
                built.setdefault(sha, []).append(str(number))
    return built


def _changes(
    rows: Sequence[tuple[str, ...]], built: Mapping[str, Sequence[str]], seen: set[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Each file of each job once, however many of the job's commits touch it."""
    for sha, name in rows:
        for job in built.get(sha, ()):
            if (job, name) not in seen:
                seen.add((job, name))
                yield job, name
