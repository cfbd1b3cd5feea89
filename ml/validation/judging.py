"""Rows held against the Pandera contracts, alone and together."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from ml.errors import ContractError
from ml.schemas import KEYS, LAKE_TABLES, Predictions, RejectedRows, columns, not_in_future, tables_of
from ml.spec import Batch, Outcome
from ml.validation.reading import Mask, Table, kinds, read
from ml.validation.rejected import rejected_lines, shown

# Without the attempt: one attempt of a run may execute a test several times, and reports number those as attempts.
PIECE_ROWS = 250_000
_RUN_KEY = ["project", "run_id"]
# the column that a rule over several columns counts for
_ROW_RULES = {"finished_before_started": "finished_at"}
_SEVERITY = {Outcome.FAILED: 0, Outcome.ERROR: 0, Outcome.PASSED: 1, Outcome.SKIPPED: 2}


@dataclass(frozen=True, slots=True)
class Validated:
    """Outcome of a batch; every given row is in exactly one of the two.

    `accepted` maps each of `runs`, `test_results`, `changed_files`, and `commits` where it was given, to rows in the
    types of its contract, in the given order, numbered from 0; text that cannot be null is categorical. `rejected` has
    the columns of `rejected_rows`, one line per refused row or payload.
    """

    accepted: Mapping[str, pd.DataFrame]
    rejected: pd.DataFrame


def validate(
    frames: Mapping[str, pd.DataFrame],
    refused: pd.DataFrame,
    batch: Batch,
    as_of: datetime,
    known_runs: pd.DataFrame | None = None,
) -> Validated:
    """Split the rows of a batch into accepted and rejected ones.

    Args:
        frames: rows of `runs`, `test_results`, `changed_files`, `commits` as a source parsed them; a table or column
            that is absent counts as empty or null, a column without a contract is ignored; any index.
        refused: what the parser could not read: columns of `rejected_rows`, without `batch_id`.
        batch: the batch of all rows; gives `batch_id` and, as rows may lie about theirs, `project` of rejected rows.
        as_of: now, in UTC; timestamps more than a day later are refused.
        known_runs: project and run_id of the runs that the lake holds; None for none.

    Returns:
        Accepted and rejected rows. A rejected line names the first column at fault with its value, and all reasons of
        the row joined by ``;`` in the order of the contract.

    Raises:
        ContractError: a table has no contract, or names a column twice.
    """
    unknown = sorted(set(frames) - set(KEYS))
    if unknown:
        raise ContractError(f"batch {batch.batch_id}: no contract for {', '.join(unknown)}; known: {', '.join(KEYS)}")
    tables = {name: read(name, frames.get(name, pd.DataFrame())) for name in tables_of(frames)}
    for table in tables.values():
        _judge_rows(table, as_of)
    _refuse_duplicates(tables["runs"])
    runs = _run_keys(tables["runs"].typed[~tables["runs"].bad]) | (
        set() if known_runs is None else _run_keys(known_runs)
    )
    for name in ("test_results", "changed_files"):
        _refuse_orphans(tables[name], runs)
    for name, table in tables.items():
        if name != "runs":
            _refuse_duplicates(table)
    lines = [refused.reindex(columns=columns(RejectedRows)), *(rejected_lines(table) for table in tables.values())]
    rejected = pd.concat([part for part in lines if len(part)] or lines[:1], ignore_index=True)
    rejected["batch_id"] = batch.batch_id
    rejected["project"] = batch.project
    return Validated(
        {name: table.accepted() for name, table in tables.items()},
        rejected.astype(object).mask(rejected.isna(), None),
    )


def require_predictions(frame: pd.DataFrame) -> pd.DataFrame:
    """Hold scored rows against the contract of the results table: our own rows, so one bad row refuses them all.

    Raises:
        ContractError: names each broken rule with the number of rows and the first one.
    """
    try:
        return Predictions.validate(frame.reset_index(drop=True), lazy=True)
    except SchemaErrors as errors:
        found = [
            f"{case.column}: {case.check} (row {case.index}: {shown(case.failure_case)})"
            for case in errors.failure_cases.drop_duplicates(["column", "check"]).itertuples(index=False)
        ]
        raise ContractError(f"predictions break their contract: {'; '.join(found[:10])}") from errors


def count_violations(frame: pd.DataFrame, contract: type[pa.DataFrameModel]) -> int:
    """Rows of a frame that break a contract; all of them when a column is missing or of another type.

    Pandera holds several copies of what it validates, so a long frame is held against the contract in pieces.
    """
    pieces = (frame.iloc[at : at + PIECE_ROWS] for at in range(0, max(len(frame), 1), PIECE_ROWS))
    return sum(_violations(piece, contract) for piece in pieces)


def _violations(frame: pd.DataFrame, contract: type[pa.DataFrameModel]) -> int:
    numbered = frame.reset_index(drop=True)
    try:
        contract.validate(numbered, lazy=True)
    except SchemaErrors as errors:
        rows = errors.failure_cases["index"]
        return len(frame) if rows.isna().any() else int(rows.nunique())
    return 0


def _judge_rows(table: Table, as_of: datetime) -> None:
    """Apply the Pandera contract; types are settled, so only nulls and rules are left to it."""
    schema = LAKE_TABLES[table.name].to_schema()
    future = not_in_future(as_of)
    changes: dict[str, dict[str, Any]] = {name: {"dtype": None} for name in schema.columns}
    for name, kind in kinds(table.name).items():
        if kind.startswith("datetime64"):
            changes[name]["checks"] = [*schema.columns[name].checks, future]
    unread = {column: rows for column, _, rows in table.faults}
    for column, reason, rows in _failures(schema.update_columns(changes), table.typed):
        unreadable = unread.get(column) if reason == "missing" else None
        table.refuse(column, reason, rows if unreadable is None else rows & ~unreadable)


def _failures(schema: pa.DataFrameSchema, frame: pd.DataFrame) -> Iterator[tuple[str, str, Mask]]:
    """Column, reason and rows of every rule that fails."""
    try:
        with warnings.catch_warnings():
            # Pandera joins its report from parts that may be all null, which pandas announces to treat otherwise
            warnings.simplefilter("ignore", FutureWarning)
            schema.validate(frame, lazy=True, inplace=True)
    except SchemaErrors as errors:
        for error in errors.schema_errors:
            cases = error.failure_cases
            if not isinstance(cases, pd.DataFrame) or "index" not in cases:
                raise
            rows = np.zeros(len(frame), dtype=bool)
            rows[cases["index"].to_numpy(dtype=int)] = True
            reason = str(error.check.name) if isinstance(error.check, pa.Check) else "missing"
            yield _ROW_RULES.get(reason, str(error.schema.name)), reason, rows


def _run_keys(rows: pd.DataFrame) -> set[tuple[Any, ...]]:
    firsts = rows[_RUN_KEY].drop_duplicates()
    return set(zip(*(firsts[name].tolist() for name in _RUN_KEY), strict=True))


def _refuse_orphans(table: Table, runs: set[tuple[Any, ...]]) -> None:
    good = table.typed.loc[~table.bad, _RUN_KEY]
    firsts = good.drop_duplicates()
    verdicts = np.fromiter((row not in runs for row in firsts.itertuples(index=False, name=None)), dtype=bool)
    groups = good.groupby(_RUN_KEY, observed=True, sort=False).ngroup().to_numpy()
    rows = np.zeros(len(table.bad), dtype=bool)
    rows[good.index.to_numpy()] = verdicts[groups]
    table.refuse("run_id", "orphan", rows)


def _refuse_duplicates(table: Table) -> None:
    """Keep the worst outcome of each key: a failure that was reported must not be lost behind a pass."""
    key = list(KEYS[table.name])
    good = table.typed[~table.bad]
    if "outcome" in good:
        order = good["outcome"].astype(object).map(_SEVERITY).to_numpy(dtype=int)
        good = good.iloc[np.argsort(order, kind="stable")]
    again = good.index[good[key].duplicated().to_numpy()]
    rows = np.zeros(len(table.bad), dtype=bool)
    rows[again.to_numpy()] = True
    table.refuse(key[-1], "duplicate_key", rows)
