"""What a source is told of the lake: attempts to every kind, commits to those that ask."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from ml.lake import FIRST_VERSIONS, Lake
from ml.sources import Known
from ml.sources.git.source import Options
from ml.sources.source import SourceOptions
from ml.spec import Interval, Snapshot
from ml.stages.knowing import known
from tests.lake_builders import NOON, files, runs
from tests.ml.lake.test_commits import TWO

ALWAYS = Interval()
GIT = Options(project="shop", url="/srv/shop.git")
SERVER = SourceOptions(project="shop", url="https://ci.example.org")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path / "lake"))
    made.create()
    return made


def named(lake: Lake, *frames: pd.DataFrame, **others: pd.DataFrame) -> Snapshot:
    """The snapshot after these runs and other rows."""
    versions = lake.append({"runs": pd.concat(frames, ignore_index=True), **others}, "b1", 1, FIRST_VERSIONS).versions
    return Snapshot(1, versions, NOON)


def test_runs_without_files_are_told_with_the_commit_of_their_first_attempt(lake: Lake) -> None:
    first = runs(("r1", "2026-01-01T00:00:00Z"), ("r2", "2026-01-01T00:00:00Z")).assign(commit_sha=["a1", "b2"])
    second = runs(("r1", "2026-01-02T00:00:00Z"), attempt=2).assign(commit_sha="c3")
    unnamed = runs(("r3", "2026-01-01T00:00:00Z")).assign(commit_sha=None)
    other = runs(("r4", "2026-01-01T00:00:00Z"), project="depot")
    head = named(lake, second, first, unnamed, other, changed_files=files(("r2", "a.py")), commits=TWO)
    found = known(lake, head, GIT, ALWAYS)
    assert found == Known({("r1", 1), ("r1", 2), ("r2", 1), ("r3", 1)}, {"r1": "a1"}, {"a1", "b2"})
    assert known(lake, head, SERVER, ALWAYS) == Known(found.attempts)


def test_runs_outside_of_the_span_are_not_told(lake: Lake) -> None:
    days = [(f"r{day}", f"2026-01-0{day}T00:00:00Z") for day in (1, 2, 3)]
    span = Interval(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))
    assert known(lake, named(lake, runs(*days)), GIT, span).commits == {"r2": "c0ffee"}


def test_nothing_is_known_of_an_empty_lake_and_a_snapshot_of_an_earlier_release_has_no_commits(lake: Lake) -> None:
    assert known(lake, None, GIT, ALWAYS) == Known()
    head = named(lake, runs(("r1", "2026-01-01T00:00:00Z")), commits=TWO)
    older = {table: version for table, version in head.versions.items() if table != "commits"}
    found = known(lake, Snapshot(1, older, NOON), GIT, ALWAYS)
    assert (found.commits, found.landed) == ({"r1": "c0ffee"}, frozenset())
