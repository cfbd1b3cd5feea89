"""Puts features that were computed per test, package, series, ... of a run next to the rows that were asked for.

The engine joins facts; this last lookup by numbers is done here, because a frame as wide as all features is slow to
carry through a dozen joins: each feature is fetched in the grain it was computed in, and taken by its rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.features.queries import Engine

DENSE = 16
Numbers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Features with one value per (run asked for, `key`).

    Attributes:
        key: ``series_no``, ``test_no``, ``package_no``, ``variant_no``, or by a test's first name ``lineage_no`` and
            ``lineage_test_no``.
        source: FROM clause with `at`, at most one row per (query_no, key).
        at: Alias in `source` of the table with ``query_no`` and `key`.
        columns: Name and expression of each feature.
        absent: Their value where `source` has no row: an expression over `RUN_JOINS` of `ml.features.changes`.
    """

    key: str
    source: str
    at: str
    columns: Mapping[str, str]
    absent: str = "NULL"


def doubles(expressions: Mapping[str, str]) -> str:
    """Columns of a SELECT, as doubles."""
    return ", ".join(f"CAST({text} AS DOUBLE) AS {name}" for name, text in expressions.items())


def take(engine: Engine, part: Part, rows: Mapping[str, Numbers], runs: str) -> dict[str, Values]:
    """Each feature of `part` for each row.

    Args:
        engine: With the tables of `part`.
        part: What to take.
        rows: ``query_no`` (1, 2, ...) and `part.key` of each row.
        runs: FROM clause that `part.absent` refers to: one row per run asked for, with ``c.query_no``.

    Returns:
        Name to values, NaN for null, in the order of `rows`.
    """
    first, last = _span(rows["query_no"])
    found = engine.fetch(
        f"SELECT {part.at}.query_no, {part.at}.{part.key}, {doubles(part.columns)} FROM {part.source} "
        f"WHERE {part.at}.query_no BETWEEN {first} AND {last}"
    )
    absent = engine.fetch(f"SELECT CAST({part.absent} AS DOUBLE) AS value FROM {runs} ORDER BY c.query_no")
    place = _places(found, part.key, rows)
    is_there = place >= 0
    everywhere = bool(is_there.all())
    taken = {}
    for name in part.columns:
        values = _floats(found[name])
        if everywhere:
            taken[name] = values[place]
        else:
            taken[name] = _floats(absent["value"])[rows["query_no"] - 1]
            taken[name][is_there] = values[place[is_there]]
    return taken


def _places(found: pd.DataFrame, key: str, rows: Mapping[str, Numbers]) -> Numbers:
    """Where each row's (query_no, key) is in `found`; -1 where it is not."""
    width = 1 + max(_most(found[key].to_numpy()), _most(rows[key]))
    first = _span(rows["query_no"])[0]
    known = (found["query_no"].to_numpy(np.int64) - first) * width + found[key].to_numpy(np.int64)
    wanted = (rows["query_no"] - first) * width + rows[key]
    size = 1 + max(_most(known), _most(wanted))
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    if size <= DENSE * (len(wanted) + len(known)):
        places = np.full(size, -1, np.int64)
        places[known] = np.arange(len(known))
        taken: Numbers = places[wanted]
        return taken
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    return np.where(known[order][at] == wanted, order[at], -1).astype(np.int64)


def _span(numbers: Numbers) -> tuple[int, int]:
    return (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)


def _most(numbers: Numbers) -> int:
    return int(numbers.max(initial=0))


def _floats(column: pd.Series) -> Values:
    return column.to_numpy(np.float64, na_value=np.nan)
