"""The experiment reads builds as a history, in time order, and judges the last share of it only."""

import numpy as np
import pandas as pd
import pytest

from experiments.build_risk import CHANGE, STATE, builds_frame, builds_spec, split_at
from ml import training


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Forty builds an hour apart; every third one fails."""
    count = np.arange(40)
    starts = pd.Timestamp("2014-01-01") + pd.to_timedelta(count, unit="h")
    builds = pd.DataFrame(
        {
            "project": "ruby",
            "tr_build_id": 99_990 + count,
            "gh_build_started_at": starts.strftime("%Y-%m-%dT%H:%M:%S"),
            "build_Failed": (count % 3 == 0).astype(int),
            "gh_is_pr": 0,
            **dict.fromkeys((*CHANGE, *STATE), count),
        }
    )
    return builds_frame(builds.sample(frac=1, random_state=1))


def test_a_build_sees_the_outcomes_before_it_and_its_own_change(frame: pd.DataFrame) -> None:
    failed = frame["failed"].to_numpy(bool)
    assert failed.tolist() == [number % 3 == 0 for number in range(40)]
    assert frame["is_last_failed"].to_numpy()[1:].tolist() == failed[:-1].astype(float).tolist()
    assert frame["runs_count"].tolist() == list(range(40))
    assert frame["git_diff_src_churn"].tolist() == list(range(40))
    assert frame["since_last_run_s"].isna().all()  # the builds have no test results


def test_the_periods_follow_each_other_and_the_last_share_is_judged(frame: pd.DataFrame) -> None:
    split = split_at(frame, 0.7, 1)
    sizes = [len(training.period_rows(frame, split, name)) for name in ("fit", "calibrate", "validate", "test")]
    assert sizes == [22, 6, 0, 12]
    assert split_at(frame, 0.5, 0.6).test.end == frame["started_at"].iloc[24]


def test_the_model_is_the_shipped_one_on_the_columns_that_builds_have(frame: pd.DataFrame) -> None:
    spec = builds_spec()
    assert set(spec.features) <= set(frame)
    found = training.baseline_scores(spec, frame, split_at(frame, 0.7, 1), frame.tail(3))
    assert set(found) == {"previous_outcome", "outcomes_with_decay", "change_metrics", "random"}
    assert all(scores["probability"].between(0, 1).all() for scores in found.values())
