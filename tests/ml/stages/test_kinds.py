"""What kind a failure is told to be in reports: from the snapshot and the moment of the training."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from pydantic import SecretStr

from ml.settings import Settings
from ml.spec import ALL_PROJECTS
from ml.stages import collection, fetching
from ml.stages.all_projects import run_key
from ml.stages.kinds import with_kinds
from ml.stages.opening import head, open_warehouse
from ml.stages.recipe import Recipe, choices
from tests.history_builders import write_report, write_run
from tests.postgres import Postgres

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    """Three runs of one commit: the test t passes, fails, and passes."""
    settings = Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn))
    for number, outcome in enumerate("pfp"):
        day = f"2026-01-{number + 1:02d}"
        about = {"finished_at": f"{day}T00:30:00Z", "commit_sha": "c", "branch": "main"}
        run = write_run(tmp_path / "history" / f"r{number}", f"r{number}", f"{day}T00:00:00Z", **about)
        for test in "tuvwx":
            write_report(run / "linux" / f"{test}.xml", test, failed=test == "t" and outcome == "f")
    batches = fetching.fetch_history(settings, str(tmp_path / "history"))
    collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])
    return settings


def recipe(settings: Settings, as_of: str, project: str = "p") -> Recipe:
    with open_warehouse(settings) as warehouse:
        snapshot = head(warehouse)
    made = {"code": "", "libraries": {}, "split": {}, "digest": "", "candidate": "", "model": "test_selection"}
    return Recipe(
        project=project,
        snapshot_id=snapshot.snapshot_id,
        versions=snapshot.versions,
        as_of=as_of,
        choices=choices(settings),
        **made,
    )


def rows(failures_count: list[float]) -> pd.DataFrame:
    """Three rows of the second run: the failure of t, and two tests that passed."""
    return pd.DataFrame(
        {
            "run_id": "r1",
            "variant": "linux",
            "test_id": ["S::u", "S::t", "S::v"],
            "failed": pd.array([False, True, False], dtype="boolean"),
            "failures_count": failures_count,
        },
        index=[7, 8, 9],
    )


def test_a_failure_has_its_label_and_a_pass_has_none(settings: Settings) -> None:
    told = with_kinds(settings, recipe(settings, "2026-02-01T00:00:00+00:00"), rows([0, 0, 2]))
    assert told["failure_state"].tolist() == [None, "flaky", None]
    assert told["failed_before"].tolist() == [False, False, True]
    assert told.index.tolist() == [7, 8, 9]


def test_the_label_is_the_one_known_at_the_moment_of_the_training(settings: Settings) -> None:
    # the second run had not begun: nobody could label its failure
    early = with_kinds(settings, recipe(settings, "2026-01-01T12:00:00+00:00"), rows([0, 0, 0]))
    assert early["failure_state"].isna().all()


def test_in_the_frame_of_all_projects_a_failure_has_the_label_of_its_own_project(settings: Settings) -> None:
    shared = recipe(settings, "2026-02-01T00:00:00+00:00", ALL_PROJECTS)
    told = with_kinds(settings, shared, rows([0, 0, 2]).assign(project="p", run_id=run_key("p", "r1")))
    assert told["failure_state"].tolist() == [None, "flaky", None]
    other = with_kinds(settings, shared, rows([0, 0, 2]).assign(project="p", run_id=run_key("q", "r1")))
    assert other["failure_state"].isna().all()


def test_a_frame_of_whole_runs_is_left_as_it_is(settings: Settings) -> None:
    whole = rows([0, 0, 0]).drop(columns="failures_count")
    assert with_kinds(settings, recipe(settings, "2026-02-01T00:00:00+00:00"), whole) is whole
