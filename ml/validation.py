"""Rows held against their contracts (Pandera): good rows go on, bad rows are kept with their reasons.

Three passes, because a row must not be refused for the sake of a row that is itself refused:

1. each value is read into its column's type (`schemas.TYPE_REASONS`);
2. Pandera judges values and rows, lazily and all at once (the checks of `ml.schemas`);
3. what is left is judged together: unknown runs, then keys given twice (`schemas.BATCH_REASONS`).

Rows are numbered here, and failures are collected by number: Pandera's own `drop_invalid_rows` works by index label,
so it drops good rows of a duplicated index, and reports one bad row as several cases.
"""

import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from ml.errors import ContractError
from ml.schemas import KEYS, LAKE_TABLES, Predictions, RejectedRows, columns, not_in_future
from ml.spec import Batch, Outcome

MAX_VALUE = 200
MAX_ROW = 4_000
_CUTS = (1_000, 200, 50, 10)
_JSON = json.JSONEncoder(ensure_ascii=False)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FIRST_MOMENT, _LAST_MOMENT = pd.Timestamp("0001-01-02", tz="UTC"), pd.Timestamp("9999-12-30", tz="UTC")
# Without the attempt: one attempt of a run may execute a test several times, and reports number those as attempts.
_RUN_KEY = ["project", "run_id"]
# the column that a rule over several columns counts for
_ROW_RULES = {"finished_before_started": "finished_at"}
_SEVERITY = {Outcome.FAILED: 0, Outcome.ERROR: 0, Outcome.PASSED: 1, Outcome.SKIPPED: 2}

_Plain = str | int | float | None
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Validated:
    """Outcome of a batch; every given row is in exactly one of the two.

    `accepted` maps each of `runs`, `test_results`, `changed_files` to rows in the types of its contract, in the given
    order, numbered from 0. `rejected` has the columns of `rejected_rows`, one line per refused row or payload.
    """

    accepted: Mapping[str, pd.DataFrame]
    rejected: pd.DataFrame


@dataclass(slots=True)
class _Table:
    """A table under judgement: rows as given, the same rows in the contract's types, and what is wrong with them.

    Text columns of `typed` are categoricals, so that a rule looks at each distinct text once.
    """

    name: str
    given: pd.DataFrame
    typed: pd.DataFrame
    bad: Mask
    faults: list[tuple[str, str, Mask]] = field(default_factory=list)

    def refuse(self, column: str, reason: str, rows: Mask) -> None:
        """Note `reason` for the rows where `rows` is true."""
        if rows.any():
            self.faults.append((column, reason, rows))
            self.bad |= rows

    def accepted(self) -> pd.DataFrame:
        """The good rows in the contract's types."""
        good = self.typed[~self.bad].reset_index(drop=True)
        return pd.DataFrame({name: _final(good[name], kind) for name, kind in _kinds(self.name).items()})


def validate(
    frames: Mapping[str, pd.DataFrame],
    refused: pd.DataFrame,
    batch: Batch,
    as_of: datetime,
    known_runs: pd.DataFrame | None = None,
) -> Validated:
    """Split the rows of a batch into accepted and rejected ones.

    Args:
        frames: rows of `runs`, `test_results`, `changed_files` as a source parsed them; a table or column that is
            absent counts as empty or null, a column without a contract is ignored; any index.
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
    tables = {name: _read(name, frames.get(name, pd.DataFrame())) for name in KEYS}
    for table in tables.values():
        _judge_rows(table, as_of)
    _refuse_duplicates(tables["runs"])
    runs = _run_keys(tables["runs"].typed[~tables["runs"].bad]) | (
        set() if known_runs is None else _run_keys(known_runs)
    )
    for name in ("test_results", "changed_files"):
        _refuse_orphans(tables[name], runs)
        _refuse_duplicates(tables[name])
    lines = [refused.reindex(columns=columns(RejectedRows)), *(_rejected(table) for table in tables.values())]
    rejected = pd.concat([part for part in lines if len(part)] or lines[:1], ignore_index=True)
    rejected["batch_id"] = batch.batch_id
    rejected["project"] = batch.project
    return Validated(
        {name: table.accepted() for name, table in tables.items()},
        rejected.astype(object).mask(rejected.isna(), None),
    )


def replay(rejected: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Raw frames of rejected rows, ready to be validated again.

    Left out are refused payloads (they hold no row) and rows that were cut to fit the bound: those are read again from
    the landing folder of their batch. ``len(rejected)`` less the rows returned is their number.

    Args:
        rejected: lines of `rejected_rows`.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in KEYS}
    for contract, text in zip(rejected["contract"], rejected["row"], strict=True):
        if contract in rows and isinstance(text, str):
            row = json.loads(text)
            if not any(isinstance(value, dict) for value in row.values()):
                rows[contract].append(row)
    return {name: pd.DataFrame(found, columns=columns(LAKE_TABLES[name]), dtype=object) for name, found in rows.items()}


def require_predictions(frame: pd.DataFrame) -> pd.DataFrame:
    """Hold scored rows against the contract of the results table: our own rows, so one bad row refuses them all.

    Raises:
        ContractError: names each broken rule with the number of rows and the first one.
    """
    try:
        return Predictions.validate(frame.reset_index(drop=True), lazy=True)
    except SchemaErrors as errors:
        found = [
            f"{case.column}: {case.check} (row {case.index}: {_shown(_plain(case.failure_case))})"
            for case in errors.failure_cases.drop_duplicates(["column", "check"]).itertuples(index=False)
        ]
        raise ContractError(f"predictions break their contract: {'; '.join(found[:10])}") from errors


# --- reading values into types ---


def count_violations(frame: pd.DataFrame, contract: type[pa.DataFrameModel]) -> int:
    """Rows of a frame that break a contract; all of them when a column is missing or of another type."""
    numbered = frame.reset_index(drop=True)
    try:
        contract.validate(numbered, lazy=True)
    except SchemaErrors as errors:
        rows = errors.failure_cases["index"]
        return len(frame) if rows.isna().any() else int(rows.nunique())
    return 0


def _kinds(name: str) -> dict[str, str]:
    """Column to dtype name, in the order of the contract."""
    return {column: str(spec.dtype) for column, spec in LAKE_TABLES[name].to_schema().columns.items()}


def _read(name: str, frame: pd.DataFrame) -> _Table:
    if not frame.columns.is_unique:
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise ContractError(f"{name}: columns given twice: {', '.join(map(str, twice))}; each may come once")
    given = frame.reset_index(drop=True).reindex(columns=columns(LAKE_TABLES[name]))
    table = _Table(name, given, pd.DataFrame(index=given.index), np.zeros(len(given), dtype=bool))
    for column, kind in _kinds(name).items():
        reader, reason = _READERS[kind]
        typed = reader(given[column])
        table.typed[column] = typed
        table.refuse(column, reason, (typed.isna() & given[column].notna()).to_numpy(dtype=bool))
    return table


def _only(kinds: type | tuple[type, ...], values: "pd.Series[Any]") -> "pd.Series[Any]":
    """The values of these Python types; null in place of others."""
    wanted = np.fromiter((isinstance(value, kinds) for value in values), dtype=bool, count=len(values))
    return values.astype(object).mask(~wanted, None)


def _text(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, distinct = values.cat.codes.to_numpy(), values.cat.categories.to_numpy(dtype=object)
    else:
        # lists and other values without a hash cannot be factorised
        plain = values if pd.api.types.infer_dtype(values, skipna=True) == "string" else _only(str, values)
        codes, distinct = pd.factorize(plain.to_numpy(dtype=object))
    good = np.array([_is_text(text) for text in distinct], dtype=bool)
    renumbered = np.append(np.where(good, np.cumsum(good) - 1, -1), -1)  # the last one is for code -1, null
    texts = pd.Categorical.from_codes(renumbered[codes].tolist(), categories=pd.Index(distinct[good], dtype=object))
    return pd.Series(texts, index=values.index)


def _is_text(value: object) -> bool:
    """Whether it is a string that UTF-8 can carry: pandas, Parquet and PostgreSQL fail on any other."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def _number(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if not pd.api.types.is_numeric_dtype(values.dtype):
        values = _only((str, int, float, np.number), values)
    return pd.Series(pd.to_numeric(values, errors="coerce").astype(float))


def _integer(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_signed_integer_dtype(values.dtype):
        return values.astype("Int64")
    numbers = _number(values)
    # 2**53: beyond it a float no longer tells neighbouring whole numbers apart
    return pd.Series(numbers.where((numbers % 1 == 0) & (numbers.abs() <= 2**53)).astype("Int64"))


def _boolean(values: "pd.Series[Any]") -> "pd.Series[Any]":
    return values if values.dtype == bool else pd.Series(_only((bool, np.bool_), values).astype("boolean"))


def _moment(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        values = pd.to_datetime(_only((str, datetime), values), errors="coerce", utc=True, format="ISO8601")
    values = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
    if values.dt.unit in ("s", "ms"):
        # coarse units reach years that microseconds, and Python, cannot express
        values = values.where((values > _FIRST_MOMENT) & (values < _LAST_MOMENT))
    return pd.Series(values.dt.as_unit("us"))


_READERS: dict[str, tuple[Callable[["pd.Series[Any]"], "pd.Series[Any]"], str]] = {
    "str": (_text, "not_text"),
    "int64": (_integer, "not_an_integer"),
    "Int64": (_integer, "not_an_integer"),
    "float64": (_number, "not_a_number"),
    "bool": (_boolean, "not_a_boolean"),
    "datetime64[us, UTC]": (_moment, "not_a_timestamp"),
}


def _final(values: "pd.Series[Any]", kind: str) -> "pd.Series[Any]":
    if kind == "str":
        texts = values.astype(object)
        return pd.Series(texts.mask(texts.isna(), None))
    return pd.Series(values.astype(pd.api.types.pandas_dtype(kind)))


# --- judging ---


def _judge_rows(table: _Table, as_of: datetime) -> None:
    """Apply the Pandera contract; types are settled, so only nulls and rules are left to it."""
    schema = LAKE_TABLES[table.name].to_schema()
    future = not_in_future(as_of)
    changes: dict[str, dict[str, Any]] = {name: {"dtype": None} for name in schema.columns}
    for name, kind in _kinds(table.name).items():
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


def _refuse_orphans(table: _Table, runs: set[tuple[Any, ...]]) -> None:
    good = table.typed.loc[~table.bad, _RUN_KEY]
    firsts = good.drop_duplicates()
    verdicts = np.fromiter((row not in runs for row in firsts.itertuples(index=False, name=None)), dtype=bool)
    groups = good.groupby(_RUN_KEY, observed=True, sort=False).ngroup().to_numpy()
    rows = np.zeros(len(table.bad), dtype=bool)
    rows[good.index.to_numpy()] = verdicts[groups]
    table.refuse("run_id", "orphan", rows)


def _refuse_duplicates(table: _Table) -> None:
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


# --- rejected rows ---


def _rejected(table: _Table) -> pd.DataFrame:
    """One line per bad row, in the given order."""
    numbers = np.flatnonzero(table.bad)
    places = {name: place for place, name in enumerate(table.given.columns)}
    column = np.full(len(table.bad), "", dtype=object)
    reason = np.full(len(table.bad), "", dtype=object)
    for name, code, rows in sorted(table.faults, key=lambda fault: places[fault[0]]):
        for number in np.flatnonzero(rows):
            column[number] = column[number] or name
            if code not in reason[number].split(";"):
                reason[number] += f";{code}" if reason[number] else code
    # column by column: a conversion of 500,000 rows at once costs three times as much
    plain = {name: [_plain(value) for value in table.given[name].iloc[numbers].tolist()] for name in places}
    records = [dict(zip(places, row, strict=True)) for row in zip(*plain.values(), strict=True)]
    return pd.DataFrame(
        {
            "contract": table.name,
            "column": column[numbers],
            "reason": reason[numbers],
            "value": [_shown(row[name]) for row, name in zip(records, column[numbers], strict=True)],
            "row": [_as_json(row) for row in records],
        },
        columns=columns(RejectedRows),
        dtype=object,
    )


def _shown(plain: _Plain) -> str | None:
    """The value for people: bounded, nothing unprintable; null stays null."""
    if plain is None:
        return None
    text = _UNPRINTABLE.sub(_escaped, str(plain)[:MAX_VALUE])
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _plain(value: Any) -> _Plain:
    """The value in JSON's terms. Numbers without a JSON form become text, which is read back as that number."""
    if isinstance(value, str):
        return value
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, int | float):
        return value
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def _as_json(row: Mapping[str, _Plain]) -> str:
    """The row as JSON of at most `MAX_ROW` characters.

    To fit, texts over a bound become ``{"cut": <beginning>, "length": <characters>}``; the bound shrinks.
    """
    text = _dump(row)
    for bound in _CUTS:
        if len(text) <= MAX_ROW:
            break
        text = _dump({name: _cut(value, bound) for name, value in row.items()})
    return text


def _dump(row: Mapping[str, Any]) -> str:
    return _SURROGATE.sub(_escaped, _JSON.encode(row))


def _cut(value: _Plain, bound: int) -> object:
    is_long = isinstance(value, str) and len(value) > bound
    return {"cut": str(value)[:bound], "length": len(str(value))} if is_long else value
