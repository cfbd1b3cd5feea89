"""The declaration of build_risk: its candidates learn, its baselines and rules say what their names say."""

import numpy as np
import pandas as pd
import pandas.testing as pdt
import pytest

from ml import artifact, training
from ml.models import load_model
from ml.schemas import BuildRiskFrame, feature_descriptions
from ml.spec import RuleKind

pytestmark = pytest.mark.slow

SPEC = load_model("build_risk")
OPTIONS = training.FitOptions(seed=1)
START = pd.Timestamp("2026-01-01", tz="UTC")


def frame_of(runs: int = 240) -> pd.DataFrame:
    """A run per hour. Runs fail with the rate of the moving average; the author is never known."""
    generator = np.random.default_rng(2)
    frame = pd.DataFrame({name: generator.random(runs) for name in SPEC.features})
    rate = np.where(generator.random(runs) < 0.5, 0.8, 0.1)
    started = (START + pd.to_timedelta(np.arange(runs), unit="h")).as_unit("us")
    keys = pd.DataFrame(
        {
            "project": "p",
            "run_id": [f"run-{number:04d}" for number in range(runs)],
            "variant": "*",
            "test_id": "*",
            "started_at": started,
            "known_at": started + pd.Timedelta(minutes=30).as_unit("us"),
            "failed": pd.array(generator.random(runs) < rate, dtype="boolean"),
            "previous_failed": rate > 0.5,
            "duration_s": 1800.0,
        }
    )
    history = {name: rate for name in SPEC.features if "ewma" in name or name.startswith("failed_rate")}
    history |= {"is_last_failed": (rate > 0.5).astype(float), "is_pull_request": 1.0}
    author = dict.fromkeys([name for name in SPEC.features if name.startswith("author")], np.nan)
    return keys.join(frame.assign(**(history | author)))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return frame_of()


@pytest.fixture(scope="module")
def split(frame: pd.DataFrame):
    return training.split_by_time(training.runs_of(frame), 0.3)


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame, split) -> list[training.Fitted]:
    return training.fit_candidates(SPEC, frame, split, OPTIONS)


def test_the_features_are_those_of_the_contract_and_each_is_described(frame: pd.DataFrame) -> None:
    assert SPEC.features == tuple(feature_descriptions(BuildRiskFrame))
    assert all(feature_descriptions(BuildRiskFrame).values())
    BuildRiskFrame.validate(frame, lazy=True)


def test_every_candidate_learns_what_decides_and_can_be_saved(frame: pd.DataFrame, split, fitted) -> None:
    assert [one.name for one in fitted] == ["logistic_regression", "random_forest", "gradient_boosting", "blend"]
    for one in fitted:
        probability = training.predict(one.estimator, frame)["probability"]
        assert probability[frame["previous_failed"]].mean() > probability[~frame["previous_failed"]].mean() + 0.15
        data = artifact.dump(one.estimator)
        again = artifact.load(data, artifact.sha256(data))
        pdt.assert_series_equal(training.predict(again, frame)["probability"], probability, rtol=0, atol=1e-12)


def test_the_threshold_is_the_best_f1_of_the_validation_period_and_travels_with_the_model(
    frame: pd.DataFrame, split, fitted
) -> None:
    chosen = training.with_threshold(SPEC, training.choose(SPEC, fitted, frame, split, OPTIONS), frame, split)
    limit = training.decision_threshold(chosen.estimator)
    assert 0.1 < limit < 0.9
    data = artifact.dump(chosen.estimator)
    assert training.decision_threshold(artifact.load(data, artifact.sha256(data))) == limit
    later = frame["started_at"] >= split.test.start
    turned = frame.assign(failed=frame["failed"] ^ later)
    assert training.decision_threshold(training.with_threshold(SPEC, chosen, turned, split).estimator) == limit


def test_records_and_judged_measures_hold_the_same_measures_for_candidates_and_baselines(
    frame: pd.DataFrame, split, fitted
) -> None:
    records = training.records(SPEC, fitted[:1], frame, split)
    assert [one.name for one in records] == ["logistic_regression", *SPEC.baselines]
    for one in records:
        assert {"validation.auc", "validation.brier", "validation.quadratic_score_all"} <= set(one.metrics)
    assert set(records[0].figures) == {"calibration.png"}
    judged = training.judged_measures(SPEC, fitted[0], frame, split)
    own = judged["logistic_regression"]
    assert own["test.auc"].value > judged["random"]["test.auc"].value + 0.1
    assert judged["logistic_regression"]["test.quadratic_score_all"].value == pytest.approx(
        1 - judged["logistic_regression"]["test.brier"].value
    )


def test_baselines_are_calibrated_on_earlier_runs_only(frame: pd.DataFrame, split) -> None:
    test = training.period_rows(frame, split, "test")
    found = training.baseline_scores(SPEC, frame, split, test)
    assert found["outcomes_with_decay"]["probability"].max() == pytest.approx(0.8, abs=0.15)
    later = frame["started_at"] >= split.validate.start
    turned = frame.assign(failed=frame["failed"] ^ later)
    again = training.baseline_scores(SPEC, turned, split, test)
    for name in SPEC.baselines:
        pdt.assert_frame_equal(found[name], again[name])


def test_a_baseline_copes_with_changes_that_nobody_knows(frame: pd.DataFrame, split) -> None:
    unknown = frame.assign(
        **dict.fromkeys([name for name in SPEC.features if "file" in name or "lines" in name], np.nan)
    )
    found = training.baseline_scores(SPEC, unknown, split, training.period_rows(unknown, split, "test"))
    assert found["change_metrics"]["probability"].between(0, 1).all()


def test_the_rules_hold_for_a_sane_model_and_leave_their_rows_alone(frame: pd.DataFrame, fitted) -> None:
    before = frame.copy()
    for rule in SPEC.rules:
        changed = rule.change(frame)
        for one in fitted:
            first = training.predict(one.estimator, frame)["score"]
            rise = training.predict(one.estimator, changed)["score"].loc[first.index] - first
            bad = rise.abs() > 1e-9 if rule.kind is RuleKind.SAME else rise < -1e-9
            assert bad.mean() <= (0 if rule.kind is RuleKind.SAME else 0.2), (rule.name, one.name)
    pdt.assert_frame_equal(frame, before)


def test_slices_tell_pull_requests_from_other_runs() -> None:
    rows = pd.DataFrame({"is_pull_request": [1.0, 0.0, np.nan]})
    assert SPEC.slices["event"](rows).tolist() == ["pull_request", "other", "unknown"]
