"""An estimator taken apart scores as the whole does, and one feature's columns are its own."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from ml.models import load_model
from ml.publishing import Explanation, _effects
from ml.training import Heuristic, occluder, predict
from ml.training.calibration import calibrate
from ml.training.leaning import Pool
from ml.training.occlusion import Occluder

pytestmark = pytest.mark.slow

NAMES = ["a", "b", "c"]
CANDIDATES = load_model("test_selection").candidates


def rows(count: int = 400) -> pd.DataFrame:
    """Skewed numbers, with missing ones in b."""
    draw = np.random.default_rng(3)
    frame = pd.DataFrame(draw.exponential(size=(count, 3)).round(1), columns=NAMES)
    frame.loc[draw.random(count) < 0.3, "b"] = np.nan
    return frame


def fitted(estimator: Any) -> Any:
    frame = rows()
    failed = (frame["a"] + frame["b"].fillna(2.0) > 2.5).to_numpy()
    if "scale__n_quantiles" in estimator.get_params():
        estimator.set_params(scale__n_quantiles=50)
    estimator.fit(frame, failed)
    return calibrate(estimator, frame, failed, shrinks=False)


def leaning() -> Pool:
    """A model of two parts, one of which sees a single feature."""
    frame = rows()
    failed = (frame["a"] > 2.5).to_numpy()
    parts = [fitted(CANDIDATES["blend"](1)).calibrated_classifiers_[0].estimator.estimator]
    parts.append(Heuristic("c").fit(frame[["c"]], failed))
    return Pool(parts, [0.75, 0.25])


@pytest.mark.parametrize("name", [*CANDIDATES, "leaning"])
def test_effects_are_those_of_scoring_every_changed_row_as_a_whole(name: str) -> None:
    estimator, frame = fitted(leaning() if name == "leaning" else CANDIDATES[name](1)), rows()
    reference = frame.median()
    expected = np.zeros(frame.shape)
    for at, feature in enumerate(NAMES):
        changed = frame.assign(**{feature: reference[feature]})
        expected[:, at] = predict(estimator, frame)["score"] - predict(estimator, changed)["score"]
    found = _effects(frame, Explanation(occluder(estimator, 2), reference))
    assert np.abs(found - expected).max() < 1e-12
    assert np.count_nonzero(found) > 300


def test_imputing_and_scaling_is_done_once_and_a_missing_value_has_a_column_of_its_own() -> None:
    apart = occluder(fitted(CANDIDATES["blend"](1)), 1)
    assert apart.owner.tolist() == [0, 1, 2, 1]
    assert apart.prepare(rows()).shape == (400, 4)
    assert np.isfinite(apart.prepare(rows())).all()


def test_steps_that_mix_columns_are_left_whole() -> None:
    mixing = Pipeline([("impute", SimpleImputer()), ("mix", PCA(2)), ("model", LogisticRegression())])
    estimator = fitted(mixing)
    apart = occluder(estimator, 1)
    assert [part.steps for part in apart.parts] == [None]
    assert np.array_equal(apart.score(apart.prepare(rows())), predict(estimator, rows())["score"])


def test_no_rows_and_a_feature_that_is_no_longer_built_are_prepared_all_the_same() -> None:
    apart: Occluder = occluder(fitted(CANDIDATES["blend"](1)), 1)
    assert apart.prepare(rows().head(0)).shape == (0, 4)
    assert (
        apart.prepare(rows().drop(columns="b"))[:, 3].tolist() == apart.prepare(rows().assign(b=np.nan))[:, 3].tolist()
    )
