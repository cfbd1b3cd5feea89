"""Collects from a CI server through landing, as the stage does, and compares what was accepted."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from ml.sources import Known, Limits, Surroundings, read_batch
from ml.sources.ci_server import CiServer, Server
from ml.sources.source import RunAttempt
from ml.spec import Interval
from tests.ml.sources.junit_builders import joined

LIMITS = Limits(max_payload_bytes=10_000_000, author_salt="salt")


@dataclass
class Collected:
    """Rows of all batches, in the order in which they came."""

    frames: dict[str, pd.DataFrame]
    refused: pd.DataFrame

    @property
    def run_ids(self) -> list[str]:
        return list(self.frames["runs"]["run_id"])

    @property
    def known(self) -> frozenset[RunAttempt]:
        runs = self.frames["runs"]
        return frozenset(zip(runs["run_id"], runs["attempt"], strict=True))

    @property
    def results(self) -> list[tuple[str, str, str, str]]:
        frame = self.frames["test_results"]
        columns = [frame[name].astype(str) for name in ("run_id", "variant", "test_id", "outcome")]
        return sorted(zip(*columns, strict=True))

    @property
    def reasons(self) -> list[str]:
        return sorted(self.refused["reason"])

    def rows(self, name: str) -> list[str]:
        """Rows of a table as text, in one order whatever the batches."""
        frame = self.frames[name].astype(object)
        return sorted(str(row) for row in frame.itertuples(index=False, name=None))


def collect(
    server: Server,
    landing: Path,
    spans: Sequence[Interval] = (Interval(),),
    known: Set[RunAttempt] = frozenset(),
    limits: Limits = LIMITS,
) -> Collected:
    source = CiServer(server, Surroundings(landing, limits, Known(known)))
    parsed = [read_batch(batch, limits) for span in spans for batch in source.fetch(span)]
    if not parsed:
        empty = pd.DataFrame({"run_id": [], "attempt": [], "reason": []})
        return Collected({"runs": empty, "test_results": empty, "changed_files": empty}, empty)
    frames = {name: joined([one.frames[name] for one in parsed]) for name in parsed[0].frames}
    return Collected(frames, joined([one.refused for one in parsed]))


def same(one: Collected, other: Collected) -> bool:
    """Whether both hold the same accepted rows."""
    return all(one.rows(name) == other.rows(name) for name in one.frames)


def day(number: int) -> datetime:
    """Midnight of a day of March 2026."""
    return datetime(2026, 3, number, tzinfo=UTC)
