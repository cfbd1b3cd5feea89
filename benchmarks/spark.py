"""The same features on Spark, with a local master, against DuckDB: the same statements, equal frames."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.histories import PROJECT, TABLES, frames, to_lake
from benchmarks.pairing import Contender, Pairing, Unequal
from ml.engine import open_engine
from ml.features import Context, Queries, build
from ml.lake import Lake
from ml.schemas import FEATURES

THREADS = 2
RUNS, QUICK_RUNS = 300, 20
TOLERANCE = 1e-12


def pairings(quick: bool, scratch: Path) -> Iterator[Pairing]:
    """One simulated history; starting Spark's session is part of what is timed."""
    if find_spec("pyspark") is None or not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        print("  skipped: Spark needs `uv sync --group spark` and a Java runtime, 17 or 21")
        return
    tables = frames(QUICK_RUNS if quick else RUNS)
    lake, versions = to_lake(tables, scratch / "lake")
    yield Pairing(
        family="all features",
        size=f"{len(tables['runs']):,} runs",
        count=len(tables["test_results"]),
        unit="results",
        ours=Contender(f"Spark, local[{THREADS}]", lambda: partial(_built, "spark", lake, versions)),
        peer=Contender(f"DuckDB, {THREADS} threads", lambda: partial(_built, "duckdb", lake, versions)),
        check=_check,
        note="Spark is for histories that one machine cannot hold; CPU seconds are without those of its Java process",
    )


def _built(kind: str, lake: Lake, versions: dict[str, int]) -> pd.DataFrame:
    with open_engine(kind, THREADS) as engine:
        for name in TABLES:
            engine.register_files(name, lake.files(name, versions[name], PROJECT), lake.schema(name, versions[name]))
        return build(engine, Queries.training(PROJECT), Context())


def _check(ours: pd.DataFrame, peer: pd.DataFrame) -> str:
    named = [name for name in peer if name not in FEATURES]
    if not ours[named].equals(peer[named]):
        raise Unequal("other rows, or in another order")
    exact = [name for name in FEATURES if ours[name].equals(peer[name])]
    for name in FEATURES:
        if not np.allclose(ours[name], peer[name], rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            raise Unequal(name)
    return f"{len(exact)} of {len(FEATURES)} features to the last bit, all within {TOLERANCE:g}; {len(peer):,} rows"
