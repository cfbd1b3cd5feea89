"""Recorded payloads of Apache Ozone, replayed."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml.sources import Surroundings
from ml.sources.ci_server import CiServer
from ml.sources.github import runs as github_runs
from ml.spec import Interval
from tests.ml.sources.github.collecting import LIMITS, Rows, assert_same, collect, opened, rows
from tests.ml.sources.github.server import (
    GitHubServer,
    replay,
)

pytestmark = pytest.mark.slow


SHARED = Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[5] / "shared" / "data"))


RECORDED = SHARED / "github_payloads" / "ozone-2022-02-03.tar.xz"


@pytest.fixture(scope="module")
def recorded() -> Iterator[GitHubServer]:
    if not RECORDED.is_file():
        pytest.skip("FOURGATE_REAL_DATA holds no github_payloads")
    with GitHubServer("apache/ozone", listed_at_most=100) as server:
        assert replay(server, RECORDED) == 249
        yield server


SPRING = Interval(datetime(2022, 2, 1, tzinfo=UTC), datetime(2022, 4, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def whole(recorded: GitHubServer, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(github_runs, "LISTED_AT_MOST", 100)
        return rows(collect(recorded, tmp_path_factory.mktemp("whole"), SPRING))


def test_recorded_runs_come_whole_in_spite_of_the_cap(recorded: GitHubServer, whole: Rows) -> None:
    assert set(whole["runs"]["run_id"]) == {str(number) for number in recorded.runs}
    assert whole["runs"]["finished_at"].notna().all()
    assert len(whole["changed_files"]) == sum(run["event"] == "push" for run in recorded.runs.values())
    assert len(whole["test_results"]) > 100
    assert set(whole["test_results"]["outcome"]) == {"passed", "failed", "error", "skipped"}
    with_reports = {str(run) for run, listed in recorded.artifacts.items() if listed}
    assert set(whole["test_results"]["run_id"]) == with_reports


def test_recorded_runs_in_pieces_with_faults_give_the_same_rows(
    recorded: GitHubServer, whole: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_runs, "LISTED_AT_MOST", 100)
    start, week = datetime(2022, 2, 1, tzinfo=UTC), timedelta(days=7)
    weeks = [Interval(start + number * week, min(start + (number + 1) * week, SPRING.end)) for number in range(9)]
    recorded.faults = ["", "", "500", "", "cut", "", "", "429"] * 200
    assert_same(rows(collect(recorded, tmp_path, *weeks)), whole)
    recorded.faults = []


def test_recorded_runs_after_a_kill_and_from_the_start_give_the_same_rows(
    recorded: GitHubServer, whole: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_runs, "LISTED_AT_MOST", 100)
    with opened(recorded) as actions:
        killed = CiServer(actions, Surroundings(tmp_path, LIMITS)).fetch(SPRING)
        landed = next(killed)
        killed.close()
    batches = collect(recorded, tmp_path, SPRING)
    assert landed in batches
    assert_same(rows([landed, *batches]), whole)
