"""Maintenance of the lake: join small files, delete what no live snapshot needs."""

import time
from datetime import datetime
from typing import Any

from ml.schemas import LAKE_TABLES
from ml.settings import Settings
from ml.spec import Interval
from ml.stages.collection import LOCK_TIMEOUT_S
from ml.stages.opening import open_lake, open_warehouse
from ml.warehouse import BatchRecord


def maintain(settings: Settings, retention_hours: int, as_of: datetime) -> dict[str, Any]:
    """Compact and vacuum under the lake lock, and name the new versions as a snapshot.

    Args:
        settings: where the lake and the warehouse are.
        retention_hours: versions that nothing names stay readable for this long.
        as_of: now; part of the ledger row.
    """
    lake = open_lake(settings)
    with open_warehouse(settings) as warehouse, warehouse.lake_lock(LOCK_TIMEOUT_S):
        head = warehouse.head()
        if head is None:
            return {"done": "nothing to do: nothing was collected yet"}
        began = time.monotonic()
        lake.create()  # a lake of an earlier release may lack a table
        base = lake.restore(head.versions, warehouse.next_sequence())
        lake.compact(base, warehouse.next_sequence())
        deleted = lake.vacuum([*warehouse.live_versions(), lake.versions()], retention_hours)
        sequence = warehouse.next_sequence()
        record = BatchRecord(
            batch_id=f"maintenance-{sequence}",
            source="maintain",
            project="",
            kind="maintenance",
            payload_count=0,
            row_counts=dict.fromkeys(LAKE_TABLES, 0),
            duplicates={},
            rejected=0,
            quality_score=None,
            versions=lake.versions(),
            data_until=None,
            interval=Interval(),
            seconds=time.monotonic() - began,
            as_of=as_of,
        )
        snapshot = warehouse.record_batch(record, sequence)
    return {"snapshot_id": snapshot.snapshot_id, "deleted_files": deleted}
