"""Delta tables under one address, written by one writer at a time and fenced against a second.

The protocol (``docs/adr/0002-snapshots.md``): the caller holds the lake lock, restores the head snapshot where a
killed writer left commits, appends with a sequence number from PostgreSQL, and names the new versions in one
ledger row. A writer that lost its lock without noticing is stopped here: its table is not at the version that the
ledger named, its sequence is not above the table's, or its commit meets another one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from ml.errors import LakeError
from ml.lake import rows
from ml.lake.delta import APP_ID, existing, explained, literal, literals, merge, scan, schema_of, stamp
from ml.lake.removing import Removal, Removed
from ml.schemas import KEYS, LAKE_TABLES, tables_of

FIRST_VERSIONS: Mapping[str, int] = dict.fromkeys(LAKE_TABLES, 0)
LABELS = "failure_labels"
_COLLECTED = (*KEYS, "rejected_rows")
_PARTITIONS = ["project", "day"]
_CONFIGURATION = {
    # Old versions stay readable for as long as a model names them: `vacuum` decides, not the age of the log.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 3650 days",
}


@dataclass(frozen=True, slots=True)
class Appended:
    """What one batch did to the lake; `versions` and the counts are per table, of optional tables where rows came.

    `counts` are rows that a table did not have, `updates` (of `runs`, the only table that has them) rows that replaced
    a stored one. `conflicts` has the columns of `rejected_rows`: rows that contradict a stored one, and rows without a
    run. They are in the lake's `rejected_rows` too. `data_until` is the latest `known_at` of the new and updated runs,
    None without any.
    """

    versions: Mapping[str, int]
    counts: Mapping[str, int]
    updates: Mapping[str, int]
    duplicates: Mapping[str, int]
    conflicts: pd.DataFrame
    data_until: datetime | None


class Lake:
    """The tables of `ml.schemas.LAKE_TABLES` below `uri`, a folder or an object store address.

    A lake of an earlier release may lack a table: `create` adds it, and snapshots that do not name it stay as they are.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")

    def create(self) -> dict[str, int]:
        """Create the tables that do not exist yet, empty, as version 0.

        Returns:
            the current version of each table.
        """
        for table in LAKE_TABLES:
            address = self._address(table)
            with explained(address):
                try:
                    DeltaTable.create(
                        address,
                        rows.delta_schema(table),
                        mode="ignore",
                        partition_by=_PARTITIONS,
                        configuration=_CONFIGURATION,
                        commit_properties=CommitProperties(max_commit_retries=0),
                    )
                except CommitFailedError:
                    # Another process created it at the same moment; the versions below prove it.
                    continue
        return self.versions()

    def versions(self) -> dict[str, int]:
        """Current version of each table, whoever wrote it; a snapshot's versions come from the ledger."""
        return {table: self._open(table).version() for table in LAKE_TABLES}

    def restore(self, versions: Mapping[str, int], sequence: int) -> dict[str, int]:
        """Make the content of the head snapshot current again where a killed writer left commits.

        Args:
            versions: of the head snapshot; `FIRST_VERSIONS` while the ledger is empty. A table that it does not name
                is newer than it, and taken as it was created.
            sequence: above every number used before; the append that follows needs a further one.

        Returns:
            the version of each table to append to; equal to `versions` when nothing had to be restored.

        Raises:
            LakeError: a table is older than the ledger says, a file is gone, or another writer is at work.
        """
        named = {**FIRST_VERSIONS, **versions}
        return {table: self._restore(table, version, sequence) for table, version in named.items()}

    def _restore(self, table: str, version: int, sequence: int) -> int:
        delta = self._open(table)
        if delta.version() == version:
            return version
        if delta.version() < version:
            raise LakeError(
                f"{self._address(table)} is at version {delta.version()} but the ledger names {version}: "
                "the lake was replaced; put the recorded one back or start with an empty warehouse"
            )
        self._fence(table, delta, sequence)
        with explained(self._address(table)):
            delta.restore(version, commit_properties=stamp(sequence))
        return self._open(table).version()

    def append(
        self, frames: Mapping[str, pd.DataFrame | pa.Table], batch_id: str, sequence: int, base: Mapping[str, int]
    ) -> Appended:
        """Append what is new in a batch: at most one commit per table.

        A stored run without `finished_at` that the batch delivers with other content is replaced in the same commit.
        Reads the runs of the batch's projects and the (project, day) partitions that the batch touches, nothing else.
        Columns that a table does not have yet are added to it as nullable ones.

        Args:
            frames: table name to rows of its contract; a table may be left out.
            batch_id: stored with every row.
            sequence: from PostgreSQL, above every number used before.
            base: the versions to build on, as returned by `restore`.

        Raises:
            LakeError: a frame breaks its contract, or another writer came in between; nothing of the batch counts
                until the ledger names the returned versions.
        """
        tables = {table: self._at(table, version, sequence) for table, version in base.items()}
        incoming = {
            table: rows.to_arrow(table, frames[table], batch_id)
            for table in _COLLECTED
            if table in frames and len(frames[table])
        }
        projects = {
            name for table in KEYS if table in incoming for name in incoming[table]["project"].unique().to_pylist()
        }
        rows.check_projects(projects)
        parts, rejected = _new_rows(tables, incoming, projects)
        conflicts = pd.concat(rejected, ignore_index=True) if rejected else _no_rejected_rows()
        refused = [rows.to_arrow("rejected_rows", frame, batch_id) for frame in rejected]
        refused += [incoming["rejected_rows"]] if "rejected_rows" in incoming else []
        fresh = {table: part.fresh for table, part in parts.items()}
        fresh |= {"rejected_rows": _placed_rejected(refused)} if refused else {}
        updates = {table: part.updates for table, part in parts.items() if part.updates.num_rows}
        for table, data in fresh.items():
            if table in updates:
                merge(tables[table], pa.concat_tables([updates[table], data]), (*_PARTITIONS, *KEYS[table]), sequence)
            else:
                self._write(table, tables[table], data, sequence)
        return Appended(
            versions={table: delta.version() for table, delta in tables.items()},
            counts={
                table: fresh[table].num_rows if table in fresh else 0
                for table in (*tables_of(incoming), "rejected_rows")
            },
            updates={"runs": updates["runs"].num_rows if "runs" in updates else 0},
            duplicates={table: parts[table].duplicates if table in parts else 0 for table in tables_of(incoming)},
            conflicts=conflicts,
            data_until=_data_until(pa.concat_tables([parts["runs"].fresh, parts["runs"].updates]))
            if "runs" in parts
            else None,
        )

    def append_labels(
        self, labels: pd.DataFrame, batch_id: str, sequence: int, base: Mapping[str, int]
    ) -> dict[str, int]:
        """Append rows of `failure_labels`, in one commit; nothing that is stored changes.

        Args:
            labels: rows of its contract.
            batch_id: stored with every row.
            sequence: from PostgreSQL, above every number used before.
            base: the versions to build on, as returned by `restore`.

        Returns:
            the version of each table of `base`.

        Raises:
            LakeError: the frame breaks its contract, or another writer came in between.
        """
        tables = {table: self._at(table, version, sequence) for table, version in base.items()}
        data = rows.to_arrow(LABELS, labels, batch_id)
        self._write(LABELS, tables[LABELS], rows.with_day(data, "labelled_at"), sequence)
        return {table: delta.version() for table, delta in tables.items()}

    def _write(self, table: str, delta: DeltaTable, data: pa.Table, sequence: int) -> None:
        if not data.num_rows:
            return
        is_same = set(data.column_names) == set(schema_of(delta).names)
        with explained(self._address(table)):
            write_deltalake(
                delta,
                data,
                mode="append",
                schema_mode=None if is_same else "merge",
                commit_properties=stamp(sequence),
            )

    def files(self, table: str, version: int, project: str | None = None) -> list[str]:
        """Parquet files of a table version, as Delta spells them (folder names percent-encoded)."""
        delta = self._open(table, version)
        return list(delta.file_uris(file_pruning_predicate=None if project is None else [("project", "=", project)]))

    def schema(self, table: str, version: int | None = None) -> pa.Schema:
        """Columns and types of a table version, with those of its contract that it lacks; None is the current one."""
        return pa.unify_schemas([schema_of(self._open(table, version)), rows.delta_schema(table)])

    def read(self, table: str, version: int, project: str | None = None, columns: list[str] | None = None) -> pa.Table:
        """Rows of a table version; the order is not defined."""
        where = None if project is None else f"project = {literal(project)}"
        return scan(self._open(table, version), columns, where)

    def data_until(self, version: int, project: str | None = None) -> datetime | None:
        """Latest `known_at` among the runs of a version of `runs`; None without any."""
        return _data_until(self.read("runs", version, project, ["started_at", "finished_at"]))

    def compact(
        self, base: Mapping[str, int], sequence: int, tables: Iterable[str] = tuple(LAKE_TABLES)
    ) -> dict[str, int]:
        """Join the small files of each partition; the content stays the same.

        The caller holds the lake lock and records the returned versions as a snapshot, as for an append.
        """
        versions = dict(base)
        for table in [table for table in tables if table in base]:
            delta = self._at(table, base[table], sequence)
            with explained(self._address(table)):
                delta.optimize.compact(commit_properties=stamp(sequence))
            versions[table] = delta.version()
        return versions

    def remove(self, versions: Mapping[str, int], removal: Removal, sequence: int | None = None) -> Removed:
        """Take something out of the tables, at most one commit each; without a sequence, only count the rows.

        The caller holds the lake lock and records the returned versions as a snapshot, as for an append.
        """
        after, counts = dict(versions), dict.fromkeys(versions, 0)
        for table, version in versions.items():
            delta = self._open(table, version) if sequence is None else self._at(table, version, sequence)
            where = removal.where(table, delta)
            counts[table] = scan(delta, ["project"], where).num_rows if where else 0
            if where and counts[table] and sequence is not None:
                removal.commit(delta, where, sequence)
                after[table] = delta.version()
        return Removed(after, counts)

    def vacuum(
        self, keep: Iterable[Mapping[str, int]], retention_hours: int = 168, *, dry_run: bool = False
    ) -> dict[str, int]:
        """Delete files that no kept version needs, under the lake lock.

        Delta notes a vacuum that deletes something in its log: record `versions()` as a snapshot afterwards.

        Args:
            keep: versions of the head and of every snapshot that a live model names.
            retention_hours: files that were removed from the table later than this stay.
            dry_run: only count, without the lock; a table that no kept version names counts as empty.

        Returns:
            number of deleted files per table.
        """
        keep = list(keep)
        deleted = {}
        for table in LAKE_TABLES:
            wanted = sorted({versions[table] for versions in keep if table in versions})
            deleted[table] = 0 if dry_run and not wanted else self._vacuum(table, wanted, retention_hours, dry_run)
        return deleted

    def _vacuum(self, table: str, wanted: list[int], retention_hours: int, dry_run: bool) -> int:
        delta = self._open(table)
        vacuum = partial(
            delta.vacuum, retention_hours, enforce_retention_duration=False, full=True, keep_versions=wanted
        )
        with explained(self._address(table)):
            # Delta lists what it removed from the table, also what was deleted from its storage before
            there = existing(delta, vacuum(dry_run=True))
            if there and not dry_run:  # it notes a vacuum in its log, also one that found nothing
                vacuum(dry_run=False)
        return there

    def _address(self, table: str) -> str:
        return f"{self._uri}/{table}"

    def _open(self, table: str, version: int | None = None) -> DeltaTable:
        address = self._address(table)
        with explained(address):
            return DeltaTable(address, version=version)

    def _at(self, table: str, version: int, sequence: int) -> DeltaTable:
        delta = self._open(table)
        if delta.version() != version:
            raise LakeError(
                f"{self._address(table)} is at version {delta.version()}, expected {version}: "
                "another writer came in between; collect the batch again"
            )
        self._fence(table, delta, sequence)
        return delta

    def _fence(self, table: str, delta: DeltaTable, sequence: int) -> None:
        last = delta.transaction_version(APP_ID)
        if last is not None and last >= sequence:
            raise LakeError(
                f"{self._address(table)} was written with sequence {last}, this writer has {sequence}: "
                "it lost the lake lock; collect the batch again"
            )


def _new_rows(
    tables: Mapping[str, DeltaTable], incoming: Mapping[str, pa.Table], projects: set[str]
) -> tuple[dict[str, rows.Separated], list[pd.DataFrame]]:
    """New rows per table, and the rejected ones. Runs first: results and files take their day from them."""
    parts: dict[str, rows.Separated] = {}
    rejected: list[pd.DataFrame] = []
    if not projects:
        return parts, rejected
    known = scan(tables["runs"], where=f"project IN ({literals(projects)})")
    run_days = known.select([*rows.RUN, "day"])
    for table in [table for table in KEYS if table in incoming]:
        if table == "runs":
            data, stored = rows.with_day(incoming[table], "started_at"), known
        elif table == "commits":
            data = rows.with_day(incoming[table], "committed_at")
            stored = _stored(tables[table], data, data["day"])
        else:
            data, orphans = rows.with_run_day(table, incoming[table], run_days)
            rejected += [rows.as_rejected(table, orphans, rows.ORPHAN)] if orphans.num_rows else []
            stored = _stored(tables[table], data, _days_of_runs(data, run_days))
        part = rows.separate_runs(stored, data) if table == "runs" else rows.separate(stored, data, KEYS[table])
        parts[table] = part
        rejected += [rows.as_rejected(table, part.conflicts, rows.CONFLICT)] if part.conflicts.num_rows else []
        if table == "runs":
            run_days = pa.concat_tables([run_days, part.fresh.select(run_days.column_names)])
    return parts, rejected


def _days_of_runs(data: pa.Table, run_days: pa.Table) -> pa.ChunkedArray:
    """Every day under which an attempt of one of the batch's runs is kept.

    All attempts, because a file's day is that of the earliest attempt known when it was stored.
    """
    return run_days.filter(pc.is_in(run_days["run_id"], data["run_id"].unique()))["day"]


def _stored(delta: DeltaTable, data: pa.Table, days: pa.ChunkedArray) -> pa.Table:
    """Stored rows of the batch's projects and these days."""
    projects = set(data["project"].unique().to_pylist())
    wanted = set(days.unique().to_pylist())
    present = {part["day"] for part in delta.partitions() if part["project"] in projects} & wanted
    if not present:
        return schema_of(delta).empty_table()
    return scan(delta, None, f"project IN ({literals(projects)}) AND day IN ({literals(present)})")


def _placed_rejected(tables: list[pa.Table]) -> pa.Table:
    """Rejected rows in partitions that any name fits into; the full name stays in `row`."""
    refused = pa.concat_tables(tables, promote_options="default")
    projects = [
        name if rows.usable_as_partition(name) else rows.NO_PARTITION for name in refused["project"].to_pylist()
    ]
    placed = refused.set_column(refused.column_names.index("project"), "project", pa.array(projects, pa.string()))
    return placed.append_column("day", pa.array([rows.NO_PARTITION] * refused.num_rows, pa.string()))


def _no_rejected_rows() -> pd.DataFrame:
    return pd.DataFrame(columns=list(LAKE_TABLES["rejected_rows"].to_schema().columns), dtype=object)


def _data_until(runs: pa.Table) -> datetime | None:
    moment: datetime | None = pc.max(pc.coalesce(runs["finished_at"], runs["started_at"])).as_py()
    return moment
