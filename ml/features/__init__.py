"""Point-in-time features: one row per (run, variant, test), or per run, from facts known before the run started.

`known_at` of a run is its finish (its start if unknown). A feature of run R uses facts with known_at < R.started_at:
runs with the same timestamp never see each other, and no run sees itself. Attempts of a run are merged first.
Features of failures (`build_failures`) are asked for when the run is known, so they see the run itself as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml.features import (
    build_history,
    changes,
    cofailures,
    facts,
    failure_texts,
    failures,
    lineage,
    neighbours,
    pairs,
    test_history,
)
from ml.features.assembly import Block, Named, Part, absent, doubles, take
from ml.features.executions import Executions, Merged
from ml.features.queries import NEXT_RUN, Context, Engine, Queries
from ml.features.sequences import Moments, Numbers, Values
from ml.features.test_history import WEEK_US
from ml.schemas import FEATURES, BuildRiskFrame, FlakyTestsFrame, TestSelectionFrame, columns, feature_descriptions
from ml.spec import WEIGHT, WHOLE_RUN

__all__ = [
    "NEXT_RUN",
    "Context",
    "Queries",
    "build",
    "build_failures",
    "build_pieces",
    "build_runs",
    "outcomes",
    "run_outcomes",
]

PARTS = (*changes.PARTS, *pairs.PARTS)
FAILURE_PARTS = (
    *changes.PARTS,
    *pairs.NAME_PARTS,
    *failures.PARTS,
    *failure_texts.OWN_PARTS,
)


def build(engine: Engine, queries: Queries, context: Context) -> pd.DataFrame:
    """Compute the features of the rows that `queries` asks for.

    Args:
        engine: With views ``runs``, ``test_results`` and ``changed_files`` of one project
            (columns of `ml.schemas`; others are ignored).
        queries: `Queries.training` or `Queries.prediction`.
        context: Choices that features depend on.

    Returns:
        A frame as `TestSelectionFrame` describes it, ordered by started_at, run_id, variant, test_id.
        Predictions have null `failed`, `duration_s` and `known_at`. Features are float64, NaN where unknown. Where
        `queries.max_rows` left out runs, `ml.spec.WEIGHT` (float64) is one more column.
    """
    return next(build_pieces(engine, queries, context))


def build_pieces(engine: Engine, queries: Queries, context: Context, piece_rows: int = 0) -> Iterator[pd.DataFrame]:
    """The frame of `build` in pieces of whole runs, for more rows than memory holds; at least one piece.

    Args:
        engine: As for `build`.
        queries: As for `build`.
        context: As for `build`.
        piece_rows: A piece ends with the run that reaches this many rows; 0 makes a single piece.
    """
    with ThreadPoolExecutor(1) as other:  # DuckDB and NumPy compute without Python's lock
        beside = engine.alongside()
        facts.store_changed(engine)
        paths = other.submit(pairs.register_paths, beside, queries.changed_files)
        facts.store_names(engine, context)
        names = other.submit(_prepare_names, beside, paths)
        merged = facts.store_results(engine, context)
        before = other.submit(_prepare_history, beside, context, names)
        engine.lend_thread()  # the files are read; what follows are many small statements, and NumPy
        is_drawn = facts.prepare(engine, queries, context)
        changed = other.submit(_prepare_changes, beside, before)
        paired = other.submit(pairs.prepare, beside)
        lines = lineage.Lines.read(engine, merged.moments)
        done = Executions.of(merged, lines)
        done.register_failures(engine)
        touched = other.submit(cofailures.touched, beside, done)
        told = failure_texts.told(engine, done.moments)
        names.result()
        series = _series(engine)
        past = _Past.of(engine, done, series)
        wanted = _executed(engine, merged, lines) if queries.runs is None else _asked(engine)
        asked, weight = _rows(engine, series, done.moments, wanted), _weights(engine) if is_drawn else None
        shared = changed.result()
        for rows in _pieces(asked, piece_rows):
            found = Block([*FEATURES, *pairs.OF_THE_TREE], len(rows["query_no"]))
            filled = other.submit(_fill_related, beside, rows, found, shared["has_change"], (paired, touched))
            found.fill(past.features(rows), told.features(rows), _by_rows(shared, rows))
            by_author = past.by_author.before(rows)
            found.fill(neighbours.author_features(by_author, found["author_runs_count"]))
            keys = _keys(engine, queries.project, found, rows)
            filled.result()
            frame = _frame(columns(TestSelectionFrame), keys, found)
            if weight is not None:
                frame[WEIGHT] = weight[rows["query_no"] - 1]
            yield frame


@dataclass(frozen=True)
class _Past:
    """What executions tell of a test, of its surroundings, and of it in runs of the same change or author."""

    done: Executions
    groups: Mapping[str, neighbours.GroupRuns]
    by_change: test_history.FailuresBy
    by_author: test_history.FailuresBy

    @classmethod
    def of(cls, engine: Engine, done: Executions, series: Mapping[str, Numbers]) -> "_Past":
        by_change = test_history.FailuresBy.of(engine, done, "change_key")
        by_author = test_history.FailuresBy.of(engine, done, "author_id", "NOT o.is_outage")
        return cls(done, neighbours.group_runs(done, series), by_change, by_author)

    def features(self, rows: Mapping[str, Numbers]) -> Named:
        """All but those of the author, which need to know how many runs there were."""
        yield from test_history.features(self.done, rows)
        yield from neighbours.features(self.groups, rows)
        yield "change_failures_count", self.by_change.before(rows)


def _prepare_names(engine: Engine, paths: Future[None]) -> None:
    """Tables of what names say, and of what files were called before."""
    paths.result()
    pairs.register_tests(engine)
    pairs.prepare_names(engine)
    lineage.store_files(engine)


def _prepare_history(engine: Engine, context: Context, names: Future[None]) -> None:
    """Tables of what is known of runs, files and words, once the facts are there."""
    names.result()
    changes.prepare_history(engine, context)
    pairs.prepare_history(engine)


def _prepare_changes(engine: Engine, before: Future[None]) -> pd.DataFrame:
    """Tables of what changed, once the runs asked for are there; and the features that all rows of a run share."""
    before.result()
    pairs.register_titles(engine)
    changes.prepare(engine)
    return _of_runs(engine, changes.RUN_COLUMNS, changes.RUN_JOINS)


def _fill_related(
    engine: Engine,
    rows: Mapping[str, Numbers],
    found: Block,
    has_change: pd.Series,
    ready: tuple[Future[None], Future[dict[str, cofailures.Touched]]],
) -> None:
    """How each test relates to the change: by names, and by failing together."""
    paired, touched = ready
    paired.result()
    _fill_parts(engine, PARTS, rows, found)
    # nothing is known of what failed together where no changed file is
    found.fill(cofailures.features(touched.result(), rows, np.where(has_change == 1, 0, np.nan)))


def _fill_parts(engine: Engine, parts: Sequence[Part], rows: Mapping[str, Numbers], found: Block) -> None:
    otherwise = absent(engine, parts, changes.RUN_JOINS)
    change_no = pairs.changes_of(engine, len(next(iter(otherwise.values()))))
    rows = {**rows, "change_no": change_no[rows["query_no"] - 1]}
    found.fill(*(take(engine, part, rows, otherwise[part.absent]) for part in parts))
    found.fill(pairs.tree_features(found["package_depth"], found["package_lead"], rows["depths"]))


def build_failures(engine: Engine, queries: Queries, context: Context) -> pd.DataFrame:
    """Compute the features of failures, as known when their runs were; arguments as for `build`.

    Returns:
        A frame as `FlakyTestsFrame` describes it, ordered by started_at (the moment at which the run became known),
        run_id, variant, test_id: every failure of the runs asked for that are known at `queries.as_of`. `failed` and
        `known_at` are null: why a test failed is for labels to say.
    """
    facts.store_changed(engine)
    facts.store_names(engine, context)
    merged = facts.store_results(engine, context)
    facts.prepare_failures(engine, queries, context)
    pairs.register_paths(engine, queries.changed_files)
    pairs.register_tests(engine)
    lineage.store_files(engine)
    done = Executions.of(merged, lineage.Lines.read(engine, merged.moments))
    done.register_failures(engine)
    rows = _rows(engine, _series(engine), done.moments, _asked(engine))
    found = Block([*feature_descriptions(FlakyTestsFrame), *pairs.OF_THE_TREE], len(rows["query_no"]))
    found.fill(test_history.features(done, rows))
    failures.register_history(engine, rows, found)
    changes.prepare_history(engine, context)
    changes.prepare(engine)
    pairs.prepare_names(engine)
    pairs.prepare_pairs(engine)
    failures.prepare(engine)
    failure_texts.prepare_own(engine)
    by_change = test_history.FailuresBy.of(engine, done, "change_key")
    found.fill([("change_failures_count", by_change.before(rows))])
    shared = _of_runs(engine, changes.RUN_COLUMNS | failures.RUN_COLUMNS, failures.RUN_JOINS)
    found.fill(_by_rows(shared, rows))
    _fill_parts(engine, FAILURE_PARTS, rows, found)
    return _frame(columns(FlakyTestsFrame), _keys(engine, queries.project, found, rows), found)


def build_runs(engine: Engine, queries: Queries, context: Context) -> pd.DataFrame:
    """Compute the features of whole runs; arguments as for `build`.

    Returns:
        A frame as `BuildRiskFrame` describes it, ordered by started_at, run_id. In training, the runs whose outcome is
        known; predictions have null `failed`, `duration_s` and `known_at`.
    """
    facts.store_changed(engine)
    facts.store_names(engine, context)
    facts.store_results(engine, context)
    facts.prepare_runs(engine, queries, context)
    pairs.register_paths(engine, queries.changed_files)
    lineage.store_files(engine)
    changes.prepare_history(engine, context)
    changes.prepare(engine)
    build_history.prepare(engine, context)
    known = "WHERE o.failed IS NOT NULL" if queries.runs is None else ""
    found = engine.fetch(
        f"""
        SELECT q.run_id, q.started_us, q.known_us, o.failed, {doubles(build_history.COLUMNS | changes.RUN_COLUMNS)}
        FROM {build_history.JOINS} {known} ORDER BY q.query_no
        """
    )
    frame = _whole_runs(found).assign(
        project=np.full(len(found), queries.project, dtype=object), previous_failed=found["is_last_failed"] == 1
    )
    return frame[columns(BuildRiskFrame)]


def _whole_runs(found: pd.DataFrame) -> pd.DataFrame:
    """Rows with started_us, known_us and failed (0, 1 or null) as rows of whole runs."""
    started, known = _moments(found["started_us"]), _moments(found["known_us"])
    failed = found["failed"].to_numpy(np.float64, na_value=np.nan)
    everything = np.full(len(found), WHOLE_RUN, dtype=object)
    return found.assign(
        run_id=found["run_id"].astype(object),
        variant=everything,
        test_id=everything,
        started_at=started,
        known_at=known,
        failed=pd.arrays.BooleanArray(failed == 1, np.isnan(failed)),
        duration_s=(known - started).total_seconds().to_numpy(np.float64),
    )


def outcomes(engine: Engine, queries: Queries, context: Context) -> pd.DataFrame:
    """Merged results of the runs named in ``published``: run_id, variant, test_id, started_at, failed, duration_s."""
    return engine.fetch(
        """
        SELECT t.run_id, t.variant, t.test_id, MIN(r.started_at) AS started_at,
            BOOL_OR(t.outcome IN ('failed', 'error')) AS failed, MAX(t.duration_s) AS duration_s
        FROM test_results t JOIN published p ON p.run_id = t.run_id JOIN runs r ON r.run_id = t.run_id
        WHERE t.outcome <> 'skipped' GROUP BY t.run_id, t.variant, t.test_id
        """
    )


def run_outcomes(engine: Engine, queries: Queries, context: Context) -> pd.DataFrame:
    """Outcomes of the runs named in ``published``, as `build_runs` labels them; columns as of `outcomes`."""
    facts.store_changed(engine)
    facts.store_names(engine, context)
    facts.store_results(engine, context)
    facts.prepare_runs(engine, queries, context)
    build_history.store_outcomes(engine)
    found = engine.fetch(build_history.OUTCOMES)
    names = ["run_id", "variant", "test_id", "started_at", "failed", "duration_s"]
    return _whole_runs(found)[names].astype({"failed": bool})


def _of_runs(engine: Engine, expressions: Mapping[str, str], joins: str) -> pd.DataFrame:
    """Features that all rows of a run share, a row per run asked for."""
    return engine.fetch(f"SELECT {doubles(expressions)} FROM {joins} ORDER BY c.query_no")


def _by_rows(shared: pd.DataFrame, rows: Mapping[str, Numbers]) -> Named:
    at = rows["query_no"] - 1
    for name in shared:
        yield str(name), shared[name].to_numpy(np.float64).take(at)


def _weights(engine: Engine) -> Values:
    """How many results a row stands for, per run asked for."""
    found = engine.fetch(
        "SELECT d.weight FROM query_run AS q JOIN drawn_run AS d ON d.run_no = q.run_no ORDER BY q.query_no"
    )
    return found["weight"].to_numpy(np.float64)


def _pieces(rows: Mapping[str, Numbers], piece_rows: int) -> Iterator[dict[str, Numbers]]:
    """The rows in pieces that end where a run does."""
    count, start = len(rows["query_no"]), 0
    while True:
        last = min(start + piece_rows, count) - 1 if piece_rows else count - 1
        end = int(np.searchsorted(rows["query_no"], rows["query_no"][last], side="right")) if count else 0
        yield {name: values[start:end] for name, values in rows.items()}
        if end == count:
            return
        start = end


def _keys(engine: Engine, project: str, found: Block, rows: Mapping[str, Numbers]) -> dict[str, Any]:
    """What else each row of a frame says: names in place of the numbers, moments and outcomes."""
    run_at, series_at = rows["query_no"] - 1, rows["series_no"] - 1
    runs = engine.fetch("SELECT run_id, started_us, known_us FROM query_run ORDER BY query_no")
    series = engine.fetch("SELECT variant, test_id FROM series ORDER BY series_no")
    outcome = rows["failed"]
    return {
        "project": np.full(len(run_at), project, dtype=object),
        "run_id": runs["run_id"].to_numpy(object)[run_at],
        "variant": series["variant"].to_numpy(object)[series_at],
        "test_id": series["test_id"].to_numpy(object)[series_at],
        "started_at": _moments(runs["started_us"]).take(run_at),
        "known_at": _moments(runs["known_us"]).take(run_at),
        "failed": pd.arrays.BooleanArray(outcome == 1, np.isnan(outcome)),
        "previous_failed": found["is_failing"] == 1,
        "duration_s": rows["duration_s"],
    }


def _frame(names: Sequence[str], keys: Mapping[str, Any], found: Block) -> pd.DataFrame:
    return pd.DataFrame({name: keys[name] if name in keys else found[name] for name in names}, copy=False)


def _series(engine: Engine) -> dict[str, Numbers]:
    """Numbers of variant, test and package, and depths of the package, of each series, by series_no - 1."""
    found = engine.fetch(
        "SELECT s.variant_no, s.test_no, t.package_no, t.depths FROM series AS s "
        "JOIN test_package AS t ON t.test_no = s.test_no ORDER BY s.series_no"
    )
    return {str(name): found[name].to_numpy(np.int64) for name in found}


def _asked(engine: Engine) -> dict[str, Numbers]:
    """Numbers, outcome and duration of the rows of ``query``."""
    asked = engine.fetch("SELECT query_no, series_no, lineage_no, failed, duration_s FROM query")
    numbers = {name: asked[name].to_numpy(np.int64) for name in ("query_no", "series_no", "lineage_no")}
    return numbers | {name: asked[name].to_numpy(np.float64, na_value=np.nan) for name in ("failed", "duration_s")}


def _executed(engine: Engine, merged: Merged, lines: lineage.Lines) -> dict[str, Numbers]:
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


def _rows(
    engine: Engine, series: Mapping[str, Numbers], moments: Moments, wanted: Mapping[str, Numbers]
) -> dict[str, Numbers]:
    """The rows wanted, ordered by run and series, with all that their numbers say."""
    order = np.argsort(wanted["query_no"] * (len(series["test_no"]) + 1) + wanted["series_no"])
    rows = {name: values[order] for name, values in wanted.items()}
    for name, values in series.items():
        rows[name] = values[rows["series_no"] - 1]
    rows["lineage_test_no"] = series["test_no"][rows["lineage_no"] - 1]
    at_us = engine.fetch("SELECT at_us FROM query_run ORDER BY query_no")["at_us"].to_numpy(np.int64)
    of_run = {"at_us": at_us, "before": moments.before(at_us), "week_before": moments.before(at_us - WEEK_US)}
    return rows | {name: values[rows["query_no"] - 1] for name, values in of_run.items()}


def _moments(micros: pd.Series) -> pd.DatetimeIndex:
    values = micros.astype("Int64")
    moments = values.to_numpy("int64", na_value=np.iinfo("int64").min).astype("datetime64[us]")
    return pd.DatetimeIndex(moments, tz="UTC")
