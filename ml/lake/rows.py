"""Which rows of a batch are new: pure functions from Arrow tables to Arrow tables.

Types come from the contracts of `ml.schemas`; every Delta column is nullable, so that a later release can add
columns and still read what an earlier one wrote.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml.errors import LakeError
from ml.schemas import LAKE_TABLES, MAX_PROJECT_BYTES

CONFLICT = "conflicts_with_stored_row"
ORPHAN = "no_such_run"
NO_PARTITION = "-"
RUN = ("project", "run_id", "attempt")
_ROW = "__row"
_NOT_COMPARED = ("batch_id", "day", "failure_kind", "failure_fingerprint", "position")
_VALUE_CHARS = 200
_ARROW = {
    "str": pa.string(),
    "int64": pa.int64(),
    "Int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "boolean": pa.bool_(),
    "datetime64[us, UTC]": pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True, slots=True)
class Separated:
    """Rows of a batch held against the stored ones.

    `fresh` keeps the order of the batch. `conflicts` has the columns of the batch plus `__column`, the first column
    that differs from the row that came first. `updates` has the columns of `fresh`: rows that replace a stored one.
    """

    fresh: pa.Table
    duplicates: int
    conflicts: pa.Table
    updates: pa.Table


def delta_schema(table: str) -> pa.Schema:
    """Columns of a lake table: its contract, then `batch_id` and the partition column `day`."""
    fields = [pa.field(name, _ARROW[str(column.dtype)]) for name, column in _contract(table).items()]
    names = {field.name for field in fields}
    return pa.schema(fields + [pa.field(name, pa.string()) for name in ("batch_id", "day") if name not in names])


@cache
def _contract(table: str) -> dict[str, Any]:
    return dict(LAKE_TABLES[table].to_schema().columns)


def to_arrow(table: str, frame: pd.DataFrame | pa.Table, batch_id: str) -> pa.Table:
    """Contract columns in their types, further columns in the type they have, and `batch_id`; no `day` yet.

    A further column that is null throughout has no type yet and is left out.

    Raises:
        LakeError: a column is missing, of the wrong type, or null where the contract wants a value.
    """
    contract = _contract(table)
    given = frame.column_names if isinstance(frame, pa.Table) else [str(name) for name in frame.columns]
    missing = [name for name in contract if name not in given and name != "batch_id"]
    if missing:
        raise LakeError(f"{table}: column {missing[0]} is missing; expected {', '.join(contract)}")
    arrays = {name: _array(table, name, frame[name]) for name in given if name not in ("batch_id", "day")}
    arrays["batch_id"] = pa.array([batch_id] * len(frame), pa.string())
    return pa.table({name: array for name, array in arrays.items() if not pa.types.is_null(array.type)})


def _array(table: str, name: str, values: pd.Series | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    column = _contract(table).get(name)
    kind = None if column is None else _ARROW[str(column.dtype)]
    try:
        if isinstance(values, pa.ChunkedArray):
            array = values if kind is None else values.cast(kind)
        else:
            array = pa.Array.from_pandas(values, type=kind)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise LakeError(f"{table}.{name}: {error}; validate the frame before it goes into the lake") from error
    if column is not None and not column.nullable and array.null_count:
        raise LakeError(f"{table}.{name}: {array.null_count} nulls; its contract wants a value in every row")
    return array.cast(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(array.type) else array


def check_projects(projects: Iterable[str]) -> None:
    """A project names a folder of the lake.

    Raises:
        LakeError: a project name is empty or too long for a folder name.
    """
    for project in projects:
        if not usable_as_partition(project):
            raise LakeError(
                f"project {project[:_VALUE_CHARS]!r} cannot name a partition: expected 1 to {MAX_PROJECT_BYTES} bytes"
            )


def usable_as_partition(value: str) -> bool:
    """Whether a text fits a partition folder's name once it is percent-encoded."""
    return 0 < len(value.encode()) <= MAX_PROJECT_BYTES


def with_day(data: pa.Table, moment: str) -> pa.Table:
    """Rows with `day`, the UTC date of the column `moment`, ``2026-01-31``."""
    return data.append_column("day", pc.strftime(data[moment], format="%Y-%m-%d"))


def with_run_day(table: str, rows: pa.Table, runs: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Give results and files the `day` of their run.

    A changed file belongs to a run and not to one attempt: it takes the first day of any attempt. So does a result that
    numbers an execution within its run, which no row of `runs` has the number of.

    Args:
        table: `test_results` or `changed_files`.
        rows: the table's rows, without `day`.
        runs: `project`, `run_id`, `attempt`, `day` of every stored and new run.

    Returns:
        the rows whose run is known, with `day`, in order; the rows whose run is not known.
    """
    found = _first_days(rows, runs, RUN if table == "test_results" else RUN[:2])
    if table == "test_results" and found.null_count:
        found = pc.coalesce(found, _first_days(rows, runs, RUN[:2]))
    placed = rows.append_column("day", found)
    known = pc.is_valid(placed["day"])
    return placed.filter(known), rows.filter(pc.invert(known))


def _first_days(rows: pa.Table, runs: pa.Table, keys: tuple[str, ...]) -> pa.ChunkedArray:
    days = runs.group_by(list(keys)).aggregate([("day", "min")]).rename_columns([*keys, "day"])
    return _matched_days(rows, days, keys)


def separate(stored: pa.Table, incoming: pa.Table, keys: tuple[str, ...]) -> Separated:
    """Split a batch into new rows, equal repeats and contradictions; of two contradicting rows the first stays.

    Repeats inside the batch count like repeats of stored rows. Columns that the stored table does not have yet,
    `batch_id` and `day` are not compared: neither is something that a source said about the row. Nor are how the text
    of a failure reads, which another release may read differently, and the position, which counts a batch's reports.
    """
    content = [name for name in incoming.column_names if name in stored.column_names and name not in _NOT_COMPARED]
    both = pa.concat_tables([stored.select(content), incoming.select(content)])
    first = _first_rows(both.select(list(keys)))
    is_repeat = first[stored.num_rows :] < np.arange(stored.num_rows, both.num_rows)
    repeats = np.flatnonzero(is_repeat)
    again = repeats + stored.num_rows
    differing = _first_difference(both.take(again), both.take(first[again]), content)
    conflicts = incoming.take(repeats).append_column("__column", differing).filter(pc.is_valid(differing))
    fresh = incoming.filter(pa.array(~is_repeat))
    return Separated(fresh, len(repeats) - conflicts.num_rows, conflicts, fresh.slice(0, 0))


def _first_rows(keys: pa.Table) -> npt.NDArray[np.int64]:
    """For each row the number of the first one that is equal to it.

    Over dictionary codes: hashing five texts of each row, as grouping does, takes five times as long.
    """
    groups = np.zeros(keys.num_rows, dtype=np.int64)
    for column in keys.columns:
        codes = column.dictionary_encode("encode").combine_chunks()
        # neither factor exceeds the number of rows: the product stays below 2**63 for three billion of them
        groups = pd.factorize(groups * len(codes.dictionary) + codes.indices.to_numpy())[0]
    first = np.empty(keys.num_rows, dtype=np.int64)
    first[groups[::-1]] = np.arange(keys.num_rows)[::-1]  # what is written last stays: the first row of a group
    return first[groups]


def separate_runs(stored: pa.Table, incoming: pa.Table) -> Separated:
    """`separate` for runs: a stored run that has no `finished_at` yet is replaced instead of contradicted.

    A CI system announces a run and delivers it again when it is finished. The update keeps the stored `day`, whatever
    its start: the run's results and files lie in the partition of that day, and equal keys must go on meeting there.
    """
    part = separate(stored, incoming, RUN)
    unfinished = stored.filter(pc.is_null(stored["finished_at"])).select([*RUN, "day"])
    days = _matched_days(part.conflicts, unfinished, RUN)
    is_update = pc.is_valid(days)
    again = part.conflicts.drop_columns(["__column", "day"]).append_column("day", days).filter(is_update)
    update = separate(again.slice(0, 0), again, RUN)
    return Separated(
        part.fresh,
        part.duplicates + update.duplicates,
        pa.concat_tables(
            [part.conflicts.filter(pc.invert(is_update)), update.conflicts.select(part.conflicts.column_names)]
        ),
        update.fresh,
    )


def _matched_days(rows: pa.Table, days: pa.Table, keys: Iterable[str]) -> pa.ChunkedArray:
    """For each row, in order, the `day` of the one row of `days` with the same key; null without one."""
    numbered = rows.select(list(keys)).append_column(_ROW, pa.array(np.arange(rows.num_rows)))
    return numbered.join(days, list(keys), join_type="left outer").sort_by(_ROW)["day"]


def _first_difference(left: pa.Table, right: pa.Table, names: list[str]) -> pa.ChunkedArray:
    found: Any = pa.chunked_array([pa.nulls(left.num_rows, pa.string())])
    for name in names:
        one, other = left[name], right[name]
        equal = pc.if_else(
            pc.or_(pc.is_null(one), pc.is_null(other)),
            pc.and_(pc.is_null(one), pc.is_null(other)),
            pc.equal(one, other),
        )
        found = pc.if_else(pc.and_(pc.is_null(found), pc.invert(equal)), name, found)
    return found


def as_rejected(table: str, rows: pa.Table, reason: str) -> pd.DataFrame:
    """Rows of the `rejected_rows` contract; `row` is the refused row as JSON, so that it can be replayed.

    The column is the row's `__column`, or `run_id` for rows without a run.
    """
    refused = []
    for row in rows.to_pylist():
        column = row.pop("__column", "run_id")
        refused.append(
            {
                "batch_id": row.pop("batch_id"),
                "project": row["project"],
                "contract": table,
                "column": column,
                "reason": reason,
                "value": None if row[column] is None else str(row[column])[:_VALUE_CHARS],
                "row": json.dumps({name: _plain(value) for name, value in row.items() if name != "day"}),
                "payload": None,
            }
        )
    return pd.DataFrame(refused, columns=list(_contract("rejected_rows")))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
