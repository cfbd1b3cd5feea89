"""Failures together are counted in parts, so that a long history takes no more memory; the parts change nothing."""

import pandas.testing as pdt
import pytest

from ml.features import Queries, cofailures
from tests.feature_builders import features_of, random_history

COLUMNS = [name for names in cofailures.COLUMNS.values() for name in names]


@pytest.mark.parametrize("at_once", [1, 40])
def test_small_parts_give_the_same_as_one(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, asked = random_history(seed=6), Queries.training("p")
    whole = features_of(frames, asked)[COLUMNS]
    assert (whole["cofailure_count"] > 1).any()
    monkeypatch.setattr(cofailures, "AT_ONCE", at_once)
    pdt.assert_frame_equal(features_of(frames, asked)[COLUMNS], whole, check_exact=True)
