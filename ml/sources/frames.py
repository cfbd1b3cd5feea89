"""Rows in, frames with exactly the columns and types of the contracts out."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from ml import schemas
from ml.sources.refusals import Refusal, to_frame
from ml.sources.reports import ReportRows, told_apart
from ml.spec import Outcome, Parsed

RUN_COLUMNS = schemas.columns(schemas.Runs)
RESULT_COLUMNS = schemas.columns(schemas.TestResults)
FILE_COLUMNS = schemas.columns(schemas.ChangedFiles)
# `attempt` of a result: that of its run, and so much more for each execution of the test before it.
EXECUTION_STEP = 100
_MAX_EXECUTIONS = 100  # the contract ends at attempt 10,000; further ones share a number, and the worst is kept


class RowsOfRuns:
    """Collects the rows of a batch, run by run; changed files that repeat an earlier row are left out.

    Frames: strings are object with None, `attempt` int64, moments datetime64[us, UTC], `duration_s` float64,
    `imputed` bool, `is_fork` boolean, `added`/`deleted` Int64; in `test_results`, text is category, because few
    values stand in many rows. `position` (Int64) goes on from report to report of a variant, in the order in which they
    are added, with one number left out between them: which of two reports came first, they do not say.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._runs: list[dict[str, Any]] = []
        self._files: list[dict[str, Any]] = []
        self._reports: list[tuple[dict[str, Any], str, ReportRows]] = []
        self._refused: list[Refusal] = []

    def add_run(self, run: dict[str, Any], changed_files: Iterable[dict[str, Any]]) -> None:
        """A run and the files that its change touched."""
        self._runs.append(run)
        self._files += [{"project": run["project"], "run_id": run["run_id"], **file} for file in changed_files]

    def add_report(self, run: dict[str, Any], variant: str, report: ReportRows) -> None:
        """The results of one report of a run."""
        self._reports.append((run, variant, report))

    def refuse(self, refused: Iterable[Refusal]) -> None:
        """What could not be read."""
        self._refused += refused

    def to_parsed(self) -> Parsed:
        """Everything collected, as frames."""
        frames = {"runs": self._run_frame(), "test_results": self._result_frame(), "changed_files": self._file_frame()}
        return Parsed(frames, to_frame((self._project, refusal) for refusal in self._refused))

    def _run_frame(self) -> pd.DataFrame:
        frame = pd.DataFrame(self._runs, columns=RUN_COLUMNS, dtype=object)
        for name in ("started_at", "finished_at"):
            frame[name] = moments([run[name] for run in self._runs])
        return frame.astype({"attempt": "int64", "is_fork": "boolean"})

    def _file_frame(self) -> pd.DataFrame:
        frame = pd.DataFrame(self._files, columns=FILE_COLUMNS, dtype=object)
        # Each attempt of a run lists the change anew; rows that differ are for the contract to judge.
        return frame.astype({"added": "Int64", "deleted": "Int64"}).drop_duplicates(ignore_index=True)

    def _result_frame(self) -> pd.DataFrame:
        named = [told_apart(report) for _, _, report in self._reports]
        counts = [len(test_ids) for test_ids, _ in named]

        def spread(texts: Sequence[str]) -> pd.Categorical:
            codes, distinct = pd.factorize(np.array(texts, dtype=object))
            numbers: Any = np.repeat(codes, counts)  # pandas-stubs know of lists alone
            return pd.Categorical.from_codes(numbers, pd.Index(distinct, dtype=object))

        attempts = np.repeat(np.array([run["attempt"] for run, _, _ in self._reports], dtype="int64"), counts)
        executions = np.array([number for _, numbers in named for number in numbers], dtype="int64")
        outcomes = pd.Categorical([outcome for _, _, report in self._reports for outcome in report.outcomes])
        frame = pd.DataFrame(
            {
                "project": spread([run["project"] for run, _, _ in self._reports]),
                "run_id": spread([run["run_id"] for run, _, _ in self._reports]),
                "attempt": _numbered(attempts, executions),
                "variant": spread([variant for _, variant, _ in self._reports]),
                "test_id": pd.Categorical([name for test_ids, _ in named for name in test_ids]),
                "outcome": outcomes,
                "duration_s": np.array(
                    [s for _, _, report in self._reports for s in report.durations], dtype="float64"
                ),
                "imputed": np.zeros(sum(counts), dtype=bool),
                **self._failure_columns(counts),
                "position": self._positions(counts, (executions == 1) & (outcomes != Outcome.SKIPPED.value)),
            }
        )
        return frame[RESULT_COLUMNS]

    def _positions(self, counts: list[int], is_first: np.ndarray[Any, Any]) -> pd.arrays.IntegerArray:
        """Places of the rows that are first executions; null for others and in reports that keep no order."""
        is_placed = is_first & np.repeat([report.keeps_order for _, _, report in self._reports], counts).astype(bool)
        placed = np.concatenate([[0], np.cumsum(is_placed)])  # how many are placed before each row
        borders = placed[np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])].tolist()
        taken: dict[tuple[str, str, int, str], int] = {}
        shifts = []
        for (run, variant, _), before, after in zip(self._reports, borders, borders[1:], strict=False):
            key = (run["project"], run["run_id"], run["attempt"], variant)
            shifts.append(taken.get(key, 0) - before)
            taken[key] = taken.get(key, 0) + after - before + 1
        return pd.arrays.IntegerArray(placed[1:] + np.repeat(np.array(shifts, dtype=np.int64), counts), ~is_placed)

    def _failure_columns(self, counts: list[int]) -> dict[str, pd.Categorical]:
        """Text columns that only few rows have: null but for the failures with a text."""
        starts = np.concatenate([[0], np.cumsum(counts)])
        told = {
            int(start) + position: text
            for start, (_, _, report) in zip(starts, self._reports, strict=False)
            for position, text in report.failures.items()
        }
        columns = {}
        for name, values in (
            ("failure_kind", [text.kind for text in told.values()]),
            ("failure_fingerprint", [text.fingerprint for text in told.values()]),
        ):
            codes: Any = np.full(sum(counts), -1, dtype=np.int32)  # pandas-stubs know of lists alone
            codes[list(told)], distinct = pd.factorize(np.array(values, dtype=object))
            columns[name] = pd.Categorical.from_codes(codes, pd.Index(distinct, dtype=object))
        return columns


def _numbered(attempts: np.ndarray[Any, Any], executions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """1, 101, 201, ... for the executions of a test in attempt 1 of a run; 2, 102, ... in attempt 2."""
    further = EXECUTION_STEP * (np.minimum(executions, _MAX_EXECUTIONS) - 1)
    return np.where(attempts <= EXECUTION_STEP, attempts + further, attempts)


def moments(values: Iterable[datetime | None]) -> pd.Series:
    """UTC timestamps as datetime64[us, UTC]; None becomes NaT."""
    plain = [None if value is None else value.replace(tzinfo=None) for value in values]
    # Through numpy: pandas would go through nanoseconds, which end in 2262.
    return pd.Series(np.array(plain, dtype="datetime64[us]")).dt.tz_localize("UTC")
