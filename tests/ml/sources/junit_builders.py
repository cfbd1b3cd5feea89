"""Collects a folder of runs through landing, as the stage does."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ml.sources import Limits, read_batch
from ml.sources.junit import JUnit
from ml.spec import Batch, Interval

LIMITS = Limits(max_payload_bytes=10_000, author_salt="salt")


@dataclass
class Read:
    """Everything that a fetch of all batches gave."""

    batches: list[Batch]
    frames: dict[str, pd.DataFrame]
    refused: pd.DataFrame

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return sorted(zip(self.refused["reason"], self.refused["payload"], strict=True))

    @property
    def run_ids(self) -> list[str]:
        return list(self.frames["runs"]["run_id"])

    @property
    def results(self) -> list[tuple[str, str, str]]:
        frame = self.frames["test_results"]
        return sorted(zip(frame["run_id"], frame["variant"], frame["test_id"], strict=True))


def collect(history: Path, interval: Interval | None = None, limits: Limits = LIMITS) -> Read:
    source = JUnit(history, history.parent / "landing", limits)
    batches = list(source.fetch(interval or Interval()))
    parsed = [read_batch(batch, limits) for batch in batches]
    frames = {name: joined([one.frames[name] for one in parsed]) for name in parsed[0].frames}
    return Read(batches, frames, joined([one.refused for one in parsed]))


def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    # pandas warns about empty frames in a concatenation.
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
