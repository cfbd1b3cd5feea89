"""The contract of every table and frame: one Pandera model each, and the only place where columns are named.

Suffixes: `_at` UTC timestamp, `_s` seconds, `_count`, `_rate` in 0..1, `_7d` windows, `is_`/`has_`, `_id`.
"""

from datetime import UTC, datetime
from typing import Annotated

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from ml.spec import Decision, Outcome

Utc = Annotated[pd.DatetimeTZDtype, "us", "UTC"]
MAX_NAME = 1_000
MAX_DURATION_S = 30 * 86_400.0
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


class Runs(pa.DataFrameModel):
    """One CI execution of a change. Grain: (project, run_id, attempt)."""

    project: Series[str]
    run_id: Series[str]
    attempt: Series[int] = pa.Field(ge=1, le=10_000)
    workflow: Series[str] = pa.Field(nullable=True)
    event: Series[str] = pa.Field(nullable=True)
    branch: Series[str] = pa.Field(nullable=True)
    commit_sha: Series[str] = pa.Field(nullable=True)
    change_id: Series[str] = pa.Field(nullable=True)
    author_id: Series[str] = pa.Field(nullable=True)
    started_at: Series[Utc]
    finished_at: Series[Utc] = pa.Field(nullable=True)
    status: Series[str] = pa.Field(nullable=True)


class TestResults(pa.DataFrameModel):
    """One execution of one test in one run. Grain: (project, run_id, attempt, variant, test_id)."""

    project: Series[str]
    run_id: Series[str]
    attempt: Series[int] = pa.Field(ge=1, le=10_000)
    variant: Series[str]
    test_id: Series[str]
    outcome: Series[str] = pa.Field(isin=list(Outcome))
    duration_s: Series[float] = pa.Field(nullable=True, ge=0, le=MAX_DURATION_S)
    imputed: Series[bool]


class ChangedFiles(pa.DataFrameModel):
    """One file touched by the change under test. Grain: (project, run_id, path)."""

    project: Series[str]
    run_id: Series[str]
    path: Series[str]
    added: Series[pd.Int64Dtype] = pa.Field(nullable=True, ge=0)
    deleted: Series[pd.Int64Dtype] = pa.Field(nullable=True, ge=0)
    change_source: Series[str] = pa.Field(nullable=True)


class RejectedRows(pa.DataFrameModel):
    """One refused row or payload, kept for replay. `row` is the row as JSON, `value` the offending value, bounded."""

    batch_id: Series[str]
    project: Series[str]
    contract: Series[str]
    column: Series[str] = pa.Field(nullable=True)
    reason: Series[str]
    value: Series[str] = pa.Field(nullable=True)
    row: Series[str] = pa.Field(nullable=True)
    payload: Series[str] = pa.Field(nullable=True)


class Predictions(pa.DataFrameModel):
    """One row of the results table. Grain: (model, project, change_id, variant, test_id) among current rows."""

    model: Series[str]
    project: Series[str]
    change_id: Series[str] = pa.Field(description="run that the prediction is for; 'next' for the next run")
    variant: Series[str]
    test_id: Series[str]
    score: Series[float]
    probability: Series[float] = pa.Field(ge=0, le=1)
    rank: Series[int] = pa.Field(ge=1)
    decision: Series[str] = pa.Field(isin=list(Decision))
    reasons: Series[str] = pa.Field(description="JSON list of {feature, value, effect}, strongest first")
    as_of: Series[Utc]


LAKE_TABLES = {
    "runs": Runs,
    "test_results": TestResults,
    "changed_files": ChangedFiles,
    "rejected_rows": RejectedRows,
}
KEYS = {
    "runs": ("project", "run_id", "attempt"),
    "test_results": ("project", "run_id", "attempt", "variant", "test_id"),
    "changed_files": ("project", "run_id", "path"),
}


def columns(model: type[pa.DataFrameModel]) -> list[str]:
    """Column names of a contract, in order."""
    return list(model.to_schema().columns)
