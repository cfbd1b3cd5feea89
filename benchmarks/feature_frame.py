"""Lake files to feature frame: `ml.features` on DuckDB against plain pandas, on one thread each."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from deltalake import DeltaTable

from benchmarks import plain_pandas
from benchmarks.histories import PROJECT, TABLES, frames, to_lake
from benchmarks.pairing import Contender, Pairing, Unequal
from ml.engine import Engine, open_engine
from ml.features import Context, Queries, build, facts, test_history
from ml.lake import Lake
from ml.schemas import FEATURES

TOLERANCE = 1e-9
SIZES = (300, 1200)
QUICK_SIZES = (20, 40)  # fewer runs have no failures to look back at
HISTORY_COLUMNS = ", ".join(f"CAST({text} AS DOUBLE) AS {name}" for name, text in test_history.COLUMNS.items())


def pairings(quick: bool, scratch: Path) -> Iterator[Pairing]:
    """All our features, then the history group alone, against the 20 history features in pandas."""
    for run_count in QUICK_SIZES if quick else SIZES:
        folder = scratch / f"lake-{run_count}"
        lake, versions = to_lake(frames(run_count), folder)
        peer = Contender(
            f"plain pandas, {len(plain_pandas.FEATURES)} history features",
            lambda folder=folder: partial(_pandas, folder),
        )
        count = len(_pandas(folder))
        for family, work, told in (
            ("all features", _everything, f"DuckDB SQL, all {len(FEATURES)} features"),
            ("history features", _history_group, f"DuckDB SQL, {len(test_history.COLUMNS)} history features"),
        ):
            yield Pairing(
                family=family,
                size=f"{run_count:,} runs",
                count=count,
                unit="feature rows",
                ours=Contender(told, lambda work=work, lake=lake, versions=versions: partial(work, lake, versions)),
                peer=peer,
                check=_check,
                note="the peer reads two of the three tables and computes neither ranks, change, pair nor run features",
            )


def _everything(lake: Lake, versions: dict[str, int]) -> pd.DataFrame:
    with _opened(lake, versions) as engine:
        return build(engine, Queries.training(PROJECT), Context())


def _history_group(lake: Lake, versions: dict[str, int]) -> pd.DataFrame:
    """What `build` does for the history group, without the other groups."""
    with _opened(lake, versions) as engine:
        facts.prepare(engine, Queries.training(PROJECT), Context())
        test_history.prepare(engine)
        return engine.fetch(
            f"SELECT r.run_id, s.variant, s.test_id, {HISTORY_COLUMNS} FROM history AS h "
            "JOIN query_run AS r ON r.query_no = h.query_no JOIN series AS s ON s.series_no = h.series_no"
        )


@contextmanager
def _opened(lake: Lake, versions: dict[str, int]) -> Iterator[Engine]:
    with open_engine("duckdb", threads=1) as engine:
        for name in TABLES:
            engine.register_files(name, lake.files(name, versions[name], PROJECT), lake.schema(name, versions[name]))
        yield engine


def _pandas(folder: Path) -> pd.DataFrame:
    runs = DeltaTable(str(folder / "runs")).to_pandas(columns=["run_id", "started_at", "finished_at"])
    results = DeltaTable(str(folder / "test_results")).to_pandas(columns=[*plain_pandas.KEYS, "outcome", "duration_s"])
    return plain_pandas.history_features(runs, results)


def _check(ours: pd.DataFrame, peer: pd.DataFrame) -> str:
    keys = plain_pandas.KEYS
    ours, peer = (frame.sort_values(keys, ignore_index=True) for frame in (ours, peer))
    if not ours[keys].equals(peer[keys]):
        raise Unequal(f"{len(ours)} rows against {len(peer)}, or other keys")
    for name in plain_pandas.FEATURES:
        one, other = ours[name].to_numpy(np.float64), peer[name].to_numpy(np.float64)
        differs = ~np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        if differs.any():
            at = int(np.flatnonzero(differs)[0])
            place = " ".join(ours.loc[at, keys])
            raise Unequal(f"{name}: {differs.sum()} rows, first {place}: ours {one[at]!r}, peer {other[at]!r}")
    return f"{len(plain_pandas.FEATURES)} features x {len(ours):,} rows within {TOLERANCE:g}"
