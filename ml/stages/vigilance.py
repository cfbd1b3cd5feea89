"""Whether projects still come in as they use to: a source that dries up is an alert, not a row of empty successes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.errors import SourceError
from ml.settings import Settings
from ml.sources import PUSH, SourceOptions, configured
from ml.stages.contracts import require_contracts
from ml.stages.opening import open_lake, open_warehouse

WEEK = timedelta(days=7)
WEEKS = 4  # before the last one; fewer say nothing about what is usual
DEFAULTS = SourceOptions.model_validate({"project": "any", "url": ""})


@dataclass(frozen=True, slots=True)
class _Watched:
    name: str
    project: str
    options: SourceOptions


def require_health(settings: Settings, references: Sequence[Mapping[str, Any]], as_of: datetime) -> None:
    """What a collection ends with; see `ml.stages.contracts.require_contracts` and `require_life`."""
    require_contracts(references)
    require_life(settings, as_of)


def require_life(settings: Settings, as_of: datetime) -> None:
    """Complain about projects that bring far fewer runs than they use to, or, where CI jobs push them, none.

    A configured server that is silent is told when it is asked; see `ml.stages.fetching`.

    Raises:
        SourceError: names each project with what it brought and what is usual.
    """
    complaints = list(_complaints(settings, as_of))
    if complaints:
        raise SourceError("; ".join(complaints))


def _complaints(settings: Settings, as_of: datetime) -> Iterator[str]:
    with open_warehouse(settings) as warehouse:
        head = warehouse.head()
        pushed = warehouse.arrivals(PUSH)
    if head is None:
        return
    watched = [
        _Watched(name, one.options.project, one.options)
        for name, one in configured.load(settings.sources).items()
        if one.options.brings_runs
    ]
    watched += [_Watched(PUSH, project, DEFAULTS) for project in pushed]
    lake = open_lake(settings)
    for one in watched:
        started = lake.read("runs", head.versions["runs"], one.project, ["started_at"])["started_at"]
        yield from _thin(one, started.to_numpy().astype("datetime64[us]"), as_of)
    for project, last in pushed.items():
        if as_of - last > timedelta(days=DEFAULTS.silent_days):
            yield f"nothing of {project} was pushed since {last:%Y-%m-%d} UTC; do its CI jobs still `fourgate upload`?"


def _thin(one: _Watched, started: npt.NDArray[np.datetime64], as_of: datetime) -> Iterator[str]:
    """A complaint if the last week was thin; none before there are `WEEKS` others to compare with."""
    ages = np.datetime64(as_of.replace(tzinfo=None), "us") - started
    weeks = ages[ages >= np.timedelta64(0)] // np.timedelta64(WEEK)
    counts = np.bincount(weeks, minlength=WEEKS + 1)
    usual = median(counts[1 : WEEKS + 1])
    if len(counts) > WEEKS + 1 and counts[0] < one.options.least_share * usual:
        yield (
            f"{one.name} brought {counts[0]} runs of {one.project} in the last 7 days, a usual week has {usual:g}; see "
            f"`fourgate source test {one.name}`, or lower its least_share (now {one.options.least_share:g})"
        )
