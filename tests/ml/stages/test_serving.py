"""Which changes are published: those that wait for results at that moment, and in a replay the newest runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from ml.errors import NotEnoughData
from ml.models import load_model
from ml.settings import Settings
from ml.spec import ALL_PROJECTS
from ml.stages import collection, fetching, serving
from ml.stages.opening import head, learners, open_warehouse
from ml.stages.serving import _runs_to_publish
from tests.history_builders import write_run
from tests.postgres import Postgres

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC, PROJECT = load_model("test_selection"), "p"


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    """A collected history of four runs without results, one per hour from eight o'clock on."""
    history = tmp_path / "history"
    finishes = {"finished": "2026-01-01T08:30:00Z", "later": "2026-01-01T13:00:00Z", "waiting": None, "future": None}
    for (name, finished), hour in zip(finishes.items(), (8, 9, 10, 13), strict=True):
        write_run(history / name, name, f"2026-01-01T{hour:02}:00:00Z", finished_at=finished)
    settings = Settings(
        home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn), clock="wall", publish_runs=1
    )
    batches = fetching.fetch_history(settings, str(history))
    collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])
    return settings


def published(settings: Settings) -> list[str]:
    with open_warehouse(settings) as warehouse:
        snapshot = head(warehouse)
    return _runs_to_publish(settings, SPEC, PROJECT, snapshot, NOW)["run_id"].tolist()


def test_a_run_that_had_finished_without_results_does_not_wait_for_them(settings: Settings) -> None:
    assert published(settings) == ["later", "waiting"]


def test_a_replay_adds_the_newest_of_the_other_runs_in_order(settings: Settings) -> None:
    assert published(settings.model_copy(update={"clock": "history"})) == ["finished", "later", "waiting"]


def test_a_run_whose_results_never_come_stops_waiting_after_a_week(settings: Settings) -> None:
    with open_warehouse(settings) as warehouse:
        snapshot = head(warehouse)
    later = NOW + timedelta(days=7)
    assert _runs_to_publish(settings, SPEC, PROJECT, snapshot, later - timedelta(hours=2))["run_id"].tolist() == [
        "future"
    ]
    assert _runs_to_publish(settings, SPEC, PROJECT, snapshot, later + timedelta(hours=2)).empty


def test_of_too_many_waiting_changes_the_newest_are_published_and_the_rest_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "MAX_ANNOUNCED", 1)
    assert published(settings) == ["waiting"]
    assert "p: 2 changes wait for results, the newest 1 are published" in caplog.text


def test_one_project_has_nothing_to_share(settings: Settings) -> None:
    assert learners(settings) == learners(settings, PROJECT) == [PROJECT]
    with pytest.raises(NotEnoughData, match="learns from two projects with runs or more; 1 in the lake"):
        learners(settings, ALL_PROJECTS)
    with pytest.raises(NotEnoughData, match="or more; FOURGATE_SHARED_MODEL is off"):
        learners(settings.model_copy(update={"shared_model": False}), ALL_PROJECTS)
    with pytest.raises(NotEnoughData, match="'q' is not in the lake; there are: p"):
        learners(settings, "q")
