"""Refused rows as lines of `rejected_rows`, and back."""

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from ml.legible import SURROGATES, UNPRINTABLE
from ml.schemas import KEYS, LAKE_TABLES, RejectedRows, columns
from ml.validation.reading import Table

MAX_VALUE = 200
MAX_ROW = 4_000
_CUTS = (1_000, 200, 50, 10)
_JSON = json.JSONEncoder(ensure_ascii=False)
_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}{SURROGATES}]")
_SURROGATE = re.compile(f"[{SURROGATES}]")

_Plain = str | int | float | None


def rejected_lines(table: Table) -> pd.DataFrame:
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
            "value": [shown(row[name]) for row, name in zip(records, column[numbers], strict=True)],
            "row": [_as_json(row) for row in records],
        },
        columns=columns(RejectedRows),
        dtype=object,
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


def shown(value: object) -> str | None:
    """The value for people: bounded, nothing unprintable; null stays null."""
    plain = _plain(value)
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
