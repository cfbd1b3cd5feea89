"""The lake that each test starts with."""

from pathlib import Path

import pytest

from ml.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    created = Lake(str(tmp_path / "lake"))
    created.create()
    return created
