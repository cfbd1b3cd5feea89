"""Puts features that were computed per test, package, series, ... of a run next to the rows that were asked for.

The engine joins facts; this last lookup by numbers is done here, because a frame as wide as all features is slow to
carry through a dozen joins: each feature is fetched in the grain it was computed in, and taken by its rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.features.queries import Engine
from ml.features.sequences import Numbers, Values

DENSE = 16
AT_ONCE = 2**15
Pair = tuple[Numbers, Numbers]
Named = Iterator[tuple[str, Numbers | Values]]  # features, one after the other, of each row asked for


@dataclass(frozen=True)
class Rows:
    """Rows asked for: what is said of each one, and what its numbers say, looked up when it is asked for.

    Attributes:
        own: Values by name, of each row.
        told: Name to the number that tells it (1, 2, ...; a name of `own`, or of these), and what each number tells.
    """

    own: Mapping[str, Numbers]
    told: Mapping[str, tuple[str, Numbers]]

    def __getitem__(self, name: str) -> Numbers:
        """Of each row."""
        if name in self.own:
            return self.own[name]
        key, values = self.told[name]
        return values.take(self[key] - 1)

    def __len__(self) -> int:
        """How many rows."""
        return len(next(iter(self.own.values())))

    def span(self, name: str) -> tuple[int, int]:
        """Lowest and highest of these whole numbers, at least those of the rows; (0, 0) without any."""
        if name in self.own:
            values = self.own[name]
        else:
            key, told = self.told[name]
            first, last = self.span(key)
            values = told[first - 1 : last] if last else told[:0]
        return (int(values.min()), int(values.max())) if len(values) else (0, 0)

    def part(self, at: slice) -> "Rows":
        """Some of the rows."""
        return Rows({name: values[at] for name, values in self.own.items()}, self.told)

    def beside(self, **columns: Numbers) -> "Rows":
        """The same rows, of which this is said as well."""
        return Rows({**self.own, **columns}, self.told)

    def telling(self, name: str, key: str, values: Numbers) -> "Rows":
        """The same rows, whose numbers `key` also tell `name`."""
        return Rows(self.own, {**self.told, name: (key, values)})


class Block:
    """Features by name, as doubles, in one piece of memory."""

    def __init__(self, names: Sequence[str], count: int) -> None:
        """Room for these features of so many rows."""
        self._room = dict(zip(names, np.empty((len(names), count)), strict=True))

    def fill(self, rows: Rows, *features: Callable[[Rows], Named]) -> None:
        """Keep what is told of these rows and has room; two threads may, as long as the names differ.

        Some `AT_ONCE` rows at a time: what computes features then works in the processor's cache and in memory that is
        at hand already. Arrays of whole columns would cost as much in page faults as in arithmetic.
        """
        for start in range(0, len(rows), AT_ONCE):
            at = slice(start, start + AT_ONCE)
            part = rows.part(at)
            for name, values in (named for tell in features for named in tell(part)):
                if name in self._room:
                    self._room[name][at] = values

    def __getitem__(self, name: str) -> Values:
        """Values of a feature that was found, NaN where unknown, by row."""
        return self._room[name]


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


@dataclass(frozen=True)
class Related:
    """Features with a value for some pairs of numbers, and for each run asked for the value of all its other rows.

    Attributes:
        pair: Names of both numbers of a row.
        known: The pairs with a value.
        values: Those of each pair, then those of each run asked for, by name.
    """

    pair: tuple[str, str]
    known: "Places"
    values: Mapping[str, Values]

    @classmethod
    def of(
        cls, rows: Rows, pair: tuple[str, str], known: Pair, values: Mapping[str, Values], other: Mapping[str, Values]
    ) -> "Related":
        """Values of the `known` pairs, for these rows or some of them; `other` by query_no - 1."""
        joined = {name: np.concatenate([column, other[name]]) for name, column in values.items()}
        return cls(pair, Places.of(rows, pair, known), joined)

    def features(self, rows: Rows) -> Named:
        """Name and value of each row."""
        place = self.known.find((rows[self.pair[0]], rows[self.pair[1]]))
        at = np.where(place >= 0, place, self.known.count + rows["query_no"] - 1)
        for name, column in self.values.items():
            yield name, column.take(at)


def take(engine: Engine, part: Part, rows: Rows, otherwise: Values) -> Related:
    """Each feature of `part`, NaN for null.

    Args:
        engine: With the tables of `part`.
        part: What to take.
        rows: With ``query_no`` (1, 2, ...), `part.of` and `part.key`.
        otherwise: Value for each run asked for where `part.source` has no row.
    """
    first, last = rows.span(part.of)
    found = engine.fetch(
        f"SELECT {part.at}.{part.of}, {part.at}.{part.key}, {doubles(part.columns)} FROM {part.source} "
        f"WHERE {part.at}.{part.of} BETWEEN {first} AND {last}"
    )
    known = (found[part.of].to_numpy(np.int64), found[part.key].to_numpy(np.int64))
    values = {name: _floats(found[name]) for name in part.columns}
    return Related.of(rows, (part.of, part.key), known, values, dict.fromkeys(values, otherwise))


@dataclass(frozen=True)
class Places:
    """Where pairs of numbers are among known ones, which are all different.

    Attributes:
        count: How many are known.
        least, width: The pair (a, b) has the code (a - least) * width + b.
        codes: Of those that are known, ascending; or where in them each code is, -1 where it is not.
        order: Where each of the ascending codes was; None where `codes` is looked up.
    """

    count: int
    least: int
    width: int
    codes: Numbers
    order: Numbers | None

    @classmethod
    def of(cls, rows: Rows, pair: tuple[str, str], known: Pair) -> "Places":
        """Of the `known` pairs, for these rows or some of them; `pair` names the numbers of a row."""
        (least, last), (_, most), count = rows.span(pair[0]), rows.span(pair[1]), len(known[0])
        width = 1 + max(most, int(known[1].max(initial=0)))
        codes = (known[0] - least) * width + known[1]
        size = (max(last, int(known[0].max(initial=0))) - least + 1) * width
        if size <= DENSE * (len(rows) + count):
            place = np.full(size, -1, np.int32)
            place[codes] = np.arange(count)
            return cls(count, least, width, place, None)
        order = np.argsort(codes)
        return cls(count, least, width, codes[order], order)

    def find(self, asked: Pair) -> Numbers:
        """Where each is; -1 where it is not."""
        wanted = (asked[0] - self.least) * self.width + asked[1]
        if self.order is None:
            return self.codes.take(wanted)
        if not self.count:
            return np.full(len(wanted), -1, np.int64)
        at = np.minimum(np.searchsorted(self.codes, wanted), self.count - 1)
        return np.where(self.codes[at] == wanted, self.order[at], -1)


def _floats(column: pd.Series) -> Values:
    return column.to_numpy(np.float64, na_value=np.nan)
