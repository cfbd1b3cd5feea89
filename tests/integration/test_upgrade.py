"""A lake and a warehouse that the first release wrote go on with the present code."""

import gzip
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from mlflow import MlflowClient

from ml.errors import WarehouseError
from ml.registry import registered_name
from ml.settings import Settings
from ml.sources.simulator import World, simulate, write_history
from ml.spec import Interval, ModelVersion
from ml.stages import collection, fetching, flakiness, reporting, serving, verification
from ml.stages.opening import open_warehouse
from ml.warehouse import PIPELINE_ROLE, READER_ROLE, Rollback, migrate
from tests.postgres import PIPELINE_PASSWORD, READER_PASSWORD, Postgres, run_sql

pytestmark = pytest.mark.integration

FIXTURE = Path(__file__).parents[1] / "fixtures" / "first_release"
MODEL = "test_selection"
WORLD = World(
    project="upgrade/shop",
    run_count=240,
    module_count=3,
    tests_per_module=4,
    regression_rate=0.6,
    runs_per_day=30,
)
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def first_release(empty_database: Postgres, mlflow_uri: str, mlflow_artifacts: Path, tmp_path: Path) -> Settings:
    """What the first release left: lake, warehouse, and the champion's file and alias in MLflow."""
    with tarfile.open(FIXTURE / "lake.tar.gz") as archive:
        archive.extractall(tmp_path / "home", filter="data")
    for role in (PIPELINE_ROLE, READER_ROLE):
        make = f"CREATE ROLE {role} LOGIN"
        run_sql(
            empty_database.admin_dsn,
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN {make}; END IF; END $$",
        )
    lines = gzip.decompress((FIXTURE / "warehouse.sql.gz").read_bytes()).decode().splitlines()
    connection = psycopg2.connect(empty_database.admin_dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("\n".join(line for line in lines if not line.startswith("\\")))  # those are for psql
    connection.close()
    champion = ModelVersion(**json.loads((FIXTURE / "champion.json").read_text()))
    folder = mlflow_artifacts / champion.artifact_uri.removeprefix("mlflow-artifacts:/")
    folder.mkdir(parents=True)
    (folder / "model.skops").write_bytes(gzip.decompress((FIXTURE / "model.skops.gz").read_bytes()))
    client, name = MlflowClient(mlflow_uri, mlflow_uri), registered_name(MODEL, WORLD.project)
    client.create_registered_model(name)
    experiment = client.create_experiment(f"upgrade of {MODEL}")
    logged = client.create_logged_model(experiment, name="champion")  # MLflow asks for one; the row's address counts
    client.create_model_version(name, logged.artifact_location, model_id=logged.model_id)
    client.set_registered_model_alias(name, "champion", champion.version)
    return Settings.model_validate(
        {
            "home": tmp_path / "home",
            "warehouse_dsn": empty_database.pipeline_dsn,
            "mlflow_tracking_uri": mlflow_uri,
            "publish_runs": 5,
        }
    )


def broken(settings: Settings) -> list[Any]:
    return [finding for finding in verification.verify(settings) if finding.status != "pass"]


def test_the_present_code_migrates_collects_publishes_and_verifies_what_the_first_release_wrote(
    first_release: Settings, empty_database: Postgres, tmp_path: Path
) -> None:
    applied = migrate(empty_database.admin_dsn, PIPELINE_PASSWORD, READER_PASSWORD)
    assert applied[0] == "0005_decisions.sql"
    assert broken(first_release) == []
    before = reporting.status(first_release, MODEL)["projects"][0]
    assert before["champion_version"] == "1"
    assert before["published_rows"] > 0

    (published,) = serving.publish(first_release, MODEL)  # the first release's champion, with the present features
    assert published["rows"] == before["published_rows"]
    assert broken(first_release) == []

    assessed = flakiness.assess(first_release, WORLD.project)  # of results without positions
    assert len(assessed) > 0

    with open_warehouse(first_release) as warehouse:
        old = warehouse.head()
    assert old is not None
    assert "failure_labels" not in old.versions
    write_history(simulate(WORLD), tmp_path / "history")
    batches = fetching.fetch_history(first_release, str(tmp_path / "history"), Interval(old.data_until, None))
    collected = collection.append(first_release, [collection.validate(first_release, batch, NOW) for batch in batches])
    assert collected["new_rows"] > 0
    assert len(flakiness.assess(first_release, WORLD.project)) >= len(assessed)
    assert broken(first_release) == []
    (again,) = serving.publish(first_release, MODEL)
    assert again["as_of"] > published["as_of"]
    assert broken(first_release) == []
    with open_warehouse(first_release) as warehouse:
        head = warehouse.head()
        assert head is not None
        assert "failure_labels" in head.versions
        with pytest.raises(WarehouseError, match="no previous champion"):
            warehouse.rollback(Rollback(MODEL, WORLD.project, NOW, "anna", "a test"))
