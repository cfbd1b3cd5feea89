"""Collecting: landing -> contracts -> lake; `ml.stages.fetching` comes before."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from ml import sources, validation
from ml.batch_quality import BatchHistory, judge_batch
from ml.errors import SourceError
from ml.lake import FIRST_VERSIONS, Appended, Lake
from ml.schemas import KEYS
from ml.settings import Settings
from ml.spec import Batch, Snapshot
from ml.stages import data_docs
from ml.stages.contracts import require_contracts
from ml.stages.fetching import landing, source_limits
from ml.stages.opening import folder_of, open_lake, open_warehouse, replacing, room_for, to_span
from ml.warehouse import BatchRecord, Warehouse

LOCK_TIMEOUT_S = 600.0
MAX_AGE = timedelta(hours=48)
STAGED = (*KEYS, "rejected_rows")
REFUSAL = ["contract", "column", "reason", "value", "row", "payload"]
REPLAY = "@"  # between a batch's id and the moment of its replay, in the id of the replayed batch


def validate(settings: Settings, reference: Mapping[str, Any], as_of: datetime) -> dict[str, Any]:
    """Hold one landed batch against its contracts and set the rows aside for the lake.

    Returns:
        the reference with row counts, the data-quality score (0..1), `passed` and the address of its Data Docs.
    """
    batch = _batch(reference)
    parsed = sources.read_batch(batch, source_limits(settings))
    with open_warehouse(settings) as warehouse:
        known = _known_runs(open_lake(settings), warehouse.head(), batch.project)
        usual = _usual(warehouse, batch.project, settings)
    checked = validation.validate(parsed.frames, parsed.refused, batch, as_of, known)
    docs = data_docs.folder(settings, batch.batch_id)
    # a batch of announced changes or of refused payloads alone has no results to judge
    has_results = len(parsed.frames["test_results"]) > 0
    with room_for(docs):
        judged = judge_batch(checked.accepted, checked.rejected, usual, as_of, docs) if has_results else None
    frames = {**checked.accepted, "rejected_rows": checked.rejected}
    folder = folder_of(settings, "staging", batch.batch_id)
    for name in STAGED:
        with replacing(folder / f"{name}.parquet") as scratch:
            frames[name].to_parquet(scratch, index=False)
    summary = {
        **reference,
        "as_of": as_of.isoformat(),
        "accepted": {name: len(frame) for name, frame in checked.accepted.items()},
        "rejected": len(checked.rejected),
        "reasons": _reasons(checked.rejected),
        "score": round(judged.score, 4) if judged else None,
        "passed": judged is None or judged.passed,
        "complaints": [check.name for check in judged.checks if not check.passed] if judged else [],
        "bytes": sum(file.stat().st_size for file in Path(batch.folder).rglob("*") if file.is_file()),
        "report_url": data_docs.address(settings, batch.batch_id) if judged else "",
    }
    data_docs.record(settings, summary)
    return summary


def append(settings: Settings, references: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put validated batches into the lake, each exactly once, in the order given; `ml.stages.contracts` names the rest.

    Returns:
        the head snapshot and the numbers of what was appended now: batches, rows per table, updated runs, their sum
        `new_rows`, duplicates, rejected rows, payloads and their bytes, the lowest quality score (0..1, None without
        results) and the seconds it took.
    """
    began = time.monotonic()
    lake = open_lake(settings)
    lake.create()
    appended: list[tuple[Mapping[str, Any], Appended]] = []
    snapshot_id = None
    for reference in references:
        if not reference["passed"]:
            continue
        with open_warehouse(settings) as warehouse, warehouse.lake_lock(LOCK_TIMEOUT_S):
            done = _append_one(settings, lake, warehouse, reference)
            if done is not None:
                appended.append((reference, done))
            found = warehouse.head()
            snapshot_id = found.snapshot_id if found else None
    numbers = _numbers(appended)
    return {"snapshot_id": snapshot_id, **numbers, "seconds": round(time.monotonic() - began, 3)}


def _numbers(appended: Sequence[tuple[Mapping[str, Any], Appended]]) -> dict[str, Any]:
    """What a list of appended batches adds up to; see `append`."""
    rows = {name: sum(done.counts[name] for _, done in appended) for name in KEYS}
    updates = sum(sum(done.updates.values()) for _, done in appended)
    scores = [reference["score"] for reference, _ in appended if reference["score"] is not None]
    return {
        "batches": len(appended),
        "new_rows": sum(rows.values()) + updates,
        "rows": rows,
        "updated_runs": updates,
        "duplicates": sum(sum(done.duplicates.values()) for _, done in appended),
        "rejected": sum(int(reference["rejected"]) + len(done.conflicts) for reference, done in appended),
        "payloads": sum(int(reference["payload_count"]) for reference, _ in appended),
        "bytes": sum(int(reference["bytes"]) for reference, _ in appended),
        "quality_score": min(scores, default=None),
    }


def replay(settings: Settings, batch_id: str, as_of: datetime) -> dict[str, Any]:
    """Validate a landed batch again, by today's contracts, and append what is accepted now.

    A row that is refused again as it was before is not stored a second time.

    Raises:
        ContractError: the batch as a whole breaks its contract; nothing is appended.
    """
    batch = sources.find_batch(landing(settings), batch_id)
    checked = validate(settings, {**asdict(batch), "since": None, "until": None}, as_of)
    require_contracts([checked])
    replayed = f"{batch_id}{REPLAY}{as_of:%Y%m%dT%H%M%S}"
    rejected = _keep_new_refusals(settings, batch_id)
    return append(settings, [{**checked, "batch_id": replayed, "staged": batch_id, "rejected": rejected}])


def _keep_new_refusals(settings: Settings, batch_id: str) -> int:
    """Leave only those refusals staged that the lake has not stored for this batch or a replay of it; their number."""
    with open_warehouse(settings) as warehouse:
        known = warehouse.head()
    staged = settings.home.absolute() / "staging" / batch_id / "rejected_rows.parquet"
    refused = pd.read_parquet(staged)
    if known is None:
        return len(refused)
    stored = open_lake(settings).read("rejected_rows", known.versions["rejected_rows"]).to_pandas()
    stored = stored.loc[stored["batch_id"].str.split(REPLAY).str[0] == batch_id]
    seen = set(stored[REFUSAL].fillna("").itertuples(index=False, name=None))
    kept = refused.loc[[line not in seen for line in refused[REFUSAL].fillna("").itertuples(index=False, name=None)]]
    with replacing(staged) as scratch:
        kept.to_parquet(scratch, index=False)
    return len(kept)


def _append_one(settings: Settings, lake: Lake, warehouse: Warehouse, reference: Mapping[str, Any]) -> Appended | None:
    """Append one batch under the lake lock; None when the ledger has it already.

    The ledger's row counts are rows added: over all batches they sum up to the tables, so updates are not among them.
    """
    batch_id = str(reference["batch_id"])
    if warehouse.find_batch(batch_id) is not None:
        return None
    began = time.monotonic()
    head = warehouse.head()
    base = lake.restore(head.versions if head else FIRST_VERSIONS, warehouse.next_sequence())
    sequence = warehouse.next_sequence()
    folder = settings.home.absolute() / "staging" / str(reference.get("staged", batch_id))
    missing = [name for name in STAGED if not (folder / f"{name}.parquet").exists()]
    if missing:
        raise SourceError(f"batch {batch_id} was not validated: {folder} lacks {', '.join(missing)}; validate it again")
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in STAGED}
    done = lake.append(frames, batch_id, sequence, base)
    record = BatchRecord(
        batch_id=batch_id,
        source=str(reference["source"]),
        project=str(reference["project"]),
        kind="history",
        payload_count=int(reference["payload_count"]),
        row_counts=done.counts,
        duplicates=done.duplicates,
        rejected=int(reference["rejected"]) + len(done.conflicts),
        quality_score=reference["score"],
        versions=done.versions,
        data_until=done.data_until,
        interval=to_span(reference["since"], reference["until"]),
        seconds=time.monotonic() - began,
        as_of=datetime.fromisoformat(str(reference["as_of"])),
    )
    warehouse.record_batch(record, sequence)
    return done


def _batch(reference: Mapping[str, Any]) -> Batch:
    return Batch(**{name: reference[name] for name in Batch.__slots__})


def _known_runs(lake: Lake, head: Snapshot | None, project: str) -> pd.DataFrame | None:
    if head is None:
        return None
    known: pd.DataFrame = lake.read("runs", head.versions["runs"], project, ["project", "run_id"]).to_pandas()
    return known


def _usual(warehouse: Warehouse, project: str, settings: Settings) -> BatchHistory:
    """What batches of this project look like; freshness is judged by the wall clock only."""
    head = warehouse.head()
    max_age = MAX_AGE if settings.clock == "wall" else None
    if head is None:
        return BatchHistory(max_age=max_age)
    counts = [row for row in warehouse.batches(project, head.snapshot_id)["row_counts"] if row.get("runs")]
    return BatchHistory(tuple(row["test_results"] / row["runs"] for row in counts), max_age)


def _reasons(rejected: pd.DataFrame, most: int = 20) -> dict[str, int]:
    return {str(reason): int(count) for reason, count in rejected["reason"].value_counts().head(most).items()}
