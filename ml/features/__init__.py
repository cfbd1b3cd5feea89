"""Point-in-time features of tests: one row per (run, variant, test), from facts known before the run started.

`known_at` of a run is its finish (its start if unknown). A feature of run R uses facts with known_at < R.started_at:
runs with the same timestamp never see each other, and no run sees itself. Attempts of a run are merged first.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ml.features import changes, facts, neighbours, pairs, test_history
from ml.features.queries import NEXT_RUN, Context, Engine, Queries
from ml.schemas import TestSelectionFrame, columns

KEYS = ("query_no", "series_no", "outcome")
__all__ = ["NEXT_RUN", "Context", "Queries", "build"]


def build(engine: Engine, queries: Queries, context: Context) -> pd.DataFrame:
    """Compute the features of the rows that `queries` asks for.

    Args:
        engine: With views ``runs``, ``test_results`` and ``changed_files`` of one project
            (columns of `ml.schemas`; others are ignored).
        queries: `Queries.training` or `Queries.prediction`.
        context: Choices that features depend on.

    Returns:
        A frame as `TestSelectionFrame` describes it, ordered by started_at, run_id, variant, test_id.
        Predictions have null `failed`, `duration_s` and `known_at`. Features are float64, NaN where unknown.
    """
    facts.prepare(engine, queries, context)
    pairs.register_paths(engine)
    pairs.register_tests(engine)
    test_history.prepare(engine)
    changes.prepare(engine, context)
    pairs.prepare(engine)
    neighbours.prepare(engine)
    return _named(engine, queries.project)


def _select() -> str:
    """One row per query with the features that differ between the tests of a run."""
    features = _columns({**test_history.COLUMNS, **changes.COLUMNS, **pairs.COLUMNS, **neighbours.COLUMNS})
    return f"""
        SELECT h.query_no, h.series_no, h.outcome, h.duration_s, {features}
        FROM history AS h {changes.JOINS} {pairs.JOINS} {neighbours.JOINS}
        """


def _columns(expressions: Mapping[str, str]) -> str:
    return ", ".join(f"CAST({text} AS DOUBLE) AS {name}" for name, text in expressions.items())


def _named(engine: Engine, project: str) -> pd.DataFrame:
    """Put the names back in place of the numbers, each string object once."""
    found = engine.fetch(_select())
    order = np.lexsort((found["series_no"].to_numpy(), found["query_no"].to_numpy()))
    runs = engine.fetch("SELECT run_id, started_us, known_us FROM query_run ORDER BY query_no")
    changed = engine.fetch(f"SELECT {_columns(changes.RUN_COLUMNS)} FROM {changes.RUN_JOINS} ORDER BY c.query_no")
    series = engine.fetch("SELECT variant, test_id FROM series ORDER BY series_no")
    run_at = found["query_no"].to_numpy(np.int64)[order] - 1
    series_at = found["series_no"].to_numpy(np.int64)[order] - 1
    outcome = found["outcome"].to_numpy(np.float64)[order]
    keys = {
        "project": np.full(len(found), project, dtype=object),
        "run_id": runs["run_id"].to_numpy(object)[run_at],
        "variant": series["variant"].to_numpy(object)[series_at],
        "test_id": series["test_id"].to_numpy(object)[series_at],
        "started_at": _moments(runs["started_us"]).take(run_at),
        "known_at": _moments(runs["known_us"]).take(run_at),
        "failed": pd.arrays.BooleanArray(outcome == 1, np.isnan(outcome)),
        "previous_failed": found["is_failing"].to_numpy(np.float64)[order] == 1,
    }
    own = {str(name): found[name].to_numpy(np.float64)[order] for name in found if name not in KEYS}
    shared = {str(name): changed[name].to_numpy(np.float64)[run_at] for name in changed}
    return pd.DataFrame({**keys, **own, **shared}, copy=False)[columns(TestSelectionFrame)]


def _moments(micros: pd.Series) -> pd.DatetimeIndex:
    values = micros.astype("Int64")
    moments = values.to_numpy("int64", na_value=np.iinfo("int64").min).astype("datetime64[us]")
    return pd.DatetimeIndex(moments, tz="UTC")
