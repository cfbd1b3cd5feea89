"""The two-headed candidate: what each head learns, how they make one score, and whose labels count."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from ml import artifact, training
from ml.spec import FAILURE_STATE, SETTLED_AT, FailureState
from ml.training import Plan, TwoHeads
from ml.training.fitting import chance
from tests.ml.training.training_builders import frame_of, small_spec

OPTIONS = training.FitOptions(seed=7)
SPEC = small_spec(
    candidates={"two_headed": lambda seed: TwoHeads(HistGradientBoostingClassifier(max_iter=5, random_state=seed))}
)


def two_reasons(rows=3_000, seed=1):
    """Feature a breaks tests, feature b makes them flake."""
    generator = np.random.default_rng(seed)
    features = pd.DataFrame(generator.random((rows, 2)), columns=["a", "b"])
    broken = generator.random(rows) < 0.5 * (features["a"] > 0.7)
    flaky = ~broken & (generator.random(rows) < 0.5 * (features["b"] > 0.7))
    return features, broken.to_numpy(), flaky.to_numpy()


def head_of(features, reason):
    return LogisticRegression().fit(features, reason).predict_proba(features)[:, 1]


def labelled(frame, settled_at):
    """Every failure of an even test is flaky, as was known at a moment."""
    even = frame["failed"] & (frame["test_id"].str[-1].astype(int) % 2 == 0)
    state = np.where(even, FailureState.FLAKY.value, np.where(frame["failed"], FailureState.REGRESSION.value, None))
    return frame.assign(**{FAILURE_STATE: state, SETTLED_AT: settled_at})


def heads(one):
    return one.base.heads_


def test_a_test_fails_if_either_head_is_right() -> None:
    features, broken, flaky = two_reasons()
    model = TwoHeads(LogisticRegression()).fit(features, broken | flaky, is_flaky=flaky)
    either = 1 - (1 - head_of(features, broken)) * (1 - head_of(features, flaky))
    assert model.predict_proba(features)[:, 1] == pytest.approx(either, abs=1e-12)
    assert expit(model.decision_function(features)) == pytest.approx(either, abs=1e-12)


def test_each_head_looks_at_what_makes_its_own_failures() -> None:
    features, broken, flaky = two_reasons()
    model = TwoHeads(LogisticRegression()).fit(features, broken | flaky, is_flaky=flaky)
    (break_a, break_b), (flake_a, flake_b) = (head.coef_[0] for head in model.heads_)
    assert break_a > 2 > abs(break_b)
    assert flake_b > 2 > abs(flake_a)


@pytest.mark.parametrize("everything", [True, False])
def test_with_failures_of_one_kind_it_has_one_head(everything: bool) -> None:
    features, broken, _ = two_reasons()
    model = TwoHeads(LogisticRegression()).fit(features, broken, is_flaky=np.full(len(broken), everything))
    assert model.predict_proba(features)[:, 1] == pytest.approx(head_of(features, broken), abs=1e-12)


def test_large_odds_stay_finite() -> None:
    features = pd.DataFrame({"a": [-1e6, 0.0, 1e6], "b": [-1e6, 0.0, 1e6]})
    model = TwoHeads(LogisticRegression()).fit(*two_reasons()[:2], is_flaky=two_reasons()[2])
    odds = model.decision_function(features)
    assert np.isfinite(odds).all()
    assert (np.diff(odds) > 0).all()


def test_a_weight_counts_as_so_many_rows() -> None:
    features, broken, flaky = two_reasons(rows=300)
    weight = np.where(broken, 3, 1)
    weighed = TwoHeads(LogisticRegression()).fit(features, broken | flaky, weight, flaky)
    at = np.repeat(np.arange(len(features)), weight)
    repeated = TwoHeads(LogisticRegression()).fit(features.iloc[at], (broken | flaky)[at], is_flaky=flaky[at])
    assert weighed.decision_function(features) == pytest.approx(repeated.decision_function(features), abs=1e-3)


def test_labels_that_settled_before_validation_count_and_later_ones_do_not(frame, split) -> None:
    before = split.validate.start - pd.Timedelta(microseconds=1)
    for settled_at, number in ((before, 2), (split.validate.start, 1), (pd.NaT, 1)):
        rows = labelled(frame, pd.Series(settled_at, index=frame.index, dtype="datetime64[us, UTC]"))
        [one] = training.fit_candidates(SPEC, rows, split, OPTIONS)
        assert len(heads(one)) == number


def test_without_labels_it_is_a_model_like_another(frame, split) -> None:
    [one] = training.fit_candidates(SPEC, frame, split, OPTIONS)
    assert len(heads(one)) == 1


def test_it_is_saved_loaded_and_fitted_again_to_the_same_scores(split) -> None:
    frame = frame_of()
    rows = labelled(frame, frame["known_at"])
    [one] = training.fit_candidates(SPEC, rows, split, OPTIONS)
    assert len(heads(one)) == 2
    data = artifact.dump(one.estimator)
    loaded = artifact.load(data, artifact.sha256(data))
    again = training.refit(SPEC, Plan("two_headed"), rows, split, OPTIONS)
    expected = training.predict(one.estimator, frame)
    pd.testing.assert_frame_equal(training.predict(loaded, frame), expected, check_exact=True)
    pd.testing.assert_frame_equal(training.predict(again.estimator, frame), expected, check_exact=True)
    assert chance(one.estimator, frame).between(0, 1).all()
