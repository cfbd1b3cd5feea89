"""Landed Parquet slices as frames: cast, refused row by row where a value cannot be, completed by their project."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml import schemas
from ml.sources.casting import REASONS
from ml.sources.parquet_file import ParquetFile
from ml.sources.refusals import Refusal, as_row, as_value, to_frame
from ml.spec import Parsed

CATEGORIES = ("variant", "test_id", "outcome", "failure_kind", "failure_fingerprint")
DEFAULTS: dict[str, Any] = {"attempt": 1, "variant": "default", "imputed": False}
CONTRACTS = {name: schemas.columns(schemas.LAKE_TABLES[name]) for name in ("runs", "test_results", "changed_files")}
_DTYPES: dict[str, Any] = {
    "attempt": "int64",
    "duration_s": "float64",
    "imputed": "bool",
    "position": "Int64",
    "is_fork": "boolean",
    "added": "Int64",
    "deleted": "Int64",
    "started_at": "datetime64[us, UTC]",
    "finished_at": "datetime64[us, UTC]",
}


class TableRows:
    """Frames of one landed batch; types as `ml.sources.frames.RowsOfRuns` gives them.

    A column that the file lacks is null, save `attempt` (1), `variant` (default, also where it is
    empty) and `imputed` (False).
    """

    def __init__(self, project: str, orphan_project: str, refused: Iterable[Refusal] = ()) -> None:
        self._project = project
        self._orphan_project = orphan_project
        self._frames: dict[str, pd.DataFrame] = {}
        self._refused = list(refused)

    def add(self, name: str, file: ParquetFile | None) -> None:
        """The rows of one table; None for a table that the history lacks. `runs` comes first."""
        wanted = [column for column in CONTRACTS[name] if column != "project" or name == "runs"]
        if file is None:
            frame = pd.DataFrame({column: pd.Series(dtype=_DTYPES.get(column, "object")) for column in wanted})
        else:
            frame = self._read(name, file, wanted)
        if name != "runs":
            frame["project"] = self._projects(frame["run_id"], as_category=name == "test_results")
        self._frames[name] = frame[CONTRACTS[name]]

    def to_parsed(self) -> Parsed:
        """Everything added, as frames."""
        return Parsed(self._frames, to_frame((self._project, refusal) for refusal in self._refused))

    def _read(self, name: str, file: ParquetFile, wanted: list[str]) -> pd.DataFrame:
        table = file.read()
        is_kept = np.ones(table.num_rows, dtype=bool)
        columns: dict[str, pd.Series] = {}
        for column in wanted:
            if column not in file.present:
                value = _typed(name, column, pd.Series([DEFAULTS.get(column)], dtype=object))
                columns[column] = value.repeat(table.num_rows).reset_index(drop=True)
                continue
            cast = file.cast(column, table.column(column))
            is_bad = cast.is_bad & is_kept
            if column == "attempt":
                is_missing = cast.values.is_null().to_numpy(zero_copy_only=False) & ~cast.is_bad & is_kept
                self._refuse(name, table, is_missing, (column, "missing_field"))
                is_kept &= ~is_missing
            self._refuse(name, table, is_bad, (column, REASONS[file.kinds[column]]))
            is_kept &= ~is_bad
            columns[column] = _series(name, column, cast.values)
        return pd.DataFrame(columns)[is_kept].reset_index(drop=True)

    def _refuse(self, name: str, table: pa.Table, is_bad: np.ndarray[Any, Any], why: tuple[str, str]) -> None:
        column, reason = why
        for position in np.flatnonzero(is_bad):
            row = {field: _shown(table.column(field)[int(position)]) for field in table.column_names}
            value = as_value(row[column])
            self._refused.append(Refusal(reason, value, column, as_row(row), name, f"{name}.parquet"))

    def _projects(self, run_ids: pd.Series, as_category: bool) -> pd.Series:
        runs = self._frames["runs"].drop_duplicates("run_id").set_index("run_id")["project"]
        projects = run_ids.map(runs)
        # A row without a run in this batch is an orphan; it is told to the project that the history begins with.
        projects = projects.where(run_ids.isin(runs.index), self._orphan_project)
        typed: pd.Series = projects.astype("category" if as_category else object)
        return typed


def _series(name: str, column: str, values: pa.Array) -> pd.Series:
    if column == "imputed":
        values = values.fill_null(False)
    elif column == "attempt":
        values = values.fill_null(1)  # rows where it is null are refused
    elif name == "test_results" and column in CATEGORIES:
        # a history without variants may say so by an empty text in every row
        named = pc.if_else(pc.equal(values.fill_null(""), ""), DEFAULTS["variant"], values)
        values = (named if column == "variant" else values).dictionary_encode()
    elif _DTYPES.get(column) == "Int64":
        is_null = values.is_null().to_numpy(zero_copy_only=False)
        return pd.Series(pd.arrays.IntegerArray(values.fill_null(0).to_numpy().copy(), is_null))
    return _typed(name, column, values.to_pandas())


def _typed(name: str, column: str, values: pd.Series) -> pd.Series:
    if name == "test_results" and column in CATEGORIES:
        return values.astype("category")
    return values.astype(_DTYPES.get(column, "object"))


def _shown(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):  # bytes that are no UTF-8, a time beyond the year 9999
        return "(not readable)"
