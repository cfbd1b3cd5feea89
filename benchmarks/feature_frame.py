"""Lake files to feature frame: every feature by `ml.features` on DuckDB and NumPy against plain pandas."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from deltalake import DeltaTable

from benchmarks import plain_pandas
from benchmarks.histories import TABLES, sized, to_lake
from benchmarks.pairing import Contender, Pairing, Unequal
from ml.engine import open_engine
from ml.features import Context, Queries, build
from ml.lake import Lake
from ml.schemas import FEATURES

TOLERANCE = 1e-9
THREADS = 2
READ = {
    "runs": ["run_id", "started_at", "finished_at", "event", "branch", "change_id", "change_title", "author_id"],
    "test_results": [*plain_pandas.KEYS, "outcome", "duration_s", "failure_kind", "failure_fingerprint"],
    "changed_files": ["run_id", "path", "added", "deleted"],
}


def pairings(quick: bool, scratch: Path) -> Iterator[Pairing]:
    """One per history."""
    for number, (family, project, tables) in enumerate(sized(quick)):
        yield _pairing(family, project, tables, scratch / f"lake-{number}")


def _pairing(family: str, project: str, tables: dict[str, pd.DataFrame], folder: Path) -> Pairing:
    lake, versions = to_lake(tables, folder)
    return Pairing(
        family=family,
        size=f"{len(tables['runs']):,} runs",
        count=len(tables["test_results"]),
        unit="results",
        ours=Contender(f"DuckDB SQL and NumPy, {THREADS} threads", lambda: partial(_ours, lake, versions, project)),
        peer=Contender("plain pandas", lambda: partial(_pandas, folder)),
        check=_check,
        note="the peer uses one thread, as pandas does, and the same functions to cut names into words",
    )


def _ours(lake: Lake, versions: dict[str, int], project: str) -> pd.DataFrame:
    with open_engine("duckdb", threads=THREADS) as engine:
        for name in TABLES:
            engine.register_files(name, lake.files(name, versions[name], project), lake.schema(name, versions[name]))
        return build(engine, Queries.training(project), Context())


def _pandas(folder: Path) -> pd.DataFrame:
    return plain_pandas.features(*(DeltaTable(str(folder / name)).to_pandas(columns=READ[name]) for name in TABLES))


def _check(ours: pd.DataFrame, peer: pd.DataFrame) -> str:
    keys = plain_pandas.KEYS
    if not ours[keys].equals(peer[keys]):
        raise Unequal(f"{len(ours)} rows against {len(peer)}, other keys, or another order")
    for name in FEATURES:
        one, other = ours[name].to_numpy(np.float64), peer[name].to_numpy(np.float64)
        differs = ~np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        if differs.any():
            at = int(np.flatnonzero(differs)[0])
            place = " ".join(ours.loc[at, keys])
            raise Unequal(f"{name}: {differs.sum()} rows, first {place}: ours {one[at]!r}, peer {other[at]!r}")
    return f"{len(FEATURES)} features x {len(ours):,} rows, in order, within {TOLERANCE:g}"
