"""Simulated histories as frames, and as a lake."""

from functools import cache
from pathlib import Path

import pandas as pd

from ml.lake import Lake
from ml.sources.simulator import History, World, simulate

TABLES = ("runs", "test_results", "changed_files")
PROJECT = World().project


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
