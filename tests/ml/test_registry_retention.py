"""What MLflow forgets, on a real server: never what serves, what has a name, or what Fourgate did not make."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

from ml.errors import RegistryError
from ml.registry import Registry, registered_name
from ml.spec import CandidateRecord, Measure, ModelVersion, TrainingRecord

pytestmark = pytest.mark.integration

MODEL, PROJECT = "test_selection", "retention/shop"
NIGHT = datetime(2026, 1, 1, 3, tzinfo=UTC)
ROWS = pd.DataFrame({"failure_rate": [0.0, 1.0]})
TOMORROW = timedelta(days=1)


def log(registry: Registry, key: str, project: str = PROJECT) -> ModelVersion:
    estimator = LogisticRegression().fit(ROWS, [False, True])
    nothing = Measure(0.5, math.nan, math.nan)
    chosen = CandidateRecord("logistic", is_baseline=False, params={}, metrics={"apfd": nothing})
    baseline = replace(chosen, name="random", is_baseline=True)
    record = TrainingRecord(MODEL, project, NIGHT, {}, {"key": key}, (chosen, baseline), "logistic")
    return registry.log_training(record, estimator, ROWS, estimator.predict_proba(ROWS))


@pytest.fixture(scope="module")
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(mlflow_uri, mlflow_uri)


@pytest.fixture(scope="module")
def registry(mlflow_uri: str) -> Registry:
    return Registry(mlflow_uri)


@pytest.fixture(scope="module")
def versions(registry: Registry) -> list[ModelVersion]:
    return [log(registry, f"retention {number}") for number in range(5)]


@pytest.fixture(scope="module")
def strangers_run(client: MlflowClient, versions: list[ModelVersion]) -> str:
    experiment = client.get_experiment_by_name(f"fourgate/{MODEL}")
    return str(client.create_run(experiment.experiment_id, run_name="of a person").info.run_id)


def numbers(client: MlflowClient) -> set[str]:
    return {one.version for one in client.search_model_versions(f"name = '{registered_name(MODEL, PROJECT)}'")}


def key(version: ModelVersion) -> tuple[str, str, str]:
    return version.model, version.project, version.version


@pytest.fixture(scope="module")
def others(client: MlflowClient, versions: list[ModelVersion]) -> set[tuple[str, str, str]]:
    """Versions that other tests logged on the same server: they are in service as far as this page is concerned."""
    found = set()
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            tags = run.data.tags
            if tags.get("fourgate.project") != PROJECT and "fourgate.version" in tags:
                found.add((tags["fourgate.model"], tags["fourgate.project"], tags["fourgate.version"]))
    return found


def test_young_runs_stay(registry: Registry, versions: list[ModelVersion], client: MlflowClient) -> None:
    before = datetime.now(UTC) - TOMORROW
    assert registry.expire(before, set())["runs"] == 0
    assert len(numbers(client)) == 5


def test_old_ones_go_but_not_what_serves_has_an_alias_or_is_the_newest(
    registry: Registry,
    client: MlflowClient,
    versions: list[ModelVersion],
    strangers_run: str,
    others: set[tuple[str, str, str]],
) -> None:
    _, second, third, _, fifth = versions
    client.set_registered_model_alias(registered_name(MODEL, PROJECT), "ours", third.version)
    after = datetime.now(UTC) + TOMORROW
    in_service = {key(second), *others}
    planned = registry.expire(after, in_service, dry_run=True)
    assert len(numbers(client)) == 5
    done = registry.expire(after, in_service)
    assert done == planned
    assert numbers(client) == {second.version, third.version, fifth.version}
    assert done["versions"] >= 2
    stages = {one.version: client.get_run(one.mlflow_run_id).info.lifecycle_stage for one in versions}
    assert [stages[one.version] for one in versions] == ["deleted", "active", "active", "deleted", "active"]
    assert client.get_run(strangers_run).info.lifecycle_stage == "active"
    assert registry.expire(after, in_service)["runs"] == 0
    for kept in (second, third, fifth):
        assert registry.load(kept) is not None


def test_garbage_is_removed_for_good_with_its_artifacts_and_the_rest_can_still_be_loaded(
    registry: Registry, client: MlflowClient, versions: list[ModelVersion], mlflow_artifacts: Path
) -> None:
    first, second = versions[:2]
    database = f"sqlite:///{mlflow_artifacts.parent / 'mlflow.db'}"
    folder = _folder(mlflow_artifacts, first)
    assert folder.exists()
    registry.collect_garbage(database, 1)
    assert client.get_run(first.mlflow_run_id).info.lifecycle_stage == "deleted"
    assert folder.exists()
    registry.collect_garbage(database, 0)
    assert not folder.exists()
    with pytest.raises(Exception, match="not found"):
        client.get_run(first.mlflow_run_id)
    assert registry.load(second) is not None
    registry.collect_garbage(database, 0)


def _folder(artifacts: Path, version: ModelVersion) -> Path:
    """Where the server keeps a version's model."""
    return artifacts / version.artifact_uri.split("mlflow-artifacts:/", 1)[1].lstrip("/")


def test_a_database_that_is_not_mlflows_is_told_without_its_password(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="FOURGATE_MLFLOW_DATABASE") as refused:
        registry.collect_garbage("nosuch://mlflow:s3cret-word@127.0.0.1:1/mlflow", 0)  # pragma: allowlist secret
    assert "s3cret-word" not in str(refused.value)
