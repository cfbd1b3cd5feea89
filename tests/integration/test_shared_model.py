"""A new project is served by a model of all projects, until its own is better."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from ml.cli import app
from ml.errors import NotEnoughData
from ml.settings import GATES, MODELS, Settings
from ml.sources.simulator import History, World, simulate
from ml.spec import ALL_PROJECTS, Status
from ml.stages import (
    collection,
    fetching,
    opening,
    preparation,
    reporting,
    reproduction,
    retraining,
    serving,
    tracing,
    verification,
)

MODEL = MODELS[0]
NOW = datetime(2026, 11, 1, tzinfo=UTC)
SHOP = World(run_count=320, module_count=5, tests_per_module=6, regression_rate=0.3, announced_count=0)
BANK = replace(SHOP, seed=7, project="simulated/bank")
# the names of its runs and tests are those of the shop
NEW = replace(SHOP, seed=11, project="simulated/new", run_count=320)
FEW = 30

pytestmark = pytest.mark.integration


def collect(settings: Settings, world: History, folder: Path) -> None:
    folder.mkdir()
    for name in opening.HISTORY_TABLES:
        getattr(world, name).to_parquet(folder / f"{name}.parquet", index=False)
    batches = fetching.fetch_history(settings, str(folder))
    collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])


def later_by(world: History, days: int) -> History:
    """The same history, so many days later."""
    moved = {"started_at", "finished_at"}
    runs = world.runs.assign(**{name: world.runs[name] + timedelta(days=days) for name in moved})
    return replace(world, runs=runs)


def first_runs(world: History, count: int) -> History:
    kept = set(world.runs.sort_values("started_at")["run_id"].drop_duplicates().head(count))
    tables = {name: getattr(world, name) for name in opening.HISTORY_TABLES}
    return replace(world, **{name: table.loc[table["run_id"].isin(kept)] for name, table in tables.items()})


def retrain(settings: Settings, project: str) -> dict[str, Any]:
    candidate = retraining.train(settings, preparation.features(settings, MODEL, project))
    if candidate["version"] is None:
        return {"promoted": False, "reason": candidate["reason"]}
    verdicts = [retraining.judge(settings, gate, candidate) for gate in GATES]
    return {**retraining.promote(settings, candidate, verdicts), "candidate": candidate, "verdicts": verdicts}


def state_of(settings: Settings, project: str) -> dict[str, Any]:
    return next(one for one in reporting.status(settings, MODEL)["projects"] if one["project"] == project)


def test_a_new_project_is_served_by_the_shared_champion_until_its_own_wins(fourgate: Settings, tmp_path: Path) -> None:
    new = later_by(simulate(NEW), 40)
    collect(fourgate, simulate(SHOP), tmp_path / "shop")
    with pytest.raises(NotEnoughData, match="learns from two projects with runs or more; 1 in the lake"):
        opening.learners(fourgate, ALL_PROJECTS)
    assert opening.learners(fourgate) == [SHOP.project]
    collect(fourgate, simulate(BANK), tmp_path / "bank")
    collect(fourgate, first_runs(new, FEW), tmp_path / "new")
    assert opening.learners(fourgate) == [BANK.project, NEW.project, SHOP.project, ALL_PROJECTS]
    assert serving.publish(fourgate, MODEL) == []

    shared = retrain(fourgate, ALL_PROJECTS)
    assert shared["promoted"], shared["reason"]
    assert shared["route"] == "first"
    print(shared["candidate"]["split"])
    assert "where the shared champion stopped learning; 20 are needed" in retrain(fourgate, NEW.project)["reason"]
    _it_serves_whoever_has_no_champion(fourgate, shared)
    _it_comes_back(fourgate, shared["candidate"], tmp_path)

    collect(fourgate, new, tmp_path / "later")
    own = retrain(fourgate, NEW.project)
    print(
        own["reason"],
        [
            c
            for v in own.get("verdicts", [])
            for c in v["checks"]
            if "lead" in c["name"] or "refresh" in c["name"] or "route" in c["name"] or "champion" in c["name"]
        ],
    )
    assert own["promoted"], own["reason"]


def _it_serves_whoever_has_no_champion(settings: Settings, shared: dict[str, Any]) -> None:
    published = serving.publish(settings, MODEL)
    assert {one["project"]: (one["version"], one["is_shared"]) for one in published} == dict.fromkeys(
        [BANK.project, NEW.project, SHOP.project], (shared["version"], True)
    )


def _it_comes_back(settings: Settings, candidate: dict[str, Any], folder: Path) -> None:
    run_id = candidate["version"]["mlflow_run_id"]
    told = reproduction.reproduce(settings, run_id)
    assert told["is_equal"], told
