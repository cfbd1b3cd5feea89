"""A probability keeps the order of the scores, means what it says among rare failures, and bears a poor period."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from ml import artifact, metrics, training
from ml.spec import Objective
from ml.training.calibration import LogOdds, calibrate
from tests.ml.training.training_builders import frame_of, small_spec

OPTIONS = training.FitOptions(seed=7)


def drawn(rows, seed, base=0.01):
    """Rows of a feature that multiplies the odds of failing by e for each unit."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 2, rows)
    rate = 1 / (1 + np.exp(-(np.log(base / (1 - base)) + x)))
    return pd.DataFrame({"x": x}), generator.random(rows) < rate


def a_forest():
    return RandomForestClassifier(40, min_samples_leaf=10, random_state=1).fit(*drawn(6_000, 1))


def slope(calibrated):
    return -calibrated.calibrated_classifiers_[0].calibrators[0].a_


def test_log_odds_are_those_of_the_probabilities_and_finite_where_no_tree_saw_a_failure():
    forest = a_forest()
    x = pd.DataFrame({"x": [-9.0, 0.0, 2.0, 4.0]})
    probability = forest.predict_proba(x)[:, 1]
    found = LogOdds(forest).decision_function(x)
    assert probability[0] == 0
    assert found[0] == pytest.approx(np.log(0.001 / 1.001))
    assert found[2:] == pytest.approx(np.log(probability[2:] / (1 - probability[2:])), abs=0.05)


def test_rows_that_were_apart_stay_apart():
    forest, x = a_forest(), drawn(2_000, 3)[0]
    probability, found = forest.predict_proba(x)[:, 1], LogOdds(forest).decision_function(x)
    in_order = np.argsort(probability, kind="stable")
    apart = np.diff(probability[in_order]) > 1e-12
    assert apart.sum() > 100
    assert (np.diff(found[in_order])[apart] > 0).all()


def test_among_rare_failures_the_sigmoid_is_over_odds_and_not_over_probabilities():
    forest, (later, failed), (asked, outcome) = a_forest(), drawn(8_000, 2), drawn(20_000, 3)
    over_odds = calibrate(forest, later, failed, shrinks=False).predict_proba(asked)[:, 1]
    over_probabilities = CalibratedClassifierCV(FrozenEstimator(forest), method="sigmoid").fit(later, failed)
    before = over_probabilities.predict_proba(asked)[:, 1]
    assert metrics.brier(outcome, over_odds) < metrics.brier(outcome, before)
    assert metrics.ece(outcome, over_odds) < 0.7 * metrics.ece(outcome, before)


@pytest.mark.parametrize("shrinks", [True, False])
def test_a_period_that_says_the_opposite_does_not_turn_the_order_round(shrinks):
    later, failed = drawn(500, 2, base=0.5)
    model = LogisticRegression().fit(*drawn(500, 1, base=0.5))
    calibrated = calibrate(model, -later, failed, shrinks=shrinks)
    asked = pd.DataFrame({"x": np.linspace(-4, 4, 9)})
    assert slope(calibrated) > 0
    assert (np.diff(calibrated.predict_proba(asked)[:, 1]) > 0).all()


def test_a_short_period_moves_probabilities_little_and_a_long_one_much():
    model = LogisticRegression().fit(*drawn(4_000, 1, base=0.5))
    asked = pd.DataFrame({"x": [0.0]})
    own = model.predict_proba(asked)[0, 1]
    moved = {}
    for rows in (10, 4_000):
        later, failed = drawn(rows, 2, base=0.1)
        failed[:10] = [True, False] * 5
        moved[rows] = own - calibrate(model, later, failed, shrinks=True).predict_proba(asked)[0, 1]
    assert abs(moved[10]) < 0.1
    assert moved[4_000] > 0.25


def test_the_latest_rows_count_most():
    model = LogisticRegression().fit(*drawn(4_000, 1, base=0.5))
    rare, common = drawn(600, 2, base=0.1), drawn(600, 3, base=0.9)
    asked = pd.DataFrame({"x": [0.0]})

    def risk(*parts):
        features, failed = pd.concat([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        return calibrate(model, features, failed, shrinks=True).predict_proba(asked)[0, 1]

    assert risk(rare, common) > 0.65
    assert risk(common, rare) < 0.35


def test_runs_are_put_in_time_order_before_they_are_weighed():
    spec = replace(small_spec(), objective=Objective.PROBABILITY)
    frame = frame_of()
    split = training.split_by_time(training.runs_of(frame), 0.3)
    one = training.refit(spec, training.Plan("linear"), frame, split, OPTIONS)
    other = training.refit(spec, training.Plan("linear"), frame.iloc[::-1], split, OPTIONS)
    assert slope(one.estimator) == pytest.approx(slope(other.estimator), rel=1e-3)


def test_only_a_model_of_probabilities_leans_on_its_own():
    frame = frame_of()
    split = training.split_by_time(training.runs_of(frame), 0.3)
    forests = {
        objective: training.refit(
            replace(small_spec(), objective=objective), training.Plan("linear"), frame, split, OPTIONS
        )
        for objective in Objective
    }
    later = training.period_rows(frame, split, "calibrate")
    base = forests[Objective.RANKING].estimator.calibrated_classifiers_[0].estimator
    plain = CalibratedClassifierCV(base, method="sigmoid").fit(later[["rate", "noise"]], later["failed"])
    assert slope(forests[Objective.RANKING].estimator) == pytest.approx(slope(plain))
    assert slope(forests[Objective.PROBABILITY].estimator) != pytest.approx(slope(plain), rel=1e-3)


def test_a_calibrated_forest_comes_back_from_its_file_with_the_same_probabilities():
    calibrated = calibrate(a_forest(), *drawn(2_000, 2), shrinks=False)
    data = artifact.dump(calibrated)
    loaded = artifact.load(data, artifact.sha256(data))
    asked = drawn(500, 3)[0]
    pd.testing.assert_frame_equal(training.predict(loaded, asked), training.predict(calibrated, asked))
    assert training.predict(loaded, asked)["probability"].to_numpy() == pytest.approx(
        calibrated.predict_proba(asked)[:, 1], abs=1e-12
    )


def test_a_champion_whose_sigmoid_is_over_probabilities_is_still_served():
    forest, (later, failed) = a_forest(), drawn(2_000, 2)
    champion = CalibratedClassifierCV(FrozenEstimator(forest), method="sigmoid").fit(later, failed)
    asked = drawn(500, 3)[0]
    found = training.predict(champion, asked)
    assert found["score"].to_numpy() == pytest.approx(forest.predict_proba(asked)[:, 1])
    assert found["probability"].to_numpy() == pytest.approx(champion.predict_proba(asked)[:, 1])


@pytest.mark.parametrize("shrinks", [True, False])
def test_one_row_of_either_outcome_is_enough(shrinks):
    model = LogisticRegression().fit(*drawn(500, 1, base=0.5))
    later = pd.DataFrame({"x": [-1.0, 1.0]})
    found = calibrate(model, later, np.array([False, True]), shrinks=shrinks).predict_proba(later)[:, 1]
    assert 0 < found[0] < found[1] < 1
