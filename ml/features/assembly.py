"""Puts features that were computed per test, package, series, ... of a run next to the rows that were asked for.

The engine joins facts; this last lookup by numbers is done here, because a frame as wide as all features is slow to
carry through a dozen joins: each feature is fetched in the grain it was computed in, and taken by its rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.features.queries import Engine
from ml.features.sequences import Numbers, Values

DENSE = 16
Pair = tuple[Numbers, Numbers]
Named = Iterator[tuple[str, Numbers | Values]]  # features, one after the other, of each row asked for


class Block:
    """Features by name, as doubles, in one piece of memory.

    What computes features names them one at a time: the next one is then computed in memory that is at hand already. An
    array for each would cost as much in page faults as in arithmetic.
    """

    def __init__(self, names: Sequence[str], count: int) -> None:
        """Room for these features of so many rows."""
        self._room = dict(zip(names, np.empty((len(names), count)), strict=True))
        self._found: dict[str, Values] = {}

    def fill(self, *parts: Iterable[tuple[str, Numbers | Values]]) -> None:
        """Keep what is found and has room; two threads may, as long as the names differ."""
        for name, values in (named for part in parts for named in part):
            if name in self._room:
                self._room[name][:] = values
                self._found[name] = self._room[name]

    def __getitem__(self, name: str) -> Values:
        """Values of a feature that was found, NaN where unknown, by row."""
        return self._found[name]


@dataclass(frozen=True)
class Part:
    """Features with one value per (`of`, `key`).

    Attributes:
        key: ``series_no``, ``test_no``, ``package_no``, or by a test's first name ``lineage_no`` and
            ``lineage_test_no``.
        source: FROM clause with `at`, at most one row per (of, key).
        at: Alias in `source` of the table with `of` and `key`.
        columns: Name and expression of each feature.
        absent: Their value where `source` has no row: an expression over `RUN_JOINS` of `ml.features.changes`.
        of: ``query_no``, the run asked for, or ``change_no``, its set of changed files.
    """

    key: str
    source: str
    at: str
    columns: Mapping[str, str]
    absent: str = "NULL"
    of: str = "query_no"


def doubles(expressions: Mapping[str, str]) -> str:
    """Columns of a SELECT, as doubles."""
    return ", ".join(f"CAST({text} AS DOUBLE) AS {name}" for name, text in expressions.items())


def absent(engine: Engine, parts: Sequence[Part], runs: str) -> dict[str, Values]:
    """`Part.absent` to its value for each run asked for; `runs`: FROM clause that it refers to, with ``c.query_no``."""
    texts = list(dict.fromkeys(part.absent for part in parts))
    expressions = {f"absent_{number}": text for number, text in enumerate(texts)}
    found = engine.fetch(f"SELECT {doubles(expressions)} FROM {runs} ORDER BY c.query_no")
    return {text: _floats(found[name]) for name, text in expressions.items()}


def take(engine: Engine, part: Part, rows: Mapping[str, Numbers], otherwise: Values) -> Named:
    """Each feature of `part` for each row.

    Args:
        engine: With the tables of `part`.
        part: What to take.
        rows: ``query_no`` (1, 2, ...), `part.of` and `part.key` of each row.
        otherwise: Value for each run asked for where `part.source` has no row.

    Yields:
        Name and values, NaN for null, in the order of `rows`.
    """
    first, last = _span(rows[part.of])
    found = engine.fetch(
        f"SELECT {part.at}.{part.of}, {part.at}.{part.key}, {doubles(part.columns)} FROM {part.source} "
        f"WHERE {part.at}.{part.of} BETWEEN {first} AND {last}"
    )
    known = (found[part.of].to_numpy(np.int64), found[part.key].to_numpy(np.int64))
    values = {name: _floats(found[name]) for name in part.columns}
    place = places((rows[part.of], rows[part.key]), known)
    yield from spread(values, place, rows["query_no"], dict.fromkeys(values, otherwise))


def spread(values: Mapping[str, Values], place: Numbers, query_no: Numbers, otherwise: Mapping[str, Values]) -> Named:
    """Values at each `place`, and where that is -1 the query's of `otherwise`."""
    count = len(next(iter(values.values())))
    at = np.where(place >= 0, place, count + query_no - 1)
    for name, column in values.items():
        yield name, np.concatenate([column, otherwise[name]]).take(at)


def places(asked: Pair, known: Pair) -> Numbers:
    """Where each asked pair of numbers is among the known ones, which are all different; -1 where it is not."""
    width = 1 + max(_most(known[1]), _most(asked[1]))
    least = _span(asked[0])[0]
    codes, wanted = ((first - least) * width + second for first, second in (known, asked))
    size = 1 + max(_most(codes), _most(wanted))
    if not len(codes):
        return np.full(len(wanted), -1, np.int64)
    if size <= DENSE * (len(wanted) + len(codes)):
        place = np.full(size, -1, np.int64)
        place[codes] = np.arange(len(codes))
        found: Numbers = place[wanted]
        return found
    order = np.argsort(codes)
    at = np.minimum(np.searchsorted(codes, wanted, sorter=order), len(codes) - 1)
    return np.where(codes[order][at] == wanted, order[at], -1).astype(np.int64)


def _span(numbers: Numbers) -> tuple[int, int]:
    return (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)


def _most(numbers: Numbers) -> int:
    return int(numbers.max(initial=0))


def _floats(column: pd.Series) -> Values:
    return column.to_numpy(np.float64, na_value=np.nan)
