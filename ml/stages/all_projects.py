"""The histories of all projects as one: frames of several projects joined, and taken apart again.

Run ids of two projects may be the same, so a joined frame names a run by project and id.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import quote

import pandas as pd

from ml.spec import ALL_PROJECTS

# Of each project the newest whole runs with no more rows than these: a large one must neither drown the others nor
# make the joined frame outgrow the machine.
MAX_ROWS = 200_000


def joined(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Feature frames of different projects as one, in the order of time, each bounded by `MAX_ROWS`.

    Args:
        frames: grain (project, run_id, variant, test_id), one project each, ordered by started_at and run_id.

    Returns:
        the same columns; run_id is `run_key`, so the grain is (run_id, variant, test_id) again.
    """
    parts = [_newest(frame) for frame in frames]
    filled = [part.assign(run_id=_keys(part)) for part in parts if len(part)] or parts[:1]
    together = pd.concat(filled, ignore_index=True)
    return together.sort_values("started_at", kind="stable", ignore_index=True)


def apart(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each project of a joined frame with its rows, run ids as in the lake."""
    for project, rows in frame.groupby("project", sort=True):
        start = len(run_key(str(project), ""))
        yield str(project), rows.assign(run_id=rows["run_id"].str[start:])


def run_key(project: str, run_id: str) -> str:
    """Name of a run among those of all projects; two runs never share one, for a quoted project has no slash."""
    return f"{quote(project, safe='')}/{run_id}"


def words_of(project: str) -> str:
    """A project in words, also the one that stands for all."""
    return "all projects (the shared model)" if project == ALL_PROJECTS else project


def _keys(rows: pd.DataFrame) -> "pd.Series[str]":
    return run_key(str(rows["project"].iloc[0]), "") + rows["run_id"]


def _newest(rows: pd.DataFrame) -> pd.DataFrame:
    """The newest whole runs that fit into `MAX_ROWS`, the newest one in any case; runs of one start stay together."""
    if len(rows) <= MAX_ROWS:
        return rows
    start = rows["started_at"]
    later = start.iloc[len(rows) - MAX_ROWS - 1]  # begins a run that does not fit as a whole
    border = min(later, start.iloc[-1] - pd.Timedelta(microseconds=1))
    kept: pd.DataFrame = rows.loc[start > border]
    return kept
