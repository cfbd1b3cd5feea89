"""Failures labelled from lake files: `ml.labels` on DuckDB, two threads, against plain pandas."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from deltalake import DeltaTable

from benchmarks.histories import TABLES, sized, to_lake
from benchmarks.pairing import Contender, Pairing, Unequal
from benchmarks.plain_pandas.failures import EVIDENCE, KEYS, failures
from ml.engine import open_engine
from ml.labels import label
from ml.labels.evidence import collect
from ml.lake import Lake

TOLERANCE = 1e-12
THREADS = 2
HINDSIGHT = datetime(2100, 1, 1, tzinfo=UTC)
READ = {
    "runs": ["run_id", "started_at", "event", "branch", "change_id", "commit_sha"],
    "test_results": ["run_id", "attempt", "variant", "test_id", "outcome"],
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
        ours=Contender(f"DuckDB SQL, {THREADS} threads", lambda: partial(_ours, lake, versions, project)),
        peer=Contender("plain pandas", lambda: partial(_pandas, folder)),
        check=partial(_check, lake, versions, project),
        note="ours also relates failures and passes to changed files, and weighs the evidence; the peer has one thread",
    )


def _ours(lake: Lake, versions: dict[str, int], project: str) -> pd.DataFrame:
    with open_engine("duckdb", threads=THREADS) as engine:
        for name in TABLES:
            engine.register_files(name, lake.files(name, versions[name], project), lake.schema(name, versions[name]))
        return label(engine, project, HINDSIGHT)


def _pandas(folder: Path) -> pd.DataFrame:
    return failures(*(DeltaTable(str(folder / name)).to_pandas(columns=columns) for name, columns in READ.items()))


def _check(lake: Lake, versions: dict[str, int], project: str, ours: pd.DataFrame, peer: pd.DataFrame) -> str:
    """A label holds no numbers: what it was judged by is collected once more."""
    with open_engine("duckdb", threads=THREADS) as engine:
        for name in TABLES:
            engine.register_files(name, lake.files(name, versions[name], project), lake.schema(name, versions[name]))
        evidence = collect(engine, HINDSIGHT)
    if not (ours[KEYS].equals(peer[KEYS]) and evidence[KEYS].equals(peer[KEYS])):
        raise Unequal(f"{len(ours)} failures against {len(peer)}, other keys, or another order")
    for name in EVIDENCE:
        one, other = evidence[name].to_numpy(np.float64), peer[name].to_numpy(np.float64)
        differs = ~np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        if differs.any():
            at = int(np.flatnonzero(differs)[0])
            place = " ".join(peer.loc[at, KEYS])
            raise Unequal(f"{name}: {differs.sum()} failures, first {place}: ours {one[at]!r}, peer {other[at]!r}")
    return f"{len(EVIDENCE)} pieces of evidence about {len(ours):,} failures, in order, within {TOLERANCE:g}"
