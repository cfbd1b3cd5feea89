"""Fixture `fourgate`: settings of a pipeline on a real PostgreSQL and a real MLflow, in a folder of its own."""

from pathlib import Path

import pytest

from ml.settings import Settings
from tests.postgres import Postgres


@pytest.fixture
def fourgate(postgres: Postgres, mlflow_uri: str, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "home": tmp_path / "home",
            "warehouse_dsn": postgres.pipeline_dsn,
            "warehouse_admin_dsn": postgres.admin_dsn,
            "mlflow_tracking_uri": mlflow_uri,
        }
    )
