import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ml import training
from ml.engine import open_engine
from ml.errors import SettingsError
from ml.features import Context, Queries
from ml.models import MODULES, load_model
from ml.schemas import FEATURES
from ml.settings import MODELS
from ml.spec import RuleKind
from tests.label_builders import LATER, at, line, register
from tests.ml.training.training_builders import frame_of

pytestmark = pytest.mark.slow


def with_features(frame):
    """Every feature of the contract: those that follow the failure rate, one that nobody knows, and noise."""
    generator = np.random.default_rng(3)
    features = pd.DataFrame({name: generator.random(len(frame)) for name in FEATURES}, index=frame.index)
    rate = frame["rate"].fillna(0.02)
    failing = [name for name in FEATURES if "failure_rate" in name and "run" not in name and "author" not in name]
    features[failing] = np.column_stack([rate * generator.uniform(0.9, 1.1, len(frame)) for _ in failing])
    features["executions_since_failure_count"] = np.where(rate > 0.1, 0.0, np.nan)
    features["is_failing"] = (rate > 0.1).astype(float)
    return frame.join(features.assign(is_failing_in_change=np.nan))


@pytest.fixture(scope="module")
def frame():
    return with_features(frame_of(runs=120))


@pytest.fixture(scope="module")
def fitted(frame):
    split = training.split_by_time(training.runs_of(frame), 0.3)
    return training.fit_candidates(load_model("test_selection"), frame, split, training.FitOptions(seed=1))


def test_the_registry_names_the_models_of_the_settings():
    assert tuple(MODULES) == MODELS
    assert [load_model(name).name for name in MODULES] == list(MODULES)


def test_an_unknown_model_is_named_with_those_that_there_are():
    with pytest.raises(
        SettingsError,
        match=r"'flaky' is not a model of Fourgate; the models are test_selection, build_risk, flaky_tests",
    ):
        load_model("flaky")


def test_naming_the_models_does_not_import_scikit_learn():
    code = "import sys, ml.models; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_features_are_those_of_the_contract():
    assert load_model("test_selection").features == FEATURES


def test_every_candidate_fits_with_unknown_features_and_ranks_what_fails_first(frame, fitted):
    assert [one.name for one in fitted] == [
        "logistic_regression",
        "random_forest",
        "gradient_boosting",
        "blend",
        "ranker",
        "two_headed",
    ]
    for one in fitted:
        scores = frame.assign(score=training.predict(one.estimator, frame)["score"]).dropna(subset="rate")
        means = scores.groupby("rate")["score"].mean()
        assert means[0.6] > means[0.02], one.name


def built(frames, queries):
    with open_engine("duckdb", threads=2) as engine:
        register(engine, frames)
        (frame,) = load_model("test_selection").build(engine, queries, Context())
        return frame


def test_a_training_frame_says_what_its_failures_are_held_for_as_known_then():
    frames = line("pppfppfppp", commits="abcddefghi")  # r3 passes on its commit in r4
    late = built(frames, Queries.training("p", as_of=LATER)).set_index("run_id")
    subject = late[late["test_id"] == late["test_id"][late["failed"]].iloc[0]]
    assert subject["failure_state"].dropna().index.tolist() == ["r3", "r6"]
    assert subject.loc["r3", ["failure_state", "settled_at"]].tolist() == ["flaky", at(45)]
    assert subject["failed_before"].tolist() == [False] * 4 + [True] * 6
    assert subject["settled_at"].dropna().index.tolist() == ["r3"]  # r6 has had too few executions since
    early = built(frames, Queries.training("p", as_of=at(44))).set_index("run_id")
    assert early["settled_at"].isna().all()


def test_a_frame_to_score_knows_no_failure():
    asked = Queries.prediction("p", pd.DataFrame({"run_id": [], "started_at": []}), LATER)
    frame = built(line("pppf"), asked)
    assert len(frame)
    assert "failure_state" not in frame


def baseline(name, **columns):
    frame = pd.DataFrame(columns)
    return load_model("test_selection").baselines[name](frame).tolist()


def test_recently_failed_first_puts_tests_that_never_failed_last():
    [late, soon, never] = baseline("recently_failed_first", executions_since_failure_count=[9.0, 1.0, np.nan])
    assert soon > late
    assert np.isnan(never)


def test_failure_rate_with_decay_is_the_weighted_rate():
    assert baseline("failure_rate_with_decay", ewma_failure_rate=[0.2, 0.0]) == [0.2, 0.0]


def test_failure_rate_per_second_prefers_the_short_test_and_the_one_without_a_duration():
    rates = {"ewma_failure_rate": [0.2, 0.2, 0.2], "mean_duration_s": [10.0, 1.0, np.nan]}
    [long, short, unknown] = baseline("failure_rate_per_second", **rates)
    assert unknown > short > long
    assert short == pytest.approx(0.201 / 1.001)


def test_the_random_order_is_the_same_each_time_and_another_in_each_run():
    keys = {"variant": ["", "", ""], "test_id": ["a", "b", "a"]}
    first = baseline("random", run_id=["1", "1", "1"], **keys)
    assert first == baseline("random", run_id=["1", "1", "1"], **keys)
    assert first[0] == first[2] != first[1]
    assert first != baseline("random", run_id=["2", "2", "2"], **keys)
    assert all(0 <= value <= 1 for value in first)


def test_the_rules_hold_for_a_sane_model(frame, fitted):
    for rule in load_model("test_selection").rules:
        changed = rule.change(frame)
        broken = {}
        for one in fitted:
            before = training.predict(one.estimator, frame)["score"]
            rise = training.predict(one.estimator, changed)["score"].loc[before.index] - before
            bad = rise.abs() > 1e-9 if rule.kind is RuleKind.SAME else rise < -1e-9
            broken[one.name] = bad.mean()
        limit = 0.0 if rule.kind is RuleKind.SAME else 0.1
        assert max(broken.values()) <= limit, (rule.name, broken)


def test_the_rule_of_a_failed_last_execution_tells_one_story():
    columns = dict.fromkeys(FEATURES, 0.0) | {"executions_count": 4.0, "since_execution_s": 60.0, "variants_count": 2.0}
    rows = pd.DataFrame([columns, columns | {"is_failing": 1.0, "ewma_failure_rate": 0.5}])
    [rule] = [rule for rule in load_model("test_selection").rules if rule.name == "last_execution_failed"]
    changed = rule.change(rows)
    pd.testing.assert_series_equal(changed.iloc[1], rows.iloc[1])
    moved = changed.iloc[0][changed.iloc[0] != rows.iloc[0]].to_dict()
    assert moved == pytest.approx(
        {
            "failures_count": 1.0,
            "failure_rate": 0.25,
            "failure_rate_last_5": 0.2,
            "failure_rate_last_10": 0.1,
            "failure_rate_last_30": 1 / 30,
            "new_failure_rate": 0.25,
            "new_failure_rate_last_30": 1 / 30,
            "test_last_failure_rate": 0.5,
            "ewma_failure_rate": 0.2,
            "slow_ewma_failure_rate": 0.05,
            "is_failing": 1.0,
            "failures_in_a_row_count": 1.0,
            "since_failure_s": 60.0,
            "failures_7d": 1.0,
        }
    )


def test_a_rule_leaves_the_rows_it_was_given_alone(frame):
    before = frame.copy()
    for rule in load_model("test_selection").rules:
        rule.change(frame)
    pd.testing.assert_frame_equal(frame, before)
