"""Collecting: landing -> contracts -> lake; `ml.stages.fetching` comes before."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ml import sources, validation
from ml.batch_quality import BatchHistory, judge_batch
from ml.errors import SourceError
from ml.lake import FIRST_VERSIONS, Appended, Lake
from ml.schemas import KEYS, OPTIONAL, tables_of
from ml.settings import Settings
from ml.spec import Batch, Parsed, Snapshot
from ml.stages import data_docs, side_by_side
from ml.stages.contracts import require_contracts
from ml.stages.fetching import landing, source_limits
from ml.stages.opening import folder_of, open_lake, open_warehouse, replacing, room_for, to_span
from ml.stages.project_retention import begin_of, leave_out
from ml.warehouse import BatchRecord, Warehouse

LOCK_TIMEOUT_S = 600.0
WORTH_PROCESSES_BYTES = 10_000_000  # what is read in the second that it takes to start them
MAX_AGE = timedelta(hours=48)
REJECTED = "rejected_rows"
REFUSAL = ["contract", "column", "reason", "value", "row", "payload"]
REPLAY = "@"  # between a batch's id and the moment of its replay, in the id of the replayed batch


def validate(
    settings: Settings, reference: Mapping[str, Any], as_of: datetime, snapshot_id: int | None = None
) -> dict[str, Any]:
    """Hold one landed batch against its contracts and set the rows aside for the lake.

    Args:
        settings: where everything is.
        reference: of `ml.stages.fetching`.
        as_of: now, in UTC.
        snapshot_id: what counts as known; None for all that is in the lake, 0 for nothing.

    Returns:
        the reference with row counts, the data-quality score (0..1), `passed`, the address of its Data Docs, and the
        ids of its runs that were outages.
    """
    batch = _batch(reference)
    limits = source_limits(settings)
    parsed = without_forgotten(sources.read_batch(batch, limits), limits.forgotten)
    with open_warehouse(settings) as warehouse:
        head = warehouse.head() if snapshot_id is None else _snapshot(warehouse, snapshot_id)
        known = _known_runs(open_lake(settings), head, batch.project)
        usual = _usual(warehouse, head, batch.project, settings)
    checked = validation.validate(parsed.frames, parsed.refused, batch, as_of, known)
    accepted, too_old = leave_out(checked.accepted, begin_of(settings, batch.project, as_of), batch)
    docs = data_docs.folder(settings, batch.batch_id)
    # a batch of announced changes or of refused payloads alone has no results to judge
    has_results = len(parsed.frames["test_results"]) > 0 and not (len(too_old) and accepted["test_results"].empty)
    with room_for(docs):
        judged = judge_batch(accepted, checked.rejected, usual, as_of, docs) if has_results else None
    rejected = pd.concat([checked.rejected, too_old], ignore_index=True) if len(too_old) else checked.rejected
    frames = {**accepted, REJECTED: rejected}
    folder = folder_of(settings, "staging", batch.batch_id)
    for name, frame in frames.items():
        with replacing(folder / f"{name}.parquet") as scratch:
            frame.to_parquet(scratch, index=False)
    summary = {
        **reference,
        "as_of": as_of.isoformat(),
        "accepted": {name: len(frame) for name, frame in accepted.items()},
        "rejected": len(rejected),
        "reasons": _reasons(rejected),
        "score": round(judged.score, 4) if judged else None,
        "outages": validation.outages(accepted["test_results"], settings.outage_share),
        "passed": judged is None or judged.passed,
        "complaints": [check.name for check in judged.checks if not check.passed] if judged else [],
        "bytes": _bytes(Path(batch.folder)),
        "report_url": data_docs.address(settings, batch.batch_id) if judged else "",
    }
    data_docs.record(settings, summary)
    return summary


def validate_each(
    settings: Settings, references: Iterable[Mapping[str, Any]], as_of: datetime
) -> Iterator[dict[str, Any]]:
    """`validate` of each batch, in the order given; with much to read, `settings.threads` of them at once.

    Each is held against the snapshot of the beginning, whatever of them is in the lake meanwhile.
    """
    with open_warehouse(settings) as warehouse:
        head = warehouse.head()
    first, rest, size = list[Mapping[str, Any]](), iter(references), 0
    while size <= WORTH_PROCESSES_BYTES and (reference := next(rest, None)) is not None:
        first.append(reference)
        size += _bytes(Path(reference["folder"]))
    processes = settings.threads if size > WORTH_PROCESSES_BYTES else 1
    one = partial(validate, settings, as_of=as_of, snapshot_id=head.snapshot_id if head else 0)
    return side_by_side.each(one, chain(first, rest), processes, (__name__, "great_expectations"))


def without_forgotten(parsed: Parsed, forgotten: Set[str]) -> Parsed:
    """The rows without the pseudonyms of those who opted out: they may stand in what landed before, or in tables."""
    if not forgotten:
        return parsed
    frames = {
        name: frame.assign(author_id=frame["author_id"].mask(frame["author_id"].isin(forgotten), None))
        if "author_id" in frame
        else frame
        for name, frame in parsed.frames.items()
    }
    return Parsed(frames, parsed.refused)


def append(settings: Settings, references: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put validated batches into the lake, each exactly once, in the order given; `ml.stages.contracts` names the rest.

    Returns:
        the head snapshot and the numbers of what was appended now: batches, rows per table, updated runs, their sum
        `new_rows`, duplicates, rejected rows, runs that were outages, payloads and their bytes, the lowest quality
        score (0..1, None without results) and the seconds it took.
    """
    began = time.monotonic()
    # Arrow's own pool keeps the memory that a batch took from the processes that validate the next ones.
    pa.set_memory_pool(pa.system_memory_pool())
    lake = open_lake(settings)
    appended: list[tuple[Mapping[str, Any], Appended]] = []
    snapshot_id = None
    for number, reference in enumerate(one for one in references if one["passed"]):
        if number == 0:
            lake.create()
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
    counts = [done.counts for _, done in appended]
    rows = {name: sum(count.get(name, 0) for count in counts) for name in tables_of({*chain.from_iterable(counts)})}
    updates = sum(sum(done.updates.values()) for _, done in appended)
    scores = [reference["score"] for reference, _ in appended if reference["score"] is not None]
    return {
        "batches": len(appended),
        "new_rows": sum(rows.values()) + updates,
        "rows": rows,
        "updated_runs": updates,
        "duplicates": sum(sum(done.duplicates.values()) for _, done in appended),
        "rejected": sum(int(reference["rejected"]) + len(done.conflicts) for reference, done in appended),
        "outages": sum(len(reference["outages"]) for reference, _ in appended),
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
    batch_id = batch.batch_id  # of the larger one, where it was joined into one
    checked = validate(settings, {**asdict(batch), "since": None, "until": None}, as_of)
    require_contracts([checked])
    replayed = f"{batch_id}{REPLAY}{as_of:%Y%m%dT%H%M%S}"
    rejected = _keep_new_refusals(settings, batch_id)
    return append(settings, [{**checked, "batch_id": replayed, "staged": batch_id, "rejected": rejected}])


def _keep_new_refusals(settings: Settings, batch_id: str) -> int:
    """Leave only those refusals staged that the lake has not stored for this batch or a replay of it; their number."""
    with open_warehouse(settings) as warehouse:
        known = warehouse.head()
    staged = settings.home.absolute() / "staging" / batch_id / f"{REJECTED}.parquet"
    refused = pd.read_parquet(staged)
    if known is None:
        return len(refused)
    stored = open_lake(settings).read(REJECTED, known.versions[REJECTED]).to_pandas()
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
    staged = {name: folder / f"{name}.parquet" for name in (*KEYS, REJECTED)}
    missing = [name for name, file in staged.items() if name not in OPTIONAL and not file.exists()]
    if missing:
        raise SourceError(f"batch {batch_id} was not validated: {folder} lacks {', '.join(missing)}; validate it again")
    tables = {name: pq.read_table(file) for name, file in staged.items() if file.exists()}
    done = lake.append(tables, batch_id, sequence, base)
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
        origin=str(reference.get("origin", "")),
        payloads=sources.payloads_of(_batch(reference)),
        outages=reference["outages"],
    )
    warehouse.record_batch(record, sequence)
    return done


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _batch(reference: Mapping[str, Any]) -> Batch:
    return Batch(**{name: reference[name] for name in Batch.__slots__})


def _known_runs(lake: Lake, head: Snapshot | None, project: str) -> pd.DataFrame | None:
    if head is None:
        return None
    known: pd.DataFrame = lake.read("runs", head.versions["runs"], project, ["project", "run_id"]).to_pandas()
    return known


def _snapshot(warehouse: Warehouse, snapshot_id: int) -> Snapshot | None:
    return warehouse.snapshot(snapshot_id) if snapshot_id else None


def _usual(warehouse: Warehouse, head: Snapshot | None, project: str, settings: Settings) -> BatchHistory:
    """What batches of this project look like; freshness is judged by the wall clock only."""
    max_age = MAX_AGE if settings.clock == "wall" else None
    if head is None:
        return BatchHistory(max_age=max_age)
    counts = [row for row in warehouse.batches(project, head.snapshot_id)["row_counts"] if row.get("runs", 0) > 0]
    return BatchHistory(tuple(row["test_results"] / row["runs"] for row in counts), max_age)


def _reasons(rejected: pd.DataFrame, most: int = 20) -> dict[str, int]:
    return {str(reason): int(count) for reason, count in rejected["reason"].value_counts().head(most).items()}
