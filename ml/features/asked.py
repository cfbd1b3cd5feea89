"""The rows that features are asked for: all executions of the runs asked for, or those of ``query``."""

from collections.abc import Iterator, Mapping

import numpy as np

from ml.features.assembly import Rows
from ml.features.lineage import Lines
from ml.features.merged import Merged
from ml.features.queries import Engine
from ml.features.sequences import Moments, Numbers, order_of
from ml.features.test_history import WEEK_US


def series_numbers(engine: Engine) -> dict[str, Numbers]:
    """Numbers of variant, test and package, and depths of the package, of each series, by series_no - 1."""
    found = engine.fetch(
        "SELECT s.variant_no, s.test_no, t.package_no, t.depths FROM series AS s "
        "JOIN test_package AS t ON t.test_no = s.test_no ORDER BY s.series_no"
    )
    return {str(name): found[name].to_numpy(np.int64) for name in found}


def stored_rows(engine: Engine) -> dict[str, Numbers]:
    """Numbers, outcome and duration of the rows of ``query``."""
    asked = engine.fetch("SELECT query_no, series_no, lineage_no, failed, duration_s FROM query")
    numbers = {name: asked[name].to_numpy(np.int64) for name in ("query_no", "series_no", "lineage_no")}
    return numbers | {name: asked[name].to_numpy(np.float64, na_value=np.nan) for name in ("failed", "duration_s")}


def executed_rows(engine: Engine, merged: Merged, lines: Lines) -> dict[str, Numbers]:
    """The same of all executions in the runs asked for."""
    runs = engine.fetch("SELECT query_no, run_no, at_us FROM query_run ORDER BY query_no")
    query_of = np.zeros(len(merged.moments.place) + 1, np.int64)
    query_of[runs["run_no"].to_numpy(np.int64)] = runs["query_no"]
    query_no = query_of[merged.run_no]
    at = np.flatnonzero(query_no)
    query_no, series_no = query_no[at], merged.series_no[at]
    last = merged.moments.before(runs["at_us"].to_numpy(np.int64)) - 1
    return {
        "query_no": query_no,
        "series_no": series_no,
        "lineage_no": lines.of(series_no, last[query_no - 1]),
        "failed": merged.failed[at].astype(np.float64),
        "duration_s": merged.duration_s[at],
    }


def ordered(engine: Engine, series: Mapping[str, Numbers], moments: Moments, wanted: Mapping[str, Numbers]) -> Rows:
    """The rows wanted, ordered by run and series, with all that their numbers say."""
    order = order_of(wanted["query_no"] * (len(series["test_no"]) + 1) + wanted["series_no"])
    at_us = engine.fetch("SELECT at_us FROM query_run ORDER BY query_no")["at_us"].to_numpy(np.int64)
    of_run = {"at_us": at_us, "before": moments.before(at_us), "week_before": moments.before(at_us - WEEK_US)}
    told = {name: ("query_no", values) for name, values in of_run.items()}
    told |= {name: ("series_no", values) for name, values in series.items()}
    told["lineage_test_no"] = ("lineage_no", series["test_no"])
    return Rows({name: values[order] for name, values in wanted.items()}, told)


def in_pieces(rows: Rows, piece_rows: int) -> Iterator[Rows]:
    """The rows in pieces that end where a run does."""
    query_no, count, start = rows["query_no"], len(rows), 0
    while True:
        last = min(start + piece_rows, count) - 1 if piece_rows else count - 1
        end = int(np.searchsorted(query_no, query_no[last], side="right")) if count else 0
        yield rows.part(slice(start, end))
        if end == count:
            return
        start = end
