"""Simulated histories as frames, and as a lake."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd

from ml.lake import Lake
from ml.schemas import RejectedRows, columns
from ml.sources.simulator import History, World, simulate
from ml.spec import Batch
from ml.validation import validate

TABLES = ("runs", "test_results", "changed_files")
PROJECT = World().project
REAL_PROJECT = "apache/ozone"


@cache
def history(run_count: int) -> History:
    """The default world with so many runs and none announced."""
    return simulate(World(run_count=run_count, announced_count=0))


def frames(run_count: int) -> dict[str, pd.DataFrame]:
    """Its three tables, in the types of their contracts."""
    simulated = history(run_count)
    return {name: getattr(simulated, name) for name in TABLES}


def to_lake(tables: dict[str, pd.DataFrame], folder: Path) -> tuple[Lake, dict[str, int]]:
    """A new lake with one batch in it, and the versions of its tables."""
    lake = Lake(str(folder))
    appended = lake.append(tables, "first", 1, lake.create())
    return lake, dict(appended.versions)


def sized(quick: bool) -> Iterator[tuple[str, str, dict[str, pd.DataFrame]]]:
    """Family, project and tables of simulated histories of two sizes, and of Apache Ozone's where it is at hand."""
    for run_count in (20, 40) if quick else (300, 1200):  # fewer runs have no failures to look back at
        yield "simulated", PROJECT, frames(run_count)
    real = None if quick else real_frames()
    if real is not None:
        yield "ozone", REAL_PROJECT, real


def real_frames(name: str = "ozone") -> dict[str, pd.DataFrame] | None:
    """A real history in the folder that FOURGATE_REAL_DATA names; None where there is none."""
    folder = Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data")) / name
    if not folder.is_dir():
        return None
    tables = {table: pd.read_parquet(folder / f"{table}.parquet").assign(project=REAL_PROJECT) for table in TABLES}
    batch = Batch(name, "tables", REAL_PROJECT, "", 1)
    now = tables["runs"]["started_at"].max() + pd.Timedelta(days=1)
    return validate(tables, pd.DataFrame(columns=columns(RejectedRows)), batch, now.to_pydatetime()).accepted
