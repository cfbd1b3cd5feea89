"""Histories to build features from, hand-made, random and real."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.engine import Engine, open_engine
from ml.features import Context, Queries, build

START = datetime(2026, 3, 2, tzinfo=UTC)

RUN_TYPES = pa.schema(
    [
        (name, pa.string())
        for name in ("run_id", "workflow", "event", "branch", "change_id", "change_title", "author_id", "status")
    ]
    + [("attempt", pa.int64()), ("started_at", pa.timestamp("us", "UTC")), ("finished_at", pa.timestamp("us", "UTC"))]
)

RESULT_TYPES = pa.schema(
    [(name, pa.string()) for name in ("run_id", "variant", "test_id", "outcome", "failure_kind", "failure_fingerprint")]
    + [("attempt", pa.int64()), ("duration_s", pa.float64())]
)

FILE_TYPES = pa.schema([("run_id", pa.string()), ("path", pa.string()), ("added", pa.int64()), ("deleted", pa.int64())])

TYPES = {"runs": RUN_TYPES, "test_results": RESULT_TYPES, "changed_files": FILE_TYPES}

History = dict[str, pd.DataFrame]


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def run(run_id: str, start: float, end: float | None = None, **about: Any) -> dict[str, Any]:
    """A run that starts and ends so many minutes after `START`."""
    named = {
        "attempt": 1,
        "workflow": None,
        "event": None,
        "branch": None,
        "change_id": None,
        "change_title": None,
        "author_id": None,
        "status": None,
        **about,
    }
    return {"run_id": run_id, "started_at": at(start), "finished_at": None if end is None else at(end), **named}


def result(run_id: str, test_id: str, outcome: str, **about: Any) -> dict[str, Any]:
    return {
        "attempt": 1,
        "variant": "v",
        "duration_s": 1.0,
        "failure_kind": None,
        "failure_fingerprint": None,
        "run_id": run_id,
        "test_id": test_id,
        "outcome": outcome,
        **about,
    }


def history(runs: list[dict[str, Any]], results: list[dict[str, Any]], files: list[tuple[Any, ...]] = ()) -> History:
    """Frames of a history; a file is (run_id, path, added, deleted)."""
    return {
        "runs": pd.DataFrame(runs, columns=RUN_TYPES.names),
        "test_results": pd.DataFrame(results, columns=RESULT_TYPES.names),
        "changed_files": pd.DataFrame(list(files), columns=FILE_TYPES.names),
    }


def register(engine: Engine, frames: History) -> None:
    for name, schema in TYPES.items():
        table = pa.Table.from_pandas(frames[name][schema.names], schema=schema, preserve_index=False)
        engine.register_frame(name, table)


def features_of(frames: History, queries: Queries | None = None, context: Context | None = None) -> pd.DataFrame:
    with open_engine("duckdb", threads=2) as engine:
        register(engine, frames)
        return build(engine, queries or Queries.training("p"), context or Context())


def read_history(folder: Path, first_runs: int | None = None) -> History:
    """A history folder's frames, null in columns that it lacks; only its `first_runs` earliest runs when given."""
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TYPES}
    frames = {
        name: frame.assign(**dict.fromkeys(set(TYPES[name].names) - set(frame))) for name, frame in frames.items()
    }
    if first_runs is not None:
        kept = set(frames["runs"].sort_values(["started_at", "run_id"])["run_id"].head(first_runs))
        frames = {name: frame[frame["run_id"].isin(kept)] for name, frame in frames.items()}
    frames["test_results"] = frames["test_results"].astype({"duration_s": "float64"})
    return frames


def random_history(seed: int, runs_count: int = 60) -> History:
    """Overlapping runs, shared starts, attempts, skips, outages, new tests; finishes and files are missing at times."""
    draw = np.random.default_rng(seed)
    tests = [
        "org.acme.core.TestParser",
        "org.acme.core.TestLexer",
        "org.acme.net.SocketTest",
        "tests/test_io.py::test_read",
    ]
    tests += [f"org.acme.gen{i % 3}.TestThing{i}" for i in range(8)]
    paths = ["core/src/main/java/org/acme/core/Parser.java", "core/src/test/java/org/acme/core/TestParser.java"]
    paths += [
        "net/src/main/java/org/acme/net/Socket.java",
        "tests/test_io.py",
        "pom.xml",
        "docs/guide.md",
        "core/pom.xml",
    ]
    paths += [f"gen/src/main/java/org/acme/gen{i % 3}/Thing{i}.java" for i in range(6)]
    runs, results, files = [], [], []
    moment = 0.0
    for number in range(runs_count):
        moment += float(draw.choice([0, 0, 5, 60, 600, 2000]))
        length = float(draw.choice([0, 5, 30, 90]))
        run_id = f"r{draw.integers(1000)}-{number}"
        about = {
            "event": draw.choice(["push", "pull_request", None]),
            "branch": draw.choice(["main", "topic", "fix", None]),
            "change_id": draw.choice(["7", "8", None, None]),
            "author_id": draw.choice(["ann", "bob", None]),
        }
        end = None if draw.random() < 0.2 else moment + length
        attempts = 2 if draw.random() < 0.15 else 1
        for attempt in range(1, attempts + 1):
            shift = 7.0 * (attempt - 1)
            runs.append(run(run_id, moment + shift, None if end is None else end + shift, attempt=attempt, **about))
        share = 0.8 if draw.random() < 0.1 else 0.15
        known = [_renamed(test_id, number, draw) for test_id in tests[: 4 + number // 6]]
        for variant in ("linux", "mac"):
            for test_id in sorted({name for names in known for name in names}):
                if draw.random() < 0.25 or (variant == "mac" and test_id.endswith("1")):
                    continue
                for attempt in range(1, attempts + 1):
                    weights = [1 - share - 0.1, share * 0.7, share * 0.3, 0.1]
                    outcome = str(draw.choice(["passed", "failed", "error", "skipped"], p=weights))
                    spent = None if draw.random() < 0.1 else float(np.round(draw.exponential(3), 3))
                    results.append(result(run_id, test_id, outcome, variant=variant, attempt=attempt, duration_s=spent))
        for path in draw.choice(paths, size=int(draw.choice([0, 1, 2, 5])), replace=False):
            added = None if draw.random() < 0.1 else int(draw.integers(50))
            files.append((run_id, str(path), added, int(draw.integers(20))))
        files += _moved(run_id, number, draw)
    return _told(history(runs, results, files), seed)


def _told(frames: History, seed: int) -> History:
    """With titles of changes and texts of failures where they are told; equal in all attempts of a run for titles."""
    draw = np.random.default_rng([seed, 1])
    titles = ["Parser: read TestThing3", "Fix TestLexer and SocketTest", "Clean up", "net: thing of test_io", None]
    told = {run_id: draw.choice(titles) for run_id in frames["runs"]["run_id"].unique()}
    results = frames["test_results"]
    is_told = results["outcome"].isin(["failed", "error"]) & (draw.random(len(results)) < 0.8)
    kinds = draw.choice(["timeout", "network", "assertion", "other"], len(results))
    texts = [f"f{number}" for number in draw.choice(6, len(results), p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])]
    told_results = {"failure_kind": kinds, "failure_fingerprint": texts}
    return {
        **frames,
        "runs": frames["runs"].assign(change_title=frames["runs"]["run_id"].map(told)),
        "test_results": results.assign(
            **{name: pd.Series(values, dtype=object).where(is_told, None) for name, values in told_results.items()}
        ),
    }


def _renamed(test_id: str, number: int, draw: np.random.Generator) -> list[str]:
    """The names that a test has in a run: two move to another package, one of them twice; both names run at times."""
    if not test_id.endswith(("Thing0", "Lexer")) or number < 25:
        return [test_id]
    moved = test_id.replace("acme.gen0", "acme.moved").replace("acme.core", "acme.moved")
    if test_id.endswith("Lexer") and number >= 45:
        moved = test_id.replace("acme.core", "acme.again")
    return [test_id, moved] if draw.random() < 0.1 else [moved]


def _moved(run_id: str, number: int, draw: np.random.Generator) -> list[tuple[Any, ...]]:
    """A file that is now and then touched, moves in run 20, and again, as git sees it, in run 35; a copy is no move."""
    names = ["core/src/Lexer.java", "core/lib/Lexer.java", "core/parts/Lexer.java"]
    if number == 20:
        return [(run_id, names[0], 0, 30), (run_id, names[1], 30, 0)]
    if number == 35:
        return [(run_id, names[1], None, None), (run_id, names[2], 2, 3)]
    if number == 40:
        return [(run_id, names[2], 4, 0), (run_id, "core/copy/Lexer.java", 30, 0)]
    place = sum(number > at for at in (20, 35))
    return [(run_id, names[place], 1, 1)] if draw.random() < 0.4 else []
