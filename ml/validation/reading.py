"""Raw values read into the types of their contract; what cannot be read is null and noted with its reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from ml.errors import ContractError
from ml.schemas import LAKE_TABLES, columns

_SURROGATE = re.compile("[\ud800-\udfff]")
_FIRST_MOMENT, _LAST_MOMENT = pd.Timestamp("0001-01-02", tz="UTC"), pd.Timestamp("9999-12-30", tz="UTC")

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Table:
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
        """The good rows in the contract's types; text that cannot be null is categorical: few values, many rows."""
        good = self.typed[~self.bad].reset_index(drop=True) if self.bad.any() else self.typed
        contract = LAKE_TABLES[self.name].to_schema().columns
        return pd.DataFrame({name: _final(good[name], column) for name, column in contract.items()})


def read(name: str, frame: pd.DataFrame) -> Table:
    """The rows of a table, numbered from 0, in the types of its contract.

    Raises:
        ContractError: a column is given twice.
    """
    if not frame.columns.is_unique:
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise ContractError(f"{name}: columns given twice: {', '.join(map(str, twice))}; each may come once")
    given = frame.reset_index(drop=True).reindex(columns=columns(LAKE_TABLES[name]))
    table = Table(name, given, pd.DataFrame(index=given.index), np.zeros(len(given), dtype=bool))
    for column, kind in kinds(name).items():
        reader, reason = _READERS[kind]
        typed = reader(given[column])
        table.typed[column] = typed
        table.refuse(column, reason, (typed.isna() & given[column].notna()).to_numpy(dtype=bool))
    return table


def kinds(name: str) -> dict[str, str]:
    """Column to dtype name, in the order of the contract."""
    return {column: str(spec.dtype) for column, spec in LAKE_TABLES[name].to_schema().columns.items()}


def _only(types: type | tuple[type, ...], values: "pd.Series[Any]") -> "pd.Series[Any]":
    """The values of these Python types; null in place of others."""
    wanted = np.fromiter((isinstance(value, types) for value in values), dtype=bool, count=len(values))
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
    numbers: Any = renumbered[codes]  # pandas-stubs know of lists alone
    texts = pd.Categorical.from_codes(numbers, categories=pd.Index(distinct[good], dtype=object))
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
    "boolean": (_boolean, "not_a_boolean"),
    "datetime64[us, UTC]": (_moment, "not_a_timestamp"),
}


def _final(values: "pd.Series[Any]", column: pa.Column) -> "pd.Series[Any]":
    kind = str(column.dtype)
    if kind != "str":
        return pd.Series(values.astype(pd.api.types.pandas_dtype(kind)))
    if not column.nullable:
        return pd.Series(values.cat.remove_unused_categories())
    texts = values.astype(object)
    return pd.Series(texts.mask(texts.isna(), None))
