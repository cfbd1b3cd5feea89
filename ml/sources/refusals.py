"""What could not be read, as rows of `rejected_rows` without `batch_id`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from ml import schemas

MAX_VALUE = 200
MAX_ROW = 4_000
UNKNOWN_PROJECT = "unknown"
REFUSED_COLUMNS = [name for name in schemas.columns(schemas.RejectedRows) if name != "batch_id"]
# Longer than any name that a contract lets through: a name that was cut here is refused there, never mistaken.
MAX_TEXT = 4 * schemas.MAX_NAME


@dataclass(frozen=True, slots=True)
class Refusal:
    """One payload or row that was not read. `reason` is a short snake_case code; `value` is bounded."""

    reason: str
    value: str | None = None
    column: str | None = None
    row: str | None = None
    contract: str = "test_results"
    payload: str | None = None


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """`text` cut to `limit` characters and safe to store: what UTF-8 cannot hold becomes a question mark."""
    return text[:limit].encode("utf-8", "replace").decode("utf-8")


def as_value(value: object) -> str | None:
    """The offending value as text of at most `MAX_VALUE` characters; None stays None."""
    return None if value is None else printable(str(value), MAX_VALUE)


def as_row(row: Mapping[str, object]) -> str:
    """A refused row as JSON of at most `MAX_ROW` characters."""
    bounded = {name: as_value(value) for name, value in row.items()}
    return printable(json.dumps(bounded, ensure_ascii=False), MAX_ROW)


def to_frame(refused: Iterable[tuple[str, Refusal]]) -> pd.DataFrame:
    """Frame of (project, refusal) pairs with the columns of `rejected_rows` without `batch_id`."""
    rows = [{"project": project, **asdict(refusal)} for project, refusal in refused]
    return pd.DataFrame(rows, columns=REFUSED_COLUMNS, dtype=object)
