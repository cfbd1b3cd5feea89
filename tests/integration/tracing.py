"""What must hold of any training that was logged, and of any prediction that was published."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient

from ml.metrics.catalogue import OTHERS
from ml.settings import Settings
from ml.stages import reproduction, tracing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def the_logged_names_are_the_documented_ones(settings: Settings, run_id: str, kind: str) -> None:
    """`kind` is the page's word for the model's objective."""
    client = MlflowClient(settings.mlflow_tracking_uri, settings.mlflow_tracking_uri)
    run = client.get_run(run_id)
    children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    logged = {name for each in (run, *children) for name in each.data.metrics}
    bare = {re.sub(r"^(validation|test)\.|\.(low|high)$", "", name) for name in logged}
    documented = set()
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `") and kind in line.split("|")[4]:
            documented |= set(re.findall(r"`([^`]+)`", line.split("|")[1]))
    assert bare == documented - {name for name in OTHERS if name.startswith("drift.")}


def the_page_tells(settings: Settings, run_id: str, sentence: str) -> None:
    client = MlflowClient(settings.mlflow_tracking_uri, settings.mlflow_tracking_uri)
    run = client.get_run(run_id)
    note = run.data.tags["mlflow.note.content"]
    html = Path(client.download_artifacts(run_id, "training.html")).read_text()
    assert sentence in note
    assert sentence in html
    assert f"fourgate reproduce {run_id}" in note
    assert "<svg" in html
    (logged,) = run.inputs.dataset_inputs
    assert len(logged.dataset.digest) == 32
    assert logged.dataset.digest in html


def the_rows_come_back(settings: Settings, run_id: str, trained_on: Path, folder: Path) -> None:
    found = reproduction.frame(settings, run_id, folder / "again.parquet")
    assert found["is_equal"], found
    assert found["changes"] == {}
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "again.parquet"), pd.read_parquet(trained_on), check_exact=True
    )


def the_model_comes_back(settings: Settings, run_id: str) -> None:
    found = reproduction.reproduce(settings, run_id)
    assert found["is_equal"], found
    assert found["scores"]["rows"] > 100
    assert found["scores"]["largest_difference"] == 0
    assert found["metrics"]["compared"] > 50
    assert found["metrics"]["largest_difference"] == 0


def a_prediction_leads_to_its_commits(settings: Settings, run_id: str, top: dict[str, Any], commits: set[str]) -> None:
    wanted = {"model": top["model"], "project": top["project"]}
    found = tracing.explain(settings, f"{top['change_id']}#{top['rank']}", "", wanted)
    assert found["prediction"]["test_id"] == top["test_id"]
    assert found["prediction"]["probability"] == top["probability"]
    assert found["version"]["in_service"]
    assert [verdict["status"] for verdict in found["verdicts"]] == ["pass"] * 4
    assert found["training"]["run_id"] == run_id
    assert found["batches"]["count"] == 1
    shown = [run["commit_sha"] for run in (*found["runs"]["predicted"], *found["runs"]["newest"])]
    assert shown
    assert set(shown) <= commits
    assert all(run["started_at"] < found["prediction"]["as_of"] for run in found["runs"]["newest"])
