"""Tuning under a budget: what it looks at, that it repeats, and how its parameters reach the model and the recipe."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from ml import training
from ml.spec import Range
from ml.training import Plan, Ranker
from ml.training.tuning import FOLDS, _folds
from tests.ml.training.training_builders import frame_of, small_spec

pytestmark = pytest.mark.slow

OPTIONS = training.FitOptions(seed=7, trials=4)


def _stiff(seed):
    """So strong a penalty that noise of another scale rules the order."""
    return Pipeline([("impute", SimpleImputer()), ("model", LogisticRegression(C=1e-6, max_iter=1_000))])


SPEC = small_spec(
    candidates={"stiff": _stiff, "ranker": lambda seed: Ranker(seed=seed, least_rows=5)},
    tunable={"stiff": {"model__C": Range(1e-6, 10.0)}},
)


@pytest.fixture(scope="module")
def frame():
    frame = frame_of()
    generator = np.random.default_rng(4)  # a feature whose large scale hides that it says nothing
    return frame.assign(noise=1_000 * generator.random(len(frame)))


@pytest.fixture(scope="module")
def split(frame):
    return training.split_by_time(training.runs_of(frame), 0.3)


@pytest.fixture(scope="module")
def tuned(frame, split):
    return training.tune(SPEC, frame, split, OPTIONS)


def test_what_orders_better_on_the_folds_is_found_and_the_declared_is_the_first_trial(tuned):
    [(name, one)] = tuned.items()
    assert name == "stiff"
    assert one.trials[0][0] == {"model__C": 1e-6}
    values = [value for _, value in one.trials]
    assert len(values) == 4
    assert max(values) > values[0]
    assert one.parameters == one.trials[values.index(max(values))][0]
    assert all(1e-6 <= parameters["model__C"] <= 10 for parameters, _ in one.trials)


def test_the_same_seed_tries_the_same_and_another_seed_something_else(frame, split, tuned):
    assert training.tune(SPEC, frame, split, OPTIONS) == tuned
    assert training.tune(SPEC, frame, split, replace(OPTIONS, seed=8)) != tuned


def test_validation_and_test_periods_are_not_looked_at(frame, split, tuned):
    later = frame["started_at"] >= split.validate.start
    turned = frame.assign(failed=frame["failed"] ^ later)
    assert training.tune(SPEC, turned, split, OPTIONS) == tuned


def test_each_fold_learns_from_the_runs_before_it_and_the_last_one_ends_where_validation_begins(frame, split):
    folds = [fold for _, fold in _folds(frame, split)]
    assert len(folds) == len(FOLDS)
    for fold in folds:
        assert fold.fit.end == fold.calibrate.start < fold.calibrate.end
    assert [fold.calibrate.end for fold in folds[:-1]] == [fold.calibrate.start for fold in folds[1:]]
    assert folds[-1].calibrate.end == split.validate.start


def test_parameters_that_do_not_help_leave_the_declared_ones(frame, split):
    # Every penalty gives one feature alone the same order.
    spec = replace(SPEC, features=("rate",), tunable={"stiff": {"model__C": Range(1e-6, 1e-5)}})
    one = training.tune(spec, frame, split, OPTIONS)["stiff"]
    assert one.parameters == {}
    assert len(one.trials) == 4


def test_whole_ends_give_whole_numbers(frame, split):
    spec = replace(SPEC, tunable={"ranker": {"leaves": Range(3, 31), "penalty": Range(1.0, 90.0)}})
    told = []
    one = training.tune(spec, frame, split, replace(OPTIONS, trials=2), told.append)["ranker"]
    assert [type(values["leaves"]) for values, _ in one.trials] == [int, int]
    assert [type(values["penalty"]) for values, _ in one.trials] == [float, float]
    assert told[-1] == f"ranker: trial 2 of 2: {one.trials[1][1]:.4f}"


def test_no_trials_no_tuning_and_no_fold_no_parameters(frame, split):
    assert training.tune(SPEC, frame, split, replace(OPTIONS, trials=0)) == {}
    green = frame.assign(failed=frame["failed"] & (frame["started_at"] >= split.validate.start))
    assert training.tune(SPEC, green, split, OPTIONS) == {}


def test_trials_are_told_beside_the_parameters(tuned):
    told = tuned["stiff"].params()
    assert told["tuning_trials"] == 4
    assert told["trial_000"] == f"{tuned['stiff'].trials[0][1]:.4f} model__C=1e-06"


def test_the_plan_holds_the_parameters_and_refits_without_tuning(frame, split, tuned):
    options = replace(OPTIONS, parameters={name: one.parameters for name, one in tuned.items()})
    stiff, _ = training.fit_candidates(SPEC, frame, split, options)
    assert stiff.params["C"] == tuned["stiff"].parameters["model__C"]
    assert stiff.plan == Plan("stiff", parameters=tuned["stiff"].parameters)
    plain = training.FitOptions(OPTIONS.seed)
    again = training.refit(SPEC, Plan(**asdict(stiff.plan)), frame, split, plain)
    pd.testing.assert_frame_equal(
        training.predict(again.estimator, frame), training.predict(stiff.estimator, frame), rtol=0, atol=0
    )
