"""Histories for label tests, typed by hand or drawn, and the labels of one."""

from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from ml.engine import Engine, open_engine
from ml.labels import label
from ml.labels.evidence import collect
from tests.feature_builders import (
    FILE_TYPES,
    RESULT_TYPES,
    RUN_TYPES,
    History,
    at,
    history,
    random_history,
    result,
    run,
)

COMMIT = pa.field("commit_sha", pa.string())
LATER = at(10_000_000)
__all__ = ["LATER", "History", "at", "evidence_of", "labels_of", "line", "random_labels_history", "result", "run"]


def register(engine: Engine, frames: History) -> None:
    runs = frames["runs"] if "commit_sha" in frames["runs"] else frames["runs"].assign(commit_sha=None)
    types = (("runs", RUN_TYPES.append(COMMIT)), ("test_results", RESULT_TYPES), ("changed_files", FILE_TYPES))
    for name, schema in types:
        frame = runs if name == "runs" else frames[name]
        engine.register_frame(name, pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False))


def labels_of(frames: History, as_of: datetime = LATER) -> pd.DataFrame:
    with open_engine("duckdb", threads=2) as engine:
        register(engine, frames)
        return label(engine, "p", as_of)


def evidence_of(frames: History, as_of: datetime = LATER) -> pd.DataFrame:
    with open_engine("duckdb", threads=2) as engine:
        register(engine, frames)
        return collect(engine, as_of)


def line(
    outcomes: str, commits: str = "", test: str = "pkg.TestA", files: dict[int, list[str]] | None = None
) -> History:
    """One test on trunk, a run per letter: p passed, f failed, s skipped; run i ends at minute 10 i + 5.

    `commits` has a letter per run, `-` for an unknown commit; `files` maps the number of a run to changed paths
    (with a number of added lines of its own).
    Twelve other tests pass in every run, so that no failure is a crowd.
    """
    names = {"p": "passed", "f": "failed", "s": "skipped"}
    runs: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, letter in enumerate(outcomes):
        run_id = f"r{number}"
        runs.append(run(run_id, 10 * number, 10 * number + 5, branch="main", event="push"))
        results.append(result(run_id, test, names[letter]))
        results += [result(run_id, f"pkg{i}.TestOther{i}", "passed") for i in range(12)]
    changed = [(f"r{number}", path, number + 1, 1) for number, paths in (files or {}).items() for path in paths]
    frames = history(runs, results, changed)
    shas = [None if letter == "-" else letter for letter in commits or "-" * len(outcomes)]
    return {**frames, "runs": frames["runs"].assign(commit_sha=pd.Series(shas, dtype=object))}


def random_labels_history(seed: int, runs_count: int = 60) -> History:
    """`random_history` with commits that some runs share."""
    frames = random_history(seed, runs_count)
    shas = frames["runs"]["run_id"].str[-1].map(lambda digit: None if digit == "0" else f"c{digit}")
    return {**frames, "runs": frames["runs"].assign(commit_sha=shas)}
