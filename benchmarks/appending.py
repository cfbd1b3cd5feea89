"""A batch into the lake: `Lake.append` against `write_deltalake` alone on equal tables."""

import shutil
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from benchmarks.histories import TABLES, frames, to_lake
from benchmarks.pairing import Contender, Pairing, Unequal, Work
from ml.lake import Lake
from ml.schemas import KEYS

RUNS = 1_200
QUICK_RUNS = 40
FIRST_SHARE = 0.8
Frames = dict[str, pd.DataFrame]


def pairings(quick: bool, scratch: Path) -> Iterator[Pairing]:
    """A history into an empty lake, and its last fifth into a lake that holds the rest."""
    whole = frames(QUICK_RUNS if quick else RUNS)
    split = whole["runs"]["started_at"].quantile(FIRST_SHARE)
    later = set(whole["runs"].groupby("run_id")["started_at"].min().loc[lambda starts: starts > split].index)
    parts = {
        is_later: {name: table[table["run_id"].isin(later) == is_later] for name, table in whole.items()}
        for is_later in (False, True)
    }
    empty, filled = scratch / "empty", scratch / "filled"
    bases = {empty: Lake(str(empty)).create(), filled: to_lake(parts[False], filled)[1]}
    copies = count()
    for family, base, batch in (("first batch", empty, whole), ("next batch", filled, parts[True])):
        rows = sum(len(table) for table in batch.values())
        prepared = _with_day(batch)
        yield Pairing(
            family=family,
            size=f"{rows:,} rows",
            count=rows,
            unit="rows",
            ours=Contender("Lake.append", partial(_ours, base, bases[base], batch, copies)),
            peer=Contender("write_deltalake", partial(_peer, base, prepared, copies)),
            check=_check,
            note="ours also finds the day of each row, repeats, contradictions and orphans, and fences other writers",
        )


def _copy(base: Path, copies: "count[int]") -> Path:
    folder = base.with_name(f"{base.name}-{next(copies)}")
    shutil.copytree(base, folder)
    return folder


def _ours(base: Path, versions: dict[str, int], batch: Frames, copies: "count[int]") -> Work:
    folder = _copy(base, copies)

    def work() -> Path:
        Lake(str(folder)).append(batch, "batch", 2, versions)
        return folder

    return work


def _peer(base: Path, batch: Frames, copies: "count[int]") -> Work:
    folder = _copy(base, copies)
    schemas = {name: Lake(str(folder)).schema(name) for name in batch}

    def work() -> Path:
        for name, table in batch.items():
            rows = pa.Table.from_pandas(table, schema=schemas[name], preserve_index=False)
            write_deltalake(DeltaTable(str(folder / name)), rows, mode="append")
        return folder

    return work


def _with_day(batch: Frames) -> Frames:
    """What the peer need not find out: each row's partition."""
    runs = batch["runs"].assign(day=batch["runs"]["started_at"].dt.strftime("%Y-%m-%d"))
    days = {
        "runs": runs["day"],
        "test_results": batch["test_results"].merge(runs, on=["run_id", "attempt"], how="left")["day"],
        "changed_files": batch["changed_files"]["run_id"].map(runs.groupby("run_id")["day"].min()),
    }
    return {name: table.assign(batch_id="batch", day=days[name].to_numpy()) for name, table in batch.items()}


def _check(ours: Path, peer: Path) -> str:
    rows = 0
    for name in TABLES:
        one, other = (_sorted(folder, name) for folder in (ours, peer))
        if not one.equals(other):
            raise Unequal(f"{name}: {one.num_rows} rows by ours, {other.num_rows} by the peer, or other values")
        rows += one.num_rows
    return f"{rows:,} rows equal in three tables"


def _sorted(folder: Path, name: str) -> pa.Table:
    lake = Lake(str(folder))
    rows = lake.read(name, lake.versions()[name])
    return rows.sort_by([(key, "ascending") for key in KEYS[name]]).combine_chunks()
