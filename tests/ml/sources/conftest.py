"""The small simulated world, in memory and on disk."""

from pathlib import Path

import pytest

from ml.sources.simulator import History, simulate, write_history
from tests.ml.sources.simulator_builders import SMALL


@pytest.fixture(scope="module")
def small() -> History:
    return simulate(SMALL)


@pytest.fixture(scope="module")
def simulated(small: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world as a history folder."""
    target = tmp_path_factory.mktemp("history") / "simulated"
    write_history(small, target)
    return target
