"""What is asked of the features: which rows, with which choices, of which engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pandas as pd
import pyarrow as pa

from ml.spec import Interval

NEXT_RUN = "next"


class Engine(Protocol):
    """What features need of a query engine; `ml.engine.Engine` is one."""

    def alongside(self) -> "Engine":
        """The same tables and views for a second thread, which may run statements while the first one does."""

    def lend_thread(self) -> None:
        """Leave one of the engine's threads, if it has several, to a second one of the caller."""

    def register_frame(self, name: str, table: pa.Table) -> None:
        """Copy an Arrow table into the temporary table `name`."""

    def store(self, name: str, select: str) -> None:
        """Compute `select` into the temporary table `name`."""

    def fetch(self, sql: str) -> pd.DataFrame:
        """Result of `sql`."""

    def coded(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Columns of a table or view, texts as Arrow dictionaries."""

    def latest_before(self, facts: str, queries: str, keys: Sequence[str]) -> str:
        """FROM clause that pairs each query ``q`` with the latest fact ``f`` known strictly before it."""


@dataclass(frozen=True)
class Context:
    """Choices that features depend on.

    Attributes:
        outage_share: A run with a larger share (0..1) of failed results tells nothing about its change.
        alive_runs: A test counts as known while it was executed in this many latest runs of its variant.
        max_files: Larger changes tell nothing about single files.
        author_features: Whether features look at who wrote a change.
    """

    outage_share: float = 0.5
    alive_runs: int = 50
    max_files: int = 200
    author_features: bool = True


@dataclass(frozen=True)
class Queries:
    """Which rows to compute features for. Make one with `training` or `prediction`."""

    project: str
    interval: Interval
    as_of: datetime | None = None
    runs: pd.DataFrame | None = None
    changed_files: pd.DataFrame | None = None
    max_rows: int = 0

    @classmethod
    def training(
        cls, project: str, interval: Interval | None = None, as_of: datetime | None = None, max_rows: int = 0
    ) -> "Queries":
        """Every merged result of the runs that start in `interval` (all when None), labelled as known at `as_of`.

        Where that would be more than `max_rows` (0: no bound), the results of runs drawn from those that are known at
        `as_of`: see `ml.features.sampling`.
        """
        return cls(project, interval or Interval(), as_of, max_rows=max_rows)

    @classmethod
    def prediction(
        cls, project: str, runs: pd.DataFrame, as_of: datetime, changed_files: pd.DataFrame | None = None
    ) -> "Queries":
        """Every known test for each given run, and for the next run (run_id ``next``, history only).

        Args:
            project: Name of the project.
            runs: One row per run: run_id, started_at; event, branch, workflow, change_id, change_title, author_id where
                known. What is missing is taken from the run of that id in the history.
            as_of: Facts known later than this never count; the next run starts right after it.
            changed_files: run_id, path, added, deleted of given runs; None takes those of the history.
        """
        return cls(project, Interval(), as_of, runs, changed_files)
