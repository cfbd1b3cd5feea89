"""Results of tests by numbers: each name in the lake is looked at once, and not once per result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.features.queries import Engine
from ml.features.sequences import Numbers, Values, numbered

COLUMNS = ("run_id", "variant", "test_id", "outcome", "duration_s", "failure_kind", "failure_fingerprint")


@dataclass(frozen=True)
class Results:
    """Results of known runs, but for what was skipped; in no order, and attempts apart.

    Attributes:
        series_no, run_no: Of each result.
        failed: 0 or 1.
        duration_s: NaN where unknown.
        texts: Columns series_no, run_no, kind and fingerprint, of failures with a fingerprint.
    """

    series_no: Numbers
    run_no: Numbers
    failed: npt.NDArray[np.int8]
    duration_s: Values
    texts: pa.Table

    @classmethod
    def of(cls, engine: Engine) -> "Results":
        """Of the view test_results; creates ``series``. The table ``run`` is there."""
        table = engine.coded("test_results", COLUMNS)
        texts = {name: _Texts.of(table[name]) for name in COLUMNS if name != "duration_s"}
        runs = engine.fetch("SELECT run_id, run_no FROM run")
        number = dict(zip(runs["run_id"], runs["run_no"].tolist(), strict=True))
        run_no = texts["run_id"].each(lambda run_id: number.get(run_id, 0)).astype(np.int32)
        failed = texts["outcome"].each(lambda outcome: outcome in ("failed", "error"))
        at = np.flatnonzero(texts["outcome"].each(lambda outcome: outcome not in (None, "skipped")))
        series_no = np.zeros(len(run_no), np.int32)
        series_no[at] = _store_series(engine, texts["variant"].part(at), texts["test_id"].part(at))
        has_text = texts["failure_fingerprint"].each(lambda fingerprint: fingerprint is not None)
        telling = np.flatnonzero(has_text & failed & (run_no > 0))
        columns = {name: pa.array(values[telling]) for name, values in (("series_no", series_no), ("run_no", run_no))}
        for name in ("kind", "fingerprint"):
            column = texts[f"failure_{name}"]
            columns[name] = pa.array([column.names[place] for place in column.place[telling]], pa.string())
        known = at if run_no.all() else at[run_no[at] > 0]
        duration_s = table["duration_s"].to_numpy()[known].astype(np.float64, copy=False)
        return cls(series_no[known], run_no[known], failed[known].view(np.int8), duration_s, pa.table(columns))


@dataclass(frozen=True)
class _Texts:
    """A column: the different texts, with None as the last one, and which of them each row has."""

    names: list[str | None]
    place: Numbers

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "_Texts":
        found = column.combine_chunks()
        return cls([*found.dictionary.to_pylist(), None], found.indices.fill_null(-1).to_numpy())

    def each(self, tell: Callable[[str | None], Any]) -> npt.NDArray[Any]:
        """What `tell` says of the text of each row."""
        return np.array([tell(name) for name in self.names]).take(self.place)

    def part(self, at: Numbers) -> "_Texts":
        return _Texts(self.names, self.place[at])

    def ranks(self) -> tuple[list[str | None], Numbers]:
        """The texts in order, and which of them each row has."""
        order = sorted(range(len(self.names)), key=lambda at: self.names[at] or "")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return [self.names[at] for at in order], rank.take(self.place)


def _store_series(engine: Engine, variant: _Texts, test: _Texts) -> Numbers:
    """``series``: a row for each variant and test, by these names; returns the number of each result's."""
    (variants, variant_rank), (tests, test_rank) = variant.ranks(), test.ranks()
    found, nth = numbered(variant_rank * len(tests) + test_rank)
    of_variant, of_test = np.divmod(found, len(tests))
    columns = {
        "variant": pa.array([variants[at] for at in of_variant], pa.string()),
        "test_id": pa.array([tests[at] for at in of_test], pa.string()),
        "series_no": pa.array(np.arange(1, len(found) + 1), pa.int32()),
        "variant_no": pa.array(numbered(of_variant)[1] + 1, pa.int32()),
        "test_no": pa.array(numbered(of_test)[1] + 1, pa.int32()),
    }
    engine.register_frame("series", pa.table(columns))
    return (nth + 1).astype(np.int32)
