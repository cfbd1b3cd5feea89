"""Labelling: what each failure is held for, as known at a moment; revised labels are appended to the lake."""

import time
from datetime import datetime
from typing import Any

import pandas as pd

from ml import labels
from ml.schemas import LAKE_TABLES, FailureLabels, columns
from ml.settings import Settings
from ml.spec import FailureState, Interval, Snapshot
from ml.stages.collection import LOCK_TIMEOUT_S
from ml.stages.opening import head, now, open_history, open_lake, open_warehouse, projects
from ml.warehouse import BatchRecord, Warehouse

TABLE = "failure_labels"


def label(settings: Settings, only: str = "", as_of: datetime | None = None) -> list[dict[str, Any]]:
    """Label the failures of each project and append what is new or revised. Twice changes nothing.

    Returns:
        one entry per project: as_of, failures, how many are in each state, appended rows, and the snapshot that has
        them (the one that was read, where nothing was appended).
    """
    open_lake(settings).create()
    return [_label_project(settings, project, as_of) for project in projects(settings, only)]


def _label_project(settings: Settings, project: str, as_of: datetime | None) -> dict[str, Any]:
    began = time.monotonic()
    with open_warehouse(settings) as warehouse:
        snapshot = head(warehouse)
    moment = now(settings, snapshot, project, as_of)
    with open_history(settings, snapshot, project) as engine:
        found = labels.label(engine, project, moment).assign(snapshot_id=snapshot.snapshot_id)
    # What reads long runs without the lock; what is stored is compared with under it.
    with open_warehouse(settings) as warehouse, warehouse.lake_lock(LOCK_TIMEOUT_S):
        latest = warehouse.head() or snapshot
        fresh = labels.revisions(found, _stored(settings, latest.versions.get(TABLE), project))
        if len(fresh):
            latest = _append(settings, warehouse, latest, fresh, began)
    counts = found["state"].value_counts()
    return {
        "project": project,
        "as_of": moment.isoformat(),
        "failures": len(found),
        **{state.value: int(counts.get(state.value, 0)) for state in FailureState},
        "appended": len(fresh),
        "snapshot_id": latest.snapshot_id,
    }


def _stored(settings: Settings, version: int | None, project: str) -> pd.DataFrame:
    if version is None:
        return pd.DataFrame(columns=columns(FailureLabels)).astype({"labelled_at": "datetime64[us, UTC]"})
    found: pd.DataFrame = open_lake(settings).read(TABLE, version, project, columns(FailureLabels)).to_pandas()
    return found


def _append(settings: Settings, warehouse: Warehouse, latest: Snapshot, fresh: pd.DataFrame, began: float) -> Snapshot:
    """One commit and its ledger row, under the lake lock; see ADR 2."""
    lake = open_lake(settings)
    project, moment = str(fresh["project"].iloc[0]), fresh["labelled_at"].iloc[0].to_pydatetime()
    base = lake.restore(latest.versions, warehouse.next_sequence())
    sequence = warehouse.next_sequence()
    batch_id = f"labels-{sequence}"
    record = BatchRecord(
        batch_id=batch_id,
        source="label",
        project=project,
        kind="labels",
        payload_count=0,
        row_counts={**dict.fromkeys(LAKE_TABLES, 0), TABLE: len(fresh)},
        duplicates={},
        rejected=0,
        quality_score=None,
        versions=lake.append_labels(fresh, batch_id, sequence, base),
        data_until=None,
        interval=Interval(None, moment),
        seconds=time.monotonic() - began,
        as_of=moment,
    )
    return warehouse.record_batch(record, sequence)
