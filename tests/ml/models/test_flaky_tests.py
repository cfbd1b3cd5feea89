"""The declaration of flaky_tests: its rows are settled failures, its candidates learn, its baselines and rules hold."""

from datetime import datetime

import numpy as np
import pandas as pd
import pandas.testing as pdt
import pyarrow as pa
import pytest

from ml import artifact, training
from ml.engine import open_engine
from ml.features import Context, Queries
from ml.models import load_model
from ml.schemas import FlakyTestsFrame, feature_descriptions
from ml.spec import MERGED_RESULT, RuleKind
from tests.label_builders import LATER, History, at, line, random_labels_history, register

pytestmark = pytest.mark.slow

SPEC = load_model("flaky_tests")
START = pd.Timestamp("2026-01-01", tz="UTC")


def rows_of(frames: History, queries: Queries) -> pd.DataFrame:
    with open_engine("duckdb", threads=2) as engine:
        register(engine, frames)
        frame: pd.DataFrame
        (frame,) = SPEC.build(engine, queries, Context())
    return frame


def outcomes_of(frames: History, run_ids: list[str], as_of: datetime) -> pd.DataFrame:
    with open_engine("duckdb", threads=2) as engine:
        register(engine, frames)
        engine.register_frame("published", pa.table({"run_id": run_ids}))
        found: pd.DataFrame = SPEC.outcomes(engine, Queries.training("p", as_of=as_of), Context())
    return found


def test_a_training_row_is_a_settled_failure_and_says_whether_it_was_flaky() -> None:
    # r3 passes on its commit in r4; r8 to r11 fail until the file that came with them is touched again; r18 is young
    files = {number: [f"docs/page{number}.md"] for number in range(19)} | {8: ["core/a.c"], 12: ["core/a.c"]}
    frames = line("pppfppppffffppppppf", commits="abcddefghijklmnopqr", files=files)
    found = rows_of(frames, Queries.training("p", as_of=LATER))
    assert found["run_id"].tolist() == ["r3", "r8", "r9", "r10", "r11"]
    assert found["failed"].tolist() == [True, False, False, False, False]
    assert found["started_at"].tolist() == [at(35), at(85), at(95), at(105), at(115)]
    assert found["known_at"].tolist() == [at(45), at(135), at(145), at(155), at(165)]
    assert rows_of(frames, Queries.training("p", as_of=at(60)))["run_id"].tolist() == ["r3"]
    assert len(rows_of(frames, Queries.training("p"))) == 5


def test_an_outage_is_not_flaky() -> None:
    frames = line("pppfpppppp")
    results = frames["test_results"]
    frames["test_results"] = results.assign(outcome=results["outcome"].mask(results["run_id"].eq("r3"), "error"))
    found = rows_of(frames, Queries.training("p", as_of=LATER))
    assert len(found) == 13
    assert not found["failed"].any()


def test_a_prediction_has_every_failure_of_its_runs_and_no_answer() -> None:
    frames = line("pppfppppppf", commits="abcdefghijk")
    asked = frames["runs"][["run_id", "started_at"]]
    found = rows_of(frames, Queries.prediction("p", asked, LATER))
    assert found["run_id"].tolist() == ["r3", "r10"]
    assert found[["failed", "known_at"]].isna().all(axis=None)


def test_a_training_row_has_the_features_of_its_prediction() -> None:
    frames = random_labels_history(seed=3)
    trained = rows_of(frames, Queries.training("p", as_of=LATER))
    asked = frames["runs"].drop_duplicates("run_id")[["run_id", "started_at"]]
    predicted = rows_of(frames, Queries.prediction("p", asked, LATER))
    both = trained[MERGED_RESULT].merge(predicted, on=MERGED_RESULT, how="left", validate="one_to_one")
    assert len(both) > 50
    pdt.assert_frame_equal(trained[list(SPEC.features)], both[list(SPEC.features)], check_exact=True)


def test_outcomes_are_those_that_training_sees_at_the_same_moment() -> None:
    frames = random_labels_history(seed=8)
    moment = frames["runs"]["started_at"].sort_values().iloc[50].to_pydatetime()
    trained = rows_of(frames, Queries.training("p", as_of=moment))
    asked = sorted(set(trained["run_id"]))[::2]
    found = outcomes_of(frames, asked, moment)
    expected = trained.loc[trained["run_id"].isin(asked), [*MERGED_RESULT, "started_at", "failed"]]
    pdt.assert_frame_equal(
        found.sort_values(MERGED_RESULT, ignore_index=True)[list(expected)],
        expected.astype({"failed": bool}).sort_values(MERGED_RESULT, ignore_index=True),
    )
    assert outcomes_of(frames, [], moment).empty


def frame_of(runs: int = 160) -> pd.DataFrame:
    """A run per hour with two failures each; a failure is flaky with the rate of its test's earlier flaky failures."""
    generator = np.random.default_rng(2)
    count = 2 * runs
    frame = pd.DataFrame({name: generator.random(count) for name in SPEC.features})
    rate = np.where(generator.random(count) < 0.5, 0.9, 0.1)
    started = (START + pd.to_timedelta(np.arange(count) // 2, unit="h")).as_unit("us")
    keys = pd.DataFrame(
        {
            "project": "p",
            "run_id": [f"run-{number // 2:04d}" for number in range(count)],
            "variant": "linux",
            "test_id": [f"test-{number % 2}" for number in range(count)],
            "started_at": started,
            "known_at": started + pd.Timedelta(minutes=30).as_unit("us"),
            "failed": pd.array(generator.random(count) < rate, dtype="boolean"),
            "previous_failed": False,
            "duration_s": 1.0,
        }
    )
    history = {"failures_count": 10.0, "flaky_failures_count": (10 * rate).round(), "flaky_failure_rate": rate}
    history["test_flaky_failures_count"] = history["flaky_failures_count"]
    return keys.join(frame.assign(**history, flip_rate_last_20=rate / 2, run_failures_count=2.0, is_pull_request=1.0))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return frame_of()


@pytest.fixture(scope="module")
def split(frame: pd.DataFrame):
    return training.split_by_time(training.runs_of(frame), 0.3)


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame, split) -> list[training.Fitted]:
    return training.fit_candidates(SPEC, frame, split, training.FitOptions(seed=1))


def test_the_features_are_those_of_the_contract_and_each_is_described(frame: pd.DataFrame) -> None:
    assert SPEC.features == tuple(feature_descriptions(FlakyTestsFrame))
    assert all(feature_descriptions(FlakyTestsFrame).values())
    FlakyTestsFrame.validate(frame, lazy=True)


def test_every_candidate_learns_what_decides_and_can_be_saved(frame: pd.DataFrame, fitted) -> None:
    assert [one.name for one in fitted] == ["logistic_regression", "gradient_boosting"]
    often = frame["flaky_failure_rate"] > 0.5
    for one in fitted:
        probability = training.predict(one.estimator, frame)["probability"]
        assert probability[often].mean() > probability[~often].mean() + 0.3
        data = artifact.dump(one.estimator)
        again = artifact.load(data, artifact.sha256(data))
        pdt.assert_series_equal(training.predict(again, frame)["probability"], probability, rtol=0, atol=1e-12)


def test_baselines_are_probabilities_and_the_mean_is_one_number(frame: pd.DataFrame, split) -> None:
    rows = training.period_rows(frame, split, "test")
    found = training.baseline_scores(SPEC, frame, split, rows)
    assert list(found) == ["flip_rate", "flaky_share", "always_the_mean"]
    learned = pd.concat([training.period_rows(frame, split, "fit"), training.period_rows(frame, split, "calibrate")])
    mean = found["always_the_mean"]["probability"]
    assert mean.nunique() == 1
    assert mean.iloc[0] == pytest.approx(learned["failed"].mean(), abs=0.01)
    assert found["flaky_share"]["probability"].max() == pytest.approx(0.9, abs=0.1)


def test_a_test_that_never_failed_has_no_share_and_still_a_probability(frame: pd.DataFrame, split) -> None:
    unknown = frame.assign(flaky_failure_rate=np.nan, flip_rate_last_20=np.nan)
    found = training.baseline_scores(SPEC, unknown, split, training.period_rows(unknown, split, "test"))
    assert all(scores["probability"].between(0, 1).all() for scores in found.values())


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


def test_one_more_flaky_failure_needs_an_earlier_failure_to_be_one() -> None:
    rows = pd.DataFrame(
        {
            "failures_count": [0.0, 4.0, 4.0],
            "flaky_failures_count": [0.0, 1.0, 4.0],
            "test_flaky_failures_count": [3.0, 2.0, 4.0],
            "flaky_failure_rate": [np.nan, 0.25, 1.0],
        }
    )
    (rule,) = [rule for rule in SPEC.rules if rule.name == "earlier_failure_was_flaky"]
    found = rule.change(rows)
    assert found["flaky_failures_count"].tolist() == [0, 2, 4]
    assert found["test_flaky_failures_count"].tolist() == [3, 3, 4]
    assert found["flaky_failure_rate"].tolist()[1:] == [0.5, 1.0]
    assert np.isnan(found["flaky_failure_rate"].iloc[0])


def test_slices_tell_events_and_lone_failures_apart() -> None:
    rows = pd.DataFrame({"is_pull_request": [1.0, 0.0, np.nan], "run_failures_count": [1.0, 2.0, 9.0]})
    assert SPEC.slices["event"](rows).tolist() == ["pull_request", "other", "unknown"]
    assert SPEC.slices["company"](rows).tolist() == ["alone", "among others", "among others"]
