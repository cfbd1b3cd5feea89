"""Candidates that lean on a baseline: their odds, the choice of the weight, and the way through a file."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from ml import artifact, training
from ml.spec import Objective
from ml.training import Heuristic, Level, Plan
from ml.training.choosing import WEIGHTS
from ml.training.evaluation import primary_by_run, scored
from ml.training.fitting import chance, odds
from ml.training.leaning import Pool
from tests.ml.training.training_builders import small_spec

pytestmark = pytest.mark.slow

OPTIONS = training.FitOptions(seed=7)
LINEAR = small_spec().candidates["linear"]


def blind(seed):
    """A candidate that has learned the wrong way round what `rate` says: worse than chance."""
    return Upside(random_state=seed)


class Upside(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    def fit(self, rows, failed, sample_weight=None):
        return super().fit(rows.fillna(0.0), ~failed, sample_weight)

    def decision_function(self, rows):
        return super().decision_function(rows.fillna(0.0))


def chosen(spec, frame, split):
    return training.choose(spec, training.fit_candidates(spec, frame, split, OPTIONS), frame, split, OPTIONS)


# -- a baseline as an order and as a classifier


def rows_of(**columns):
    return pd.DataFrame(columns, dtype=float)


def test_a_count_ranks_the_latest_first_and_what_never_happened_last():
    order = Heuristic("since", is_count=True)(rows_of(since=[3, 0, None]))
    assert order.tolist()[:2] == [0.25, 1.0]
    assert np.isnan(order.iloc[2])


def test_a_rate_ranks_as_it_is_and_per_second_the_quick_one_first():
    rows = rows_of(rate=[0.2, 0.2, 0.2], cost=[10, 1, None])
    assert Heuristic("rate")(rows).tolist() == [0.2, 0.2, 0.2]
    [slow, quick, unknown] = Heuristic("rate", per="cost")(rows)
    assert unknown > quick > slow


@pytest.mark.parametrize(
    ("heuristic", "values"),
    [
        (Heuristic("x", is_count=True), [None, 100_000, 5_000, 300, 17, 3, 2, 1, 0]),
        (Heuristic("x"), [0, 1e-9, 1e-4, 0.2, 0.5, 0.999, 1]),
        (Heuristic("x", per="cost"), [0, 0.001, 0.2, 0.6, 1]),
        (Level("x"), [0, 1e-9, 1e-4, 0.2, 0.5, 0.999, 1]),
    ],
)
def test_the_odds_of_a_baseline_are_in_its_order_far_outside_of_what_it_was_fitted_on_too(heuristic, values):
    known = rows_of(x=[0, 1, 0, 1, 1, 0], cost=1)
    fitted = heuristic.fit(known, np.array([False, True, False, True, False, True]))
    found = fitted.decision_function(rows_of(x=values, cost=1))
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def test_a_baseline_that_was_worthless_so_far_keeps_its_direction():
    rows, failed = rows_of(x=np.linspace(0, 1, 50)), np.arange(50) < 25  # the lower, the likelier
    found = Heuristic("x").fit(rows, failed).decision_function(rows)
    assert (np.diff(found) > 0).all()


def test_the_odds_of_a_baseline_are_calibrated_where_they_were_learned():
    rows = rows_of(x=np.repeat([0.0, 0.5], 1_000))
    failed = np.arange(2_000) % 100 < np.repeat([1, 40], 1_000)
    chances = Heuristic("x").fit(rows, failed).predict_proba(rows)[:, 1]
    assert chances[[0, -1]] == pytest.approx([0.01, 0.4], abs=0.02)


def test_the_odds_of_a_level_are_as_good_near_one_as_near_zero():
    rates = np.array([0.02, 0.1, 0.5, 0.9, 0.98])
    rows = rows_of(x=np.repeat(rates, 1_000))
    failed = np.arange(5_000) % 1_000 < 1_000 * rows["x"]
    found = Level("x").fit(rows, failed).predict_proba(rows_of(x=rates))[:, 1]
    assert found == pytest.approx(rates, abs=0.02)
    mirrored = Level("x").fit(1 - rows, ~failed).predict_proba(1 - rows_of(x=rates))[:, 1]
    assert mirrored == pytest.approx(1 - found, abs=1e-6)


def test_a_level_that_is_unknown_counts_as_the_usual_one():
    rows, failed = rows_of(x=[0.1, 0.3, 0.3, 0.5] * 50), np.array([False, False, False, True] * 50)
    level = Level("x").fit(rows, failed)
    [unknown, usual] = level.decision_function(rows_of(x=[None, 0.25]))
    assert unknown == usual
    weighted = Level("x").fit(rows, failed, np.where(failed, 3.0, 1.0))
    [unknown, usual] = weighted.decision_function(rows_of(x=[None, 0.5]))
    assert unknown == usual


# -- a pool


class Said:
    """A classifier that says what it is told to, as chances."""

    def __init__(self, *chances):
        self.chances = np.array(chances)

    def decision_function(self, rows):
        return np.log(self.chances / (1 - self.chances))


def test_a_pool_is_the_weighted_mean_of_log_odds():
    pool = Pool([Said(0.5, 0.9), Said(0.1, 0.9)], [0.25, 0.75])
    found = pool.predict_proba(pd.DataFrame(index=[0, 1]))[:, 1]
    assert found == pytest.approx([(1 / 9) ** 0.75 / (1 + (1 / 9) ** 0.75), 0.9], abs=1e-5)


# -- the choice


def test_a_baseline_that_wins_on_validation_is_what_is_served(frame, split):
    spec = small_spec(candidates={"blind": blind}, baselines={"by_rate": Heuristic("rate")})
    one = chosen(spec, frame, split)
    assert one.plan == Plan("", "by_rate", 1.0)
    assert one.name == "by_rate_alone"
    found = training.predict(one.estimator, frame)["score"]
    expected = Heuristic("rate")(frame).fillna(-1)
    assert (found.rank() == expected.where(expected >= 0, 0.0).rank()).all()


def test_a_candidate_leans_on_nothing_that_does_not_help(frame, split):
    for baseline in (Heuristic("noise"), Heuristic("rate")):  # the linear candidate knows the rate: the same order
        one = chosen(small_spec(candidates={"linear": LINEAR}, baselines={"other": baseline}), frame, split)
        assert one.plan == Plan("linear")


def test_a_baseline_that_pointed_the_wrong_way_so_far_is_not_tried(frame, split):
    # Only in the fit period a low rate is what fails.
    turned = frame.assign(failed=np.where(frame["started_at"] < split.fit.end, frame["rate"] < 0.1, frame["failed"]))
    spec = small_spec(candidates={"blind": lambda seed: Upside()}, baselines={"by_rate": Heuristic("rate")})
    assert chosen(spec, turned, split).plan == Plan("blind")


def with_two_causes(frame):
    """Half of what decides is in a feature that the candidate cannot see."""
    generator = np.random.default_rng(5)
    hidden = np.where(generator.random(len(frame)) < 0.15, 1.0, 0.0)
    failed = frame["failed"] | (generator.random(len(frame)) < 0.5 * hidden)
    return frame.assign(hidden=hidden, failed=failed, rate=frame["rate"].fillna(0.02))


class Half(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    def fit(self, rows, failed, sample_weight=None):
        super().fit(rows[["rate"]], failed, sample_weight)
        self.feature_names_in_ = np.array(rows.columns, dtype=object)
        return self

    def decision_function(self, rows):
        return rows[["rate"]].to_numpy()[:, 0] * self.coef_[0, 0] + self.intercept_[0]


@pytest.fixture(scope="module")
def torn(frame, split):
    spec = small_spec(
        features=("rate", "hidden"),
        candidates={"half": lambda seed: Half()},
        baselines={"by_hidden": Heuristic("hidden"), "by_chance": lambda rows: rows["noise"]},
    )
    rows = with_two_causes(frame)
    return spec, rows, chosen(spec, rows, split)


def test_what_knows_the_other_half_is_leant_on_with_the_best_weight(torn, split):
    spec, frame, one = torn
    assert one.plan.candidate == "half"
    assert one.plan.baseline == "by_hidden"
    rows = training.period_rows(frame, split, "validate")
    [own], baseline = (
        training.fit_candidates(spec, frame, split, OPTIONS),
        training.refit(spec, Plan("", "by_hidden", 1.0), frame, split, OPTIONS),
    )
    ours, theirs = odds(own, rows), odds(baseline, rows)
    by_weight = {
        weight: primary_by_run(spec, rows.assign(score=(1 - weight) * ours + weight * theirs)).mean()
        for weight in (0.0, *WEIGHTS, 1.0)
    }
    assert one.plan.weight == max(by_weight, key=by_weight.get)
    assert by_weight[one.plan.weight] > max(by_weight[0.0], by_weight[1.0])


def test_the_plan_is_logged_and_makes_the_same_model_again(torn, split):
    spec, frame, one = torn
    assert one.name == "half_leaning_on_by_hidden"
    assert one.params["leans_on"] == "by_hidden"
    assert one.params["leaning_weight"] == one.plan.weight
    again = training.refit(spec, Plan(**asdict(one.plan)), frame, split, OPTIONS)
    assert again.plan == one.plan
    pd.testing.assert_frame_equal(
        training.predict(again.estimator, frame), training.predict(one.estimator, frame), rtol=0, atol=0
    )


@pytest.fixture(scope="module")
def doubtful(frame, split):
    """A model of probabilities that sees half of what decides, and a baseline that sees the other half."""
    spec = small_spec(
        objective=Objective.PROBABILITY,
        primary_metric="quadratic_score_all",
        features=("rate", "hidden"),
        candidates={"half": lambda seed: Half()},
        baselines={"by_hidden": Level("hidden"), "by_chance": lambda rows: rows["noise"]},
    )
    return spec, with_two_causes(frame)


def test_probabilities_lean_as_well_and_stay_calibrated(doubtful, split):
    spec, rows = doubtful
    one = chosen(spec, rows, split)
    assert (one.plan.candidate, one.plan.baseline) == ("half", "by_hidden")
    test = training.period_rows(rows, split, "test")
    assert training.predict(one.estimator, test)["probability"].mean() == pytest.approx(test["failed"].mean(), abs=0.05)
    judged = training.judged_measures(spec, one, rows, split)
    [alone] = training.fit_candidates(spec, rows, split, OPTIONS)
    own = training.judged_measures(spec, alone, rows, split)
    assert judged[one.name]["test.brier"].value < own["half"]["test.brier"].value
    again = training.refit(spec, Plan(**asdict(one.plan)), rows, split, OPTIONS)
    pd.testing.assert_frame_equal(
        training.predict(again.estimator, rows), training.predict(one.estimator, rows), rtol=0, atol=0
    )


def test_what_was_better_in_the_last_window_only_is_not_chosen(doubtful, split):
    spec, rows = doubtful
    # In the validate period what is hidden does not matter; before it did.
    late = rows["started_at"] >= split.validate.start
    rows = rows.assign(failed=np.where(late, rows["rate"] > np.random.default_rng(3).random(len(rows)), rows["failed"]))
    [alone] = fitted = training.fit_candidates(spec, rows, split, OPTIONS)
    one = training.choose(spec, fitted, rows, split, OPTIONS)
    assert one.plan.baseline == "by_hidden"
    last = training.period_rows(rows, split, "validate")
    theirs, ours = (primary_by_run(spec, scored(spec, fit.estimator, last)).mean() for fit in (alone, one))
    assert theirs > ours


def test_a_row_gets_the_same_score_in_any_company(torn):
    _, frame, one = torn
    together = training.predict(one.estimator, frame)
    alone = pd.concat([training.predict(one.estimator, frame.iloc[[at]]) for at in range(0, 50, 7)])
    pd.testing.assert_frame_equal(alone, together.iloc[range(0, 50, 7)], rtol=0, atol=1e-9)


def test_probabilities_are_calibrated_and_rise_with_the_score(torn, split):
    _, frame, one = torn
    found = training.predict(one.estimator, frame)
    assert found.sort_values("score")["probability"].is_monotonic_increasing
    assert found["probability"].mean() == pytest.approx(frame["failed"].mean(), abs=0.03)
    assert chance(one.estimator, frame).between(0, 1).all()


def test_a_feature_that_the_baseline_needs_and_is_no_longer_built_is_taken_as_missing(torn):
    _, frame, one = torn
    without = training.predict(one.estimator, frame.drop(columns="hidden"))
    pd.testing.assert_frame_equal(without, training.predict(one.estimator, frame.assign(hidden=np.nan)))
    assert np.isfinite(without).all(axis=None)


def test_a_baseline_whose_feature_was_never_known_is_not_leant_on(frame, split):
    spec = small_spec(candidates={"blind": blind}, baselines={"by_nothing": Heuristic("nothing")})
    assert chosen(spec, frame.assign(nothing=np.nan), split).plan == Plan("blind")


@pytest.mark.parametrize("baseline", [Heuristic("rate", per="noise"), Level("rate")])
@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_it_comes_back_from_a_file_that_holds_allowed_types_only(frame, split, weight, baseline):
    spec = small_spec(baselines={"by_rate": baseline})
    plan = Plan("forest" if weight < 1 else "", "by_rate", weight)
    one = training.refit(spec, plan, frame, split, OPTIONS)
    data = artifact.dump(one.estimator)
    again = artifact.load(data, artifact.sha256(data))
    pd.testing.assert_frame_equal(
        training.predict(again, frame), training.predict(one.estimator, frame), rtol=0, atol=1e-12
    )


def test_it_is_measured_and_reported_beside_the_candidates(torn, split):
    spec, frame, one = torn
    judged = training.judged_measures(spec, one, frame, split)
    assert judged[one.name]["test.apfd_all"].value > judged["by_hidden"]["test.apfd_all"].value
    assert training.importance(spec, one.estimator, training.period_rows(frame, split, "validate")).idxmax() in (
        "rate",
        "hidden",
    )
