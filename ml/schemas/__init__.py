"""The contract of every table and frame: one Pandera model each, and the only place where columns are named.

Suffixes: `_at` UTC timestamp, `_s` seconds, `_count`, `_rate` in 0..1, `_7d` windows, `is_`/`has_`, `_id`.

A rule that a value or a row decides alone is a Pandera check whose name is its reason code. `TYPE_REASONS` are given
while a value is read into its column's type, `BATCH_REASONS` where the other rows or the clock decide.
"""

from ml.schemas.frames import (
    FEATURES,
    GROWING_FEATURES,
    BuildRiskFrame,
    FlakyTestsFrame,
    TestSelectionFrame,
    feature_descriptions,
    feature_groups,
)
from ml.schemas.rules import (
    BATCH_REASONS,
    CLOCK_SKEW,
    EARLIEST,
    MAX_NAME,
    MAX_PROJECT_BYTES,
    TYPE_REASONS,
    not_in_future,
)
from ml.schemas.tables import (
    KEYS,
    LAKE_TABLES,
    OPTIONAL,
    ChangedFiles,
    Commits,
    FailureLabels,
    Predictions,
    RejectedRows,
    Runs,
    TestResults,
    columns,
    tables_of,
)

__all__ = [
    "BATCH_REASONS",
    "CLOCK_SKEW",
    "EARLIEST",
    "FEATURES",
    "GROWING_FEATURES",
    "KEYS",
    "LAKE_TABLES",
    "MAX_NAME",
    "MAX_PROJECT_BYTES",
    "OPTIONAL",
    "TYPE_REASONS",
    "BuildRiskFrame",
    "ChangedFiles",
    "Commits",
    "FailureLabels",
    "FlakyTestsFrame",
    "Predictions",
    "RejectedRows",
    "Runs",
    "TestResults",
    "TestSelectionFrame",
    "columns",
    "feature_descriptions",
    "feature_groups",
    "not_in_future",
    "tables_of",
]
