import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from ml import metrics, training
from ml.errors import NotEnoughData
from ml.models.parts import scaled
from ml.spec import WEIGHT, Interval, Objective
from ml.training.cost import score_by_cost
from tests.ml.training.training_builders import START, frame_of, small_spec

pytestmark = pytest.mark.slow

OPTIONS = training.FitOptions(seed=7)


@pytest.fixture(scope="module")
def fitted(frame, split):
    return training.fit_candidates(small_spec(), frame, split, OPTIONS)


def hour(number):
    return (START + pd.Timedelta(hours=number)).to_pydatetime(warn=False)


# -- periods


def test_runs_are_in_time_order_and_know_whether_a_test_failed():
    frame = frame_of(runs=3, tests=2)
    frame["failed"] = [False, False, True, False, False, False]
    runs = training.runs_of(frame.sample(frac=1, random_state=1))
    assert runs["run_id"].tolist() == ["run-0000", "run-0001", "run-0002"]
    assert runs["is_failing"].tolist() == [False, True, False]


def test_a_share_keeps_the_latest_runs_for_the_test_period(split):
    # 200 hourly runs: 140 before the test period, 91 of them to fit, 21 to calibrate, 28 to validate.
    assert split.fit == Interval(None, hour(91))
    assert split.calibrate == Interval(hour(91), hour(112))
    assert split.validate == Interval(hour(112), hour(140))
    assert split.test == Interval(hour(140), None)


def test_a_given_test_period_is_kept(frame):
    period = Interval(hour(150), hour(170))
    split = training.split_by_time(training.runs_of(frame), period)
    assert split.test == period
    assert split.validate.end == period.start
    rows = training.period_rows(frame, split, "test")
    assert (rows["started_at"].min(), rows["started_at"].max()) == (hour(150), hour(169))


def test_no_run_is_in_two_periods(frame, split):
    names = ("fit", "calibrate", "validate", "test")
    runs = [set(training.period_rows(frame, split, name)["run_id"]) for name in names]
    assert sum(len(part) for part in runs) == len(set.union(*runs)) == 200


def test_a_run_still_going_on_at_the_border_is_left_out_of_the_earlier_period():
    frame = frame_of(minutes=150)
    split = training.split_by_time(training.runs_of(frame), 0.3)
    fit = training.period_rows(frame, split, "fit")
    # Runs of two and a half hours: of those that started before hour 91, the last three were not known by then.
    assert fit["started_at"].max() == hour(88)
    assert (fit["known_at"] < split.calibrate.start).all()
    assert training.period_rows(frame, split, "test")["started_at"].max() == hour(199)


def test_the_last_period_keeps_a_run_that_ends_after_it():
    frame = frame_of(minutes=150)
    split = training.split_by_time(training.runs_of(frame), Interval(hour(150), hour(170)))
    assert training.period_rows(frame, split, "test")["started_at"].max() == hour(169)


def test_too_few_failing_runs_are_named_with_both_numbers():
    frame = frame_of()
    frame.loc[frame["started_at"] < hour(91), "failed"] = False
    with pytest.raises(NotEnoughData, match="fit has 0 failing runs and needs 20"):
        training.split_by_time(training.runs_of(frame), 0.3)


def test_a_history_of_two_runs_is_too_small():
    with pytest.raises(NotEnoughData, match="at least 3 are needed"):
        training.split_by_time(training.runs_of(frame_of(runs=2)), 0.5)


def test_an_empty_history_is_too_small():
    with pytest.raises(NotEnoughData, match="0 runs"):
        training.split_by_time(training.runs_of(frame_of().iloc[:0]), 0.4)


# -- candidates


def test_every_candidate_is_fitted_and_announced(frame, split):
    announced = []
    fitted = training.fit_candidates(small_spec(), frame, split, OPTIONS, announced.append)
    assert announced == [one.name for one in fitted] == ["linear", "forest", "boosting"]
    assert all(one.seconds > 0 for one in fitted)
    assert [one.params["estimator"] for one in fitted] == [
        "LogisticRegression",
        "RandomForestClassifier",
        "HistGradientBoostingClassifier",
    ]


def test_every_candidate_learns_what_decides(frame, split, fitted):
    test = training.period_rows(frame, split, "test")
    for one in fitted:
        scored = test.assign(**training.predict(one.estimator, test))
        known = scored.dropna(subset="rate")
        means = known.groupby("rate")["probability"].mean()
        assert means[0.6] > 0.4, one.name
        assert means[0.02] < 0.15, one.name


def test_outcomes_of_later_periods_do_not_reach_an_estimator(frame, split, fitted):
    later = frame["started_at"] >= split.validate.start
    changed = frame.assign(failed=np.where(later, ~frame["failed"], frame["failed"]))
    again = training.fit_candidates(small_spec(), changed, split, OPTIONS)
    for one, other in zip(fitted, again, strict=True):
        scores = training.predict(one.estimator, frame), training.predict(other.estimator, frame)
        pd.testing.assert_frame_equal(*scores)


def test_outages_are_left_out_of_the_fit(frame, split):
    outage = frame["run_id"] == "run-0003"
    broken = frame.assign(failed=frame["failed"] | outage)
    without = frame.loc[~outage]
    spec = small_spec(candidates={"boosting": small_spec().candidates["boosting"]})
    [one] = training.fit_candidates(spec, broken, split, OPTIONS)
    [other] = training.fit_candidates(spec, without, split, OPTIONS)
    assert one.params["fit_rows"] == other.params["fit_rows"]
    pd.testing.assert_frame_equal(training.predict(one.estimator, frame), training.predict(other.estimator, frame))


def test_green_runs_are_left_out_of_the_fit(frame, split):
    green = frame["run_id"].isin(["run-0003", "run-0004"])
    spec = small_spec(candidates={"linear": small_spec().candidates["linear"]})
    [one] = training.fit_candidates(spec, frame.assign(failed=frame["failed"] & ~green), split, OPTIONS)
    [other] = training.fit_candidates(spec, frame.loc[~green], split, OPTIONS)
    pd.testing.assert_frame_equal(training.predict(one.estimator, frame), training.predict(other.estimator, frame))


def test_a_large_history_is_sampled_but_keeps_every_failure(frame, split, fitted):
    failures = int(training.period_rows(frame, split, "fit")["failed"].sum())
    small = replace(OPTIONS, max_rows=2 * failures)
    sampled = training.fit_candidates(small_spec(), frame, split, small)
    test = training.period_rows(frame, split, "test")
    for one, other in zip(fitted, sampled, strict=True):
        assert (other.params["fit_failures"], other.params["fit_rows"]) == (failures, 2 * failures)
        means = [training.predict(fit.estimator, test)["probability"].mean() for fit in (one, other)]
        # Without importance weights, half of the sample would fail.
        assert means[1] == pytest.approx(means[0], abs=0.05)


def test_one_outcome_only_cannot_be_fitted(frame, split):
    inside = (frame["started_at"] >= split.calibrate.start) & (frame["started_at"] < split.calibrate.end)
    green = frame.assign(failed=frame["failed"] & ~inside)
    with pytest.raises(NotEnoughData, match="calibrate period has 252 results outside outages, 0 of them failed"):
        training.fit_candidates(small_spec(), green, split, OPTIONS)


def test_refit_with_the_same_seed_is_the_same_model_and_with_another_it_is_not(frame, split, fitted):
    forest = fitted[1]
    same = training.refit(small_spec(), training.Plan("forest"), frame, split, OPTIONS)
    other = training.refit(small_spec(), training.Plan("forest"), frame, split, replace(OPTIONS, seed=8))
    scores = [training.predict(one.estimator, frame)["score"] for one in (forest, same, other)]
    assert (scores[0] == scores[1]).all()
    assert (scores[0] != scores[2]).any()


def test_a_scale_has_no_more_quantiles_than_rows_to_fit(frame, split):
    spec = small_spec(candidates={"scaled": lambda seed: scaled(LogisticRegression(), seed, 100_000)})
    [one] = training.fit_candidates(spec, frame, split, OPTIONS)
    assert one.estimator.estimator.estimator.named_steps["scale"].n_quantiles == one.params["fit_rows"]


# -- predictions


def test_a_row_gets_the_same_score_in_any_company(frame, fitted):
    for one in fitted:
        together = training.predict(one.estimator, frame)
        alone = pd.concat([training.predict(one.estimator, frame.iloc[[at]]) for at in range(0, 50, 7)])
        backwards = training.predict(one.estimator, frame.iloc[::-1]).loc[frame.index]
        pd.testing.assert_frame_equal(alone, together.iloc[range(0, 50, 7)], rtol=0, atol=1e-9)
        pd.testing.assert_frame_equal(backwards, together, rtol=0, atol=1e-9)


def test_the_probability_is_the_calibrated_one_of_the_estimator(frame, fitted):
    for one in fitted:
        columns = list(one.estimator.feature_names_in_)
        expected = one.estimator.predict_proba(frame[columns])[:, 1]
        assert training.predict(one.estimator, frame)["probability"].to_numpy() == pytest.approx(expected, abs=1e-12)


def test_an_empty_frame_has_no_scores(frame, fitted):
    found = training.predict(fitted[0].estimator, frame.iloc[:0])
    assert found.empty
    assert list(found.columns) == ["score", "probability"]


def test_a_feature_that_is_no_longer_built_is_taken_as_missing(frame, fitted):
    for one in fitted:
        without = training.predict(one.estimator, frame.drop(columns="noise"))
        pd.testing.assert_frame_equal(without, training.predict(one.estimator, frame.assign(noise=np.nan)))


def test_all_values_missing_still_gives_a_probability(frame, fitted):
    blank = frame.iloc[:3].assign(rate=np.nan, noise=np.nan)
    for one in fitted:
        assert training.predict(one.estimator, blank)["probability"].between(0, 1).all()


# -- measures and choice


def test_the_better_candidate_on_the_validation_period_is_chosen(frame, split):
    linear = small_spec().candidates["linear"]
    blind = training.fit_candidates(
        small_spec(features=("noise",), candidates={"blind": linear}), frame, split, OPTIONS
    )
    seeing = training.fit_candidates(small_spec(candidates={"seeing": linear}), frame, split, OPTIONS)
    assert training.choose(small_spec(), blind + seeing, frame, split, OPTIONS).name == "seeing"


def test_nothing_is_chosen_when_no_run_can_be_ranked(frame, split, fitted):
    few = frame.loc[frame["test_id"] < "test-05"]
    with pytest.raises(NotEnoughData, match="none of the 28 runs"):
        training.choose(small_spec(), fitted, few, split, OPTIONS)


def test_evaluate_names_every_measure_with_its_period_and_view(frame, split, fitted):
    rows = training.period_rows(frame, split, "validate")
    scored = rows.assign(**training.predict(fitted[0].estimator, rows))
    found = training.evaluate(scored, "validation", training.Yardstick(Objective.RANKING, 2, threshold=0.3))
    ranked = {f"validation.{name}_{view}" for name in metrics.RANKING_COLUMNS[4:] for view in ("all", "new")}
    other = {
        f"validation.{name}" for name in ("runs_all_count", "runs_new_count", "auc", "pr_auc", "brier", "ece", "f1")
    }
    points = {
        f"validation.{what}_at_change_recall_{target}_{view}{unit}"
        for what, unit in (("tests", ""), ("duration", ""), ("saved", "_min"))
        for target in ("90", "95", "99", "99.9")
        for view in ("all", "new")
    }
    assert set(found) == ranked | other | points
    apfd = metrics.ranking_by_run(scored, "score")["apfd"]
    assert found["validation.apfd_all"].value == pytest.approx(apfd.mean())
    assert found["validation.runs_all_count"].value == len(apfd)
    for name in ("validation.apfd_all", "validation.pr_auc", "validation.brier"):
        assert found[name].low < found[name].value < found[name].high


def test_a_view_is_measured_where_its_failures_can_be_told(frame, split):
    rows = training.period_rows(frame, split, "validate").assign(score=1.0)
    yardstick = training.Yardstick(Objective.RANKING, 1)
    told = training.evaluate(rows.assign(failed_before=False, failure_state=None), "validation", yardstick)
    assert told["validation.apfd_first"] == told["validation.apfd_all"]
    # labels are known, and none is a regression: that is a count of 0, and no measure
    assert {name for name in told if "regression" in name} == {"validation.runs_regression_count"}
    assert told["validation.runs_regression_count"].value == 0


def test_a_history_without_durations_has_points_of_tests_and_no_saving(frame, split):
    rows = training.period_rows(frame, split, "validate").assign(score=1.0, duration_s=np.nan)
    found = training.evaluate(rows, "validation", training.Yardstick(Objective.RANKING, 1))
    assert "validation.tests_at_change_recall_95_all" in found
    assert not [name for name in found if "saved" in name or "duration_at" in name]


def test_a_baseline_has_no_measures_of_probability(frame, split):
    rows = training.period_rows(frame, split, "validate").assign(score=1.0)
    assert not {"validation.brier", "validation.f1"} & set(
        training.evaluate(rows, "validation", training.Yardstick(Objective.RANKING, 1))
    )


def test_a_period_without_failures_has_counts_and_no_ranking(frame):
    rows = frame.head(48).assign(failed=False, score=1.0)
    found = training.evaluate(rows, "test", training.Yardstick(Objective.RANKING, 1))
    assert set(found) == {"test.runs_all_count", "test.runs_new_count"}
    assert found["test.runs_all_count"].value == 0
    assert math.isnan(found["test.runs_all_count"].low)


def test_the_cost_aware_order_prefers_the_likely_and_the_quick():
    score = score_by_cost(pd.Series([0.2, 0.2, 0.4, 0.2]), pd.Series([16.0, 1.0, 16.0, np.nan]))
    assert score.tolist() == pytest.approx([0.025, 0.2, 0.05, 0.025])


def test_without_any_known_duration_the_cost_aware_order_is_that_of_the_chance():
    assert score_by_cost(pd.Series([0.2, 0.4]), pd.Series([np.nan, np.nan])).tolist() == [0.2, 0.4]


def test_a_duration_of_nothing_does_not_rule_the_order():
    assert np.isfinite(score_by_cost(pd.Series([0.0, 0.4]), pd.Series([0.0, 0.0]))).all()


def test_a_model_with_a_cost_is_measured_in_the_cost_aware_order_too(frame, split, fitted):
    spec = small_spec(cost="duration_s")
    judged = training.judged_measures(spec, fitted[0], frame, split)
    assert judged[fitted[0].name]["test.apfdc_by_cost_all"].value > judged[fitted[0].name]["test.apfdc_all"].value
    assert "test.apfdc_by_cost_all" not in judged["by_rate"]
    [first, *_] = training.records(spec, fitted, frame, split)
    assert {"validation.apfdc_by_cost_all", "validation.apfdc_by_cost_new"} <= set(first.metrics)


def test_block_length_comes_from_earlier_periods_only(frame, split):
    later = frame["started_at"] >= split.test.start
    changed = frame.assign(failed=np.where(later, ~frame["failed"], frame["failed"]))
    blocks = [training.period_block(small_spec(), one, split, "test") for one in (frame, changed)]
    assert blocks[0] == blocks[1]
    # About 140 earlier runs, most of them ranked.
    assert blocks[0] >= 5


# -- records


def test_records_hold_every_candidate_and_baseline_on_the_validation_period_only(frame, split, fitted):
    later = frame["started_at"] >= split.test.start
    without = frame.loc[~later]
    records = training.records(small_spec(), fitted, without, split)
    assert [(record.name, record.is_baseline) for record in records] == [
        ("linear", False),
        ("forest", False),
        ("boosting", False),
        ("by_rate", True),
        ("by_noise", True),
    ]
    assert {name.split(".")[0] for record in records for name in record.metrics} == {"fit_s", "validation"}
    assert set(records[0].figures) == {"ranking_all.png", "ranking_new.png", "calibration.png"}
    assert records[3].figures == {}
    assert records[0].metrics["validation.apfd_all"].value > records[4].metrics["validation.apfd_all"].value + 0.1
    assert records[0].params["estimator"] == "LogisticRegression"


def test_judged_measures_hold_the_chosen_candidate_against_the_baselines(frame, split, fitted):
    found = training.judged_measures(small_spec(), fitted[0], frame, split)
    assert set(found) == {"linear", "by_rate", "by_noise"}
    assert found["linear"]["test.apfd_all"].value > found["by_noise"]["test.apfd_all"].value + 0.1
    assert "test.f1" in found["linear"]


def test_importance_falls_to_the_feature_that_decides(frame, split, fitted):
    rows = training.period_rows(frame, split, "validate")
    losses = training.importance(small_spec(), fitted[0].estimator, rows)
    assert losses["rate"] > 0.05
    assert abs(losses["noise"]) < 0.02


# -- frames of drawn runs


def test_a_calibration_takes_each_row_for_the_results_that_it_stands_for(frame, split):
    calm = ~frame["run_id"].isin(frame.loc[frame["failed"], "run_id"])
    drawn = frame.assign(**{WEIGHT: np.where(calm, 50.0, 1.0)})
    repeated = pd.concat([frame, *[frame[calm & (frame["started_at"] >= split.calibrate.start)]] * 49])
    spec = small_spec()
    plain, weighted, copied = (
        training.predict(training.refit(spec, training.Plan("linear"), rows, split, OPTIONS).estimator, frame)[
            "probability"
        ]
        for rows in (frame, drawn, repeated)
    )
    assert np.allclose(weighted, copied, rtol=0, atol=1e-4)
    assert weighted.mean() < 0.7 * plain.mean()


def test_measures_of_probabilities_take_each_row_for_the_results_that_it_stands_for(frame):
    rows = frame.assign(score=frame["noise"], probability=frame["noise"])
    yardstick = training.Yardstick(Objective.RANKING, 1)
    weighted = training.evaluate(rows.assign(**{WEIGHT: np.where(rows["failed"], 1.0, 3.0)}), "test", yardstick)
    repeated = pd.concat([rows, *[rows[~rows["failed"]]] * 2])
    failed, value = repeated["failed"].to_numpy(), repeated["probability"].to_numpy()
    assert weighted["test.brier"].value == pytest.approx(metrics.brier(failed, value))
    assert weighted["test.pr_auc"].value == pytest.approx(metrics.pr_auc(failed, value))
    assert weighted["test.brier"].low < weighted["test.brier"].value < weighted["test.brier"].high
