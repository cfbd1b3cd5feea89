"""Snapshots that bring no history: maintenance, retention, and whoever opted out."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ml.lake import Lake
from ml.lake.removing import Outdated, Removal
from ml.schemas import LAKE_TABLES
from ml.settings import Settings
from ml.spec import Interval, Snapshot
from ml.stages.project_retention import project_options
from ml.warehouse import BatchRecord, Warehouse

Counts = dict[str, int]


def record(
    warehouse: Warehouse, versions: Mapping[str, int], as_of: datetime, kind: str = "maintenance", **fields: object
) -> Snapshot:
    """Name the versions as a snapshot, under the lake lock; `fields` are of `BatchRecord`."""
    sequence = warehouse.next_sequence()
    plain: dict[str, Any] = {
        "batch_id": f"{kind}-{sequence}",
        "source": "maintain",
        "project": "",
        "kind": kind,
        "payload_count": 0,
        "row_counts": dict.fromkeys(LAKE_TABLES, 0),
        "duplicates": {},
        "rejected": 0,
        "quality_score": None,
        "versions": versions,
        "data_until": None,
        "interval": Interval(),
        "seconds": 0.0,
        "as_of": as_of,
    }
    return warehouse.record_batch(BatchRecord(**{**plain, **fields}), sequence)


def outdated(settings: Settings, warehouse: Warehouse, as_of: datetime) -> list[Outdated]:
    """What is older than the `keep_days` of its project.

    Raises:
        SettingsError: see `project_options`.
    """
    begins = {name: options.begin(as_of) for name, options in project_options(settings).items()}
    return [
        Outdated(name, f"{begin:%Y-%m-%d}", warehouse.batches_before(name, begin))
        for name, begin in begins.items()
        if begin is not None
    ]


def expire(
    warehouse: Warehouse, lake: Lake, base: Mapping[str, int], going: list[Outdated], as_of: datetime
) -> tuple[Mapping[str, int], Counts]:
    """Remove what is outdated, a snapshot for each project that has any, under the lake lock.

    The ledger counts the rows as taken away from their project.

    Returns:
        the version of each table, and the number of rows per project.
    """
    counts: Counts = {}
    for one in going:
        removed = lake.remove(base, one, warehouse.next_sequence())
        counts[one.project] = sum(removed.counts.values())
        if counts[one.project]:
            taken = {table: -count for table, count in removed.counts.items()}
            record(warehouse, removed.versions, as_of, "retention", project=one.project, row_counts=taken)
        base = removed.versions
    return base, counts


def would_remove(lake: Lake, versions: Mapping[str, int], going: Removal) -> int:
    """Rows that would be concerned."""
    return sum(lake.remove(versions, going).counts.values())
