"""Rows for the lake, typed by hand, and the commit protocol as a stage performs it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa

from ml.lake import FIRST_VERSIONS, Lake
from ml.spec import Interval, Snapshot
from ml.warehouse import BatchRecord, Warehouse

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def runs(*rows: tuple[str, str], project: str = "shop", attempt: int = 1) -> pd.DataFrame:
    """(run_id, start) pairs; runs finish at an unknown time."""
    frame = pd.DataFrame(
        {
            "project": project,
            "run_id": [run_id for run_id, _ in rows],
            "attempt": attempt,
            "workflow": None,
            "event": "push",
            "branch": "main",
            "commit_sha": "c0ffee",
            "change_id": None,
            "change_title": None,
            "author_id": None,
            "started_at": pd.to_datetime([start for _, start in rows], utc=True),
            "finished_at": pd.Series([pd.NaT] * len(rows), dtype="datetime64[us, UTC]"),
            "status": "completed",
            "is_fork": pd.array([None] * len(rows), dtype="boolean"),
        }
    )
    return frame.astype({"started_at": "datetime64[us, UTC]"})


def results(*rows: tuple[str, str, str], project: str = "shop", attempt: int = 1) -> pd.DataFrame:
    """(run_id, test_id, outcome) rows of the variant linux."""
    return pd.DataFrame(
        {
            "project": project,
            "run_id": [row[0] for row in rows],
            "attempt": attempt,
            "variant": "linux",
            "test_id": [row[1] for row in rows],
            "outcome": [row[2] for row in rows],
            "duration_s": 0.5,
            "imputed": False,
            "failure_kind": None,
            "failure_fingerprint": None,
            "position": pd.array([None] * len(rows), dtype="Int64"),
        }
    )


def files(*rows: tuple[str, str], project: str = "shop") -> pd.DataFrame:
    """(run_id, path) rows."""
    return pd.DataFrame(
        {
            "project": project,
            "run_id": [row[0] for row in rows],
            "path": [row[1] for row in rows],
            "added": pd.array([3] * len(rows), dtype="Int64"),
            "deleted": pd.array([None] * len(rows), dtype="Int64"),
            "change_source": "git",
        }
    )


def rejected(*values: str, project: str = "shop", batch_id: str = "b1") -> pd.DataFrame:
    """Rows that a validation refused for their outcome."""
    return pd.DataFrame(
        {
            "batch_id": batch_id,
            "project": project,
            "contract": "test_results",
            "column": "outcome",
            "reason": "unknown_outcome",
            "value": list(values),
            "row": "{}",
            "payload": None,
        }
    )


def record(batch_id: str, versions: Mapping[str, int], **changes: object) -> BatchRecord:
    """A ledger row of the source junit and project shop."""
    values: dict[str, object] = {
        "batch_id": batch_id,
        "source": "junit",
        "project": "shop",
        "kind": "history",
        "payload_count": 1,
        "row_counts": {"runs": 1, "test_results": 2},
        "duplicates": {},
        "rejected": 0,
        "quality_score": 1.0,
        "versions": versions,
        "data_until": NOON,
        "interval": Interval(None, NOON),
        "seconds": 0.25,
        "as_of": NOON,
    }
    return BatchRecord(**{**values, **changes})


def commit(warehouse: Warehouse, lake: Lake, batch_id: str, frames: Mapping[str, pd.DataFrame]) -> Snapshot:
    """Bring one batch into the lake: the protocol of docs/adr/0002-snapshots.md."""
    with warehouse.lake_lock(timeout_s=60):
        known = warehouse.find_batch(batch_id)
        if known is not None:
            return known
        head = warehouse.head()
        base = lake.restore(FIRST_VERSIONS if head is None else head.versions, warehouse.next_sequence())
        sequence = warehouse.next_sequence()
        appended = lake.append(frames, batch_id, sequence, base)
        batch = record(
            batch_id,
            appended.versions,
            row_counts=appended.counts,
            duplicates=appended.duplicates,
            data_until=appended.data_until,
        )
        return warehouse.record_batch(batch, sequence)


def stored(lake: Lake, table: str, version: int, columns: Sequence[str]) -> list[tuple[object, ...]]:
    """Sorted tuples of some columns of a table version."""
    found = lake.read(table, version, columns=list(columns)).to_pylist()
    return sorted(tuple(row[name] for name in columns) for row in found)


def first_batch() -> dict[str, pd.DataFrame]:
    """Two runs with three results, a changed file and a refused row."""
    return {
        "runs": runs(("r1", "2026-01-01T23:59:59Z"), ("r2", "2026-01-02T00:00:00Z")),
        "test_results": results(("r1", "a", "passed"), ("r1", "b", "failed"), ("r2", "a", "passed")),
        "changed_files": files(("r1", "src/a.py")),
        "rejected_rows": rejected("exploded"),
    }


def finished(frame: pd.DataFrame, at: str = "2026-03-01T00:00:00Z", status: str = "passed") -> pd.DataFrame:
    """The runs as they are delivered when they have ended."""
    return frame.assign(finished_at=pd.to_datetime([at] * len(frame), utc=True).as_unit("us"), status=status)


def one_row(empty: pa.Table) -> pa.Table:
    """A row as a zombie writer would commit it, null but for its key."""
    row = {"project": "shop", "run_id": "zombie", "day": "2026-01-01"}
    return pa.Table.from_pylist([row], schema=empty.schema)


ANNOUNCED = runs(("r1", "2026-01-01T00:00:00Z"), ("r2", "2026-01-01T00:00:00Z")).assign(status=None)
