"""Point-in-time features: one row per (run, variant, test), or per run, from facts known before the run started.

`known_at` of a run is its finish (its start if unknown). A feature of run R uses facts with known_at < R.started_at:
runs with the same timestamp never see each other, and no run sees itself. Attempts of a run are merged first.
Features of failures (`build_failures`) are asked for when the run is known, so they see the run itself as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ml.features import (
    asked,
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
    words,
)
from ml.features.assembly import Block, Named, Part, Rows, absent, doubles, take
from ml.features.executions import Executions
from ml.features.queries import NEXT_RUN, Context, Engine, Queries
from ml.features.results import Results
from ml.features.sequences import Numbers, Values
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
        facts.store_runs(engine, context)
        files = other.submit(_prepare_files, beside, paths)
        results = Results.of(engine)
        names = other.submit(_prepare_names, beside, files)
        merged = facts.store_results(engine, context, results)
        before = other.submit(_prepare_history, beside, context, names)
        engine.lend_thread()  # the files are read; what follows are many small statements, and NumPy
        is_drawn = facts.prepare(engine, queries, context, merged)
        changed = other.submit(_prepare_changes, beside, before)
        paired = other.submit(pairs.prepare, beside)
        said = other.submit(words.Words.of, beside, merged)
        lines = lineage.Lines.read(engine, merged.moments)
        done = Executions.of(merged, lines)
        done.register_failures(engine)
        touched = other.submit(cofailures.touched, beside, done)
        told = failure_texts.told(engine, results.texts, done.moments)
        names.result()
        series = asked.series_numbers(engine)
        past = _Past.of(engine, done, series)
        wanted = asked.executed_rows(engine, merged, lines) if queries.runs is None else asked.stored_rows(engine)
        every, weight = asked.ordered(engine, series, done.moments, wanted), _weights(engine) if is_drawn else None
        shared = changed.result()
        for rows in asked.in_pieces(every, piece_rows):
            found = Block([*FEATURES, *pairs.OF_THE_TREE], len(rows))
            filled = other.submit(_fill_related, beside, rows, found, shared["has_change"], (paired, said, touched))
            known = rows.beside(author_runs_count=found["author_runs_count"])
            found.fill(known, past.features, told.features, partial(_by_rows, shared), past.author_features)
            keys = _keys(engine, queries.project, found, rows)
            filled.result()
            frame = _frame(columns(TestSelectionFrame), keys, found)
            if weight is not None:
                frame[WEIGHT] = weight[rows["query_no"] - 1]
            yield frame


@dataclass(frozen=True)
class _Past:
    """What executions tell of a test, of its surroundings, and of it in runs of the same change or author."""

    history: test_history.History
    groups: Mapping[str, neighbours.GroupRuns]
    by_change: test_history.FailuresBy
    by_author: test_history.FailuresBy

    @classmethod
    def of(cls, engine: Engine, done: Executions, series: Mapping[str, Numbers]) -> "_Past":
        by_change = test_history.FailuresBy.of(engine, done, "change_key")
        by_author = test_history.FailuresBy.of(engine, done, "author_id", "NOT o.is_outage")
        return cls(test_history.History.of(done), neighbours.group_runs(done, series), by_change, by_author)

    def features(self, rows: Rows) -> Named:
        """All but those of the author."""
        yield from self.history.features(rows)
        yield from neighbours.features(self.groups, rows)
        yield from self.by_change.of_change(rows)

    def author_features(self, rows: Rows) -> Named:
        """Those, of rows that say how many runs the author had."""
        return neighbours.author_features(self.by_author.before(rows), rows["author_runs_count"])


def _prepare_files(engine: Engine, paths: Future[None]) -> None:
    """Tables of what files were called before."""
    paths.result()
    lineage.store_files(engine)


def _prepare_names(engine: Engine, files: Future[None]) -> None:
    """Tables of what names say."""
    files.result()
    pairs.register_tests(engine)
    pairs.prepare_names(engine)


def _prepare_history(engine: Engine, context: Context, names: Future[None]) -> None:
    """Tables of what is known of runs, files and words, once the facts are there."""
    names.result()
    changes.prepare_history(engine, context)


def _prepare_changes(engine: Engine, before: Future[None]) -> dict[str, Values]:
    """Tables of what changed, once the runs asked for are there; and the features that all rows of a run share."""
    before.result()
    pairs.register_titles(engine)
    changes.prepare(engine)
    return _of_runs(engine, changes.RUN_COLUMNS, changes.RUN_JOINS)


def _fill_related(
    engine: Engine,
    rows: Rows,
    found: Block,
    has_change: Values,
    ready: tuple[Future[None], Future[words.Words], Future[dict[str, cofailures.Touched]]],
) -> None:
    """How each test relates to the change: by names, by words, and by failing together."""
    paired, said, touched = ready
    paired.result()
    otherwise = _fill_parts(engine, PARTS, rows, found)
    # nothing is known of shared words, and of what failed together, where no changed file is
    change = np.where(has_change == 1, 0, np.nan)
    for kind, nothing in (("files", change), ("title", otherwise[pairs.UNTOLD])):
        found.fill(rows, said.result().related(kind, rows, nothing).features)
    for together in cofailures.related(touched.result(), rows, change):
        found.fill(rows, together.features)


def _fill_parts(engine: Engine, parts: Sequence[Part], rows: Rows, found: Block) -> dict[str, Values]:
    """Fill what `parts` tell, and return what `absent` does."""
    otherwise = absent(engine, parts, changes.RUN_JOINS)
    change_no = pairs.changes_of(engine, len(next(iter(otherwise.values()))))
    rows = rows.telling("change_no", "query_no", change_no)
    for part in parts:
        found.fill(rows, take(engine, part, rows, otherwise[part.absent]).features)
    found.fill(rows.beside(**{name: found[name] for name in pairs.OF_THE_TREE}), pairs.tree_features)
    return otherwise


def build_failures(engine: Engine, queries: Queries, context: Context) -> pd.DataFrame:
    """Compute the features of failures, as known when their runs were; arguments as for `build`.

    Returns:
        A frame as `FlakyTestsFrame` describes it, ordered by started_at (the moment at which the run became known),
        run_id, variant, test_id: every failure of the runs asked for that are known at `queries.as_of`. `failed` and
        `known_at` are null: why a test failed is for labels to say.
    """
    facts.store_changed(engine)
    results = facts.store_names(engine, context)
    merged = facts.store_results(engine, context, results)
    facts.prepare_failures(engine, queries, context, merged)
    pairs.register_paths(engine, queries.changed_files)
    pairs.register_tests(engine)
    lineage.store_files(engine)
    done = Executions.of(merged, lineage.Lines.read(engine, merged.moments))
    done.register_failures(engine)
    rows = asked.ordered(engine, asked.series_numbers(engine), done.moments, asked.stored_rows(engine))
    found = Block([*feature_descriptions(FlakyTestsFrame), *pairs.OF_THE_TREE], len(rows))
    found.fill(rows, test_history.History.of(done).features)
    failures.register_history(engine, rows, found)
    changes.prepare_history(engine, context)
    changes.prepare(engine)
    pairs.prepare_names(engine)
    pairs.prepare_pairs(engine)
    failures.prepare(engine)
    failure_texts.prepare_own(engine, results.texts)
    by_change = test_history.FailuresBy.of(engine, done, "change_key")
    shared = _of_runs(engine, changes.RUN_COLUMNS | failures.RUN_COLUMNS, failures.RUN_JOINS)
    found.fill(rows, by_change.of_change, partial(_by_rows, shared))
    _fill_parts(engine, FAILURE_PARTS, rows, found)
    return _frame(columns(FlakyTestsFrame), _keys(engine, queries.project, found, rows), found)


def build_runs(engine: Engine, queries: Queries, context: Context) -> pd.DataFrame:
    """Compute the features of whole runs; arguments as for `build`.

    Returns:
        A frame as `BuildRiskFrame` describes it, ordered by started_at, run_id. In training, the runs whose outcome is
        known; predictions have null `failed`, `duration_s` and `known_at`.
    """
    facts.store_changed(engine)
    facts.store_results(engine, context, facts.store_names(engine, context))
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
    facts.store_results(engine, context, facts.store_names(engine, context))
    facts.prepare_runs(engine, queries, context)
    build_history.store_outcomes(engine)
    found = engine.fetch(build_history.OUTCOMES)
    names = ["run_id", "variant", "test_id", "started_at", "failed", "duration_s"]
    return _whole_runs(found)[names].astype({"failed": bool})


def _of_runs(engine: Engine, expressions: Mapping[str, str], joins: str) -> dict[str, Values]:
    """Features that all rows of a run share, a value per run asked for."""
    found = engine.fetch(f"SELECT {doubles(expressions)} FROM {joins} ORDER BY c.query_no")
    return {str(name): found[name].to_numpy(np.float64) for name in found}


def _by_rows(shared: Mapping[str, Values], rows: Rows) -> Named:
    at = rows["query_no"] - 1
    for name, values in shared.items():
        yield name, values.take(at)


def _weights(engine: Engine) -> Values:
    """How many results a row stands for, per run asked for."""
    found = engine.fetch(
        "SELECT d.weight FROM query_run AS q JOIN drawn_run AS d ON d.run_no = q.run_no ORDER BY q.query_no"
    )
    return found["weight"].to_numpy(np.float64)


def _keys(engine: Engine, project: str, found: Block, rows: Rows) -> dict[str, Any]:
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


def _moments(micros: pd.Series) -> pd.DatetimeIndex:
    values = micros.astype("Int64")
    moments = values.to_numpy("int64", na_value=np.iinfo("int64").min).astype("datetime64[us]")
    return pd.DatetimeIndex(moments, tz="UTC")
