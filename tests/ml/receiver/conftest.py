from pathlib import Path

import pytest
from pydantic import SecretStr

from ml.settings import Settings
from tests.postgres import Postgres


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn), max_payload_mb=1)
