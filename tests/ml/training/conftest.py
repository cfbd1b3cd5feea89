"""The small frame that most tests here learn from, and its periods."""

import pandas as pd
import pytest

from ml import training
from ml.spec import Split
from tests.ml.training.training_builders import frame_of


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return frame_of()


@pytest.fixture(scope="module")
def split(frame: pd.DataFrame) -> Split:
    return training.split_by_time(training.runs_of(frame), 0.3)
