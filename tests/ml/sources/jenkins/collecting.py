"""What tests of Jenkins share."""

from collections.abc import Callable
from typing import Any

from ml.sources.jenkins.server import Jenkins
from ml.spec import Interval
from tests.ml.sources.jenkins.server import (
    ROOT,
)
from tests.ml.sources.server_builders import Collected, day

Open = Callable[..., Jenkins]


DAYS = [Interval(day(number), day(number + 1)) for number in (1, 2, 3)]


MAIN = f"{ROOT}/job/main"


START = "2026-03-01T08:00:00+00:00"


def run_row(collected: Collected, run_id: str) -> dict[str, Any]:
    runs = collected.frames["runs"].astype(object)
    row: dict[str, Any] = runs[runs["run_id"] == run_id].iloc[0].to_dict()
    return row
