"""The history that `make run` simulates: what is in it, and what becomes of one that is already there."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml.errors import SourceError
from ml.settings import Settings
from ml.sources.simulator import History, simulate, write_history
from ml.stages.simulation import WORLD, simulated_folder, write_simulation
from tests.ml.sources.simulator_builders import SMALL, digests


@pytest.fixture(scope="module")
def shipped() -> History:
    return simulate(WORLD)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, seed=SMALL.seed)


@pytest.mark.slow
def test_the_shipped_history_is_over_and_has_the_failures_that_every_model_needs(shipped: History) -> None:
    assert shipped.runs["started_at"].max() < datetime(2026, 1, 1, tzinfo=UTC)  # a row of the future is refused
    executed = shipped.runs.loc[shipped.runs["finished_at"].notna() & (shipped.runs["attempt"] == 1)]
    assert 0.25 < (executed["status"] == "failure").mean() < 0.42
    failing = shipped.failures.groupby("state")["run_id"].nunique()
    assert failing["regression"] > 250
    assert failing["flaky"] > 120
    assert 0.0005 < (shipped.failures["state"] == "flaky").sum() / len(shipped.test_results) < 0.015


def test_the_history_of_the_seed_is_left_as_an_earlier_release_wrote_it(settings: Settings) -> None:
    write_history(simulate(replace(SMALL, run_count=3)), simulated_folder(settings))
    before = digests(settings.home)
    assert write_simulation(settings) == simulated_folder(settings)
    assert digests(settings.home) == before


@pytest.mark.slow
def test_without_a_history_that_of_the_seed_is_written_and_another_seed_is_refused(settings: Settings) -> None:
    folder = write_simulation(settings)
    assert len(list(folder.glob("run-?????"))) == WORLD.run_count + WORLD.announced_count
    with pytest.raises(SourceError, match="differs in seed"):
        write_simulation(settings.model_copy(update={"seed": SMALL.seed + 1}))
