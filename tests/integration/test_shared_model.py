"""A new project is served by a model of all projects, until its own is better."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml import validation
from ml.errors import NotEnoughData
from ml.models import load_model
from ml.settings import GATES, MODELS, Settings
from ml.sources.simulator import History, World, simulate
from ml.spec import ALL_PROJECTS, MERGED_RESULT, Status
from ml.stages import (
    opening,
    preparation,
    reporting,
    reproduction,
    retraining,
    serving,
    tracing,
    verification,
)
from tests.integration.histories import collect_world

MODEL = MODELS[0]
SHOP = World(
    project="simulated/store", run_count=240, module_count=5, tests_per_module=6, regression_rate=0.4, announced_count=0
)
BANK = replace(SHOP, seed=7, project="simulated/bank")
NEW = replace(SHOP, seed=12, project="simulated/new", run_count=400, regression_rate=0.6, flaky_share=0.02)
FEW = 30

# minutes on a quiet machine; a busy one must not fail it
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_800)]


def with_misleading_names(world: History) -> History:
    """Tests named after another module than the one they test: what other projects teach about names is wrong here."""
    modules = sorted(set(world.test_results["test_id"].str.split(".").str[1]))
    others = dict(zip(modules, modules[2:] + modules[:2], strict=True))
    named = world.test_results["test_id"].map(lambda name: name.replace(module := name.split(".")[1], others[module]))
    return replace(world, test_results=world.test_results.assign(test_id=named))


def later(world: History, days: int) -> History:
    moved = {name: world.runs[name] + timedelta(days=days) for name in ("started_at", "finished_at")}
    return replace(world, runs=world.runs.assign(**moved))


def first_runs(world: History, count: int) -> History:
    kept = set(world.runs.sort_values("started_at")["run_id"].drop_duplicates().head(count))
    tables = {name: getattr(world, name) for name in opening.HISTORY_TABLES}
    return replace(world, **{name: table.loc[table["run_id"].isin(kept)] for name, table in tables.items()})


def retrain(settings: Settings, project: str) -> dict[str, Any]:
    candidate = retraining.train(settings, preparation.features(settings, MODEL, project))
    if candidate["version"] is None:
        return {"promoted": False, "reason": candidate["reason"]}
    verdicts = [retraining.judge(settings, gate, candidate) for gate in GATES]
    checks = {check["name"]: check for verdict in verdicts for check in verdict["checks"]}
    return {**retraining.promote(settings, candidate, verdicts), "candidate": candidate, "checks": checks}


def served(settings: Settings) -> dict[str, tuple[str, bool]]:
    return {one["project"]: (one["version"], one["is_shared"]) for one in serving.publish(settings, MODEL)}


def rows_of(settings: Settings, project: str) -> pd.DataFrame:
    with opening.open_warehouse(settings) as warehouse:
        return warehouse.current_predictions(MODEL, project, limit=10_000)


def state_of(settings: Settings, project: str) -> dict[str, Any]:
    return next(one for one in reporting.status(settings, MODEL)["projects"] if one["project"] == project)


@pytest.fixture
def settings(fourgate: Settings) -> Settings:
    """A replay of few runs: each is scored and explained."""
    return fourgate.model_copy(update={"publish_runs": 3})


def test_a_new_project_is_served_by_the_shared_champion_until_its_own_wins(settings: Settings, tmp_path: Path) -> None:
    new = with_misleading_names(later(simulate(NEW), 20))
    collect_world(settings, simulate(SHOP), tmp_path / "shop")
    with pytest.raises(NotEnoughData, match="learns from two projects with runs or more; 1 in the lake"):
        opening.learners(settings, ALL_PROJECTS)
    assert opening.learners(settings) == [SHOP.project]
    collect_world(settings, simulate(BANK), tmp_path / "bank")
    collect_world(settings, first_runs(new, FEW), tmp_path / "new")
    assert opening.learners(settings) == [BANK.project, NEW.project, SHOP.project, ALL_PROJECTS]
    assert serving.publish(settings, MODEL) == []
    for model in MODELS:
        rows = pd.read_parquet(preparation.features(settings, model, ALL_PROJECTS)["path"])
        assert not rows.duplicated(MERGED_RESULT).any()
        assert validation.count_violations(rows, load_model(model).contract) == 0

    shared = retrain(settings, ALL_PROJECTS)
    assert shared["promoted"], shared["reason"]
    assert shared["route"] == "first"
    assert served(settings) == dict.fromkeys([BANK.project, NEW.project, SHOP.project], (shared["version"], True))
    _its_frame_comes_back(settings, shared["candidate"], tmp_path)
    _its_predictions_say_so(settings, set(new.runs["run_id"]))
    assert "where the shared champion stopped learning; 20 are needed" in retrain(settings, NEW.project)["reason"]
    off = settings.model_copy(update={"shared_model": False})
    assert serving.publish(off, MODEL) == []
    assert opening.learners(off) == [BANK.project, NEW.project, SHOP.project]

    collect_world(settings, new, tmp_path / "later")
    own = retrain(settings, NEW.project)
    assert own["promoted"], own["reason"]
    assert own["route"] == "better"
    # the names of both are 1: what is told apart is whose they are
    assert own["version"] == shared["version"]
    assert own["checks"]["champion_overlaps"]["measured"] == 0
    assert own["checks"]["champions_compared"]["measured"] == 0
    assert served(settings)[NEW.project] == (own["version"], False)
    assert not rows_of(settings, NEW.project)["is_shared"].any()
    measured = {one["project"]: one["measures"] for one in serving.monitor(settings, MODEL)}
    assert set(measured) == {BANK.project, NEW.project, SHOP.project}
    assert not_passed(settings) == {}
    assert state_of(settings, NEW.project)["shared_version"] is None


def _its_frame_comes_back(settings: Settings, candidate: dict[str, Any], folder: Path) -> None:
    rows = pd.read_parquet(candidate["path"])
    assert set(rows["project"]) == {BANK.project, NEW.project, SHOP.project}
    # runs of one name in two projects stay two runs
    names = rows.assign(own=rows["run_id"].str.partition("/")[2]).groupby("own")["run_id"].nunique()
    assert names.max() == 3
    run_id = candidate["version"]["mlflow_run_id"]
    assert reproduction.frame(settings, run_id, folder / "frame.parquet")["is_equal"]
    told = reproduction.reproduce(settings, run_id)
    assert told["is_equal"], told


def _its_predictions_say_so(settings: Settings, run_ids: set[str]) -> None:
    rows = rows_of(settings, NEW.project)
    assert rows["is_shared"].all()
    assert set(rows["change_id"]) - run_ids == {"next"}
    state = state_of(settings, NEW.project)
    assert (state["champion_version"], state["shared_version"], state["is_published"]) == (None, "1", True)
    assert state_of(settings, ALL_PROJECTS)["is_published"]
    told = tracing.explain(settings, f"{rows['change_id'].iloc[0]}#1", "", {"model": MODEL, "project": NEW.project})
    assert (told["version"]["is_shared"], told["version"]["in_service"]) == (True, True)
    assert [verdict["status"] for verdict in told["verdicts"]] == ["pass"] * 4
    assert told["version"]["promotion"]["route"] == "first"
    assert not_passed(settings) == {}


def not_passed(settings: Settings) -> dict[str, list[str]]:
    found = [one for one in verification.verify(settings) if one.status is not Status.PASS]
    return {one.name: [problem.what for problem in one.problems] for one in found}
