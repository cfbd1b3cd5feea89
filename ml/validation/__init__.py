"""Rows held against their contracts (Pandera): good rows go on, bad rows are kept with their reasons.

Three passes, because a row must not be refused for the sake of a row that is itself refused:

1. each value is read into its column's type (`schemas.TYPE_REASONS`);
2. Pandera judges values and rows, lazily and all at once (the checks of `ml.schemas`);
3. what is left is judged together: unknown runs, then keys given twice (`schemas.BATCH_REASONS`).

Rows are numbered here, and failures are collected by number: Pandera's own `drop_invalid_rows` works by index label,
so it drops good rows of a duplicated index, and reports one bad row as several cases.
"""

from ml.validation.judging import Validated, count_violations, require_predictions, validate
from ml.validation.outages import outages
from ml.validation.rejected import MAX_ROW, MAX_VALUE, replay

__all__ = [
    "MAX_ROW",
    "MAX_VALUE",
    "Validated",
    "count_violations",
    "outages",
    "replay",
    "require_predictions",
    "validate",
]
