"""The experiment reads builds as a history, in time order, and judges the last share of it only."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments import page
from experiments.build_risk import CHANGE, STATE, builds_frame, builds_spec, choose, measure, split_at
from ml import training

pytestmark = pytest.mark.slow


def frame_of(runs: int) -> pd.DataFrame:
    """Builds an hour apart; every third one fails."""
    count = np.arange(runs)
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


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return frame_of(40)


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


def test_the_choice_is_blind_to_the_judged_runs_and_they_are_what_is_measured() -> None:
    frame, shipped = frame_of(240), builds_spec()
    spec = replace(shipped, candidates={"logistic_regression": shipped.candidates["logistic_regression"]})
    judged = frame["started_at"] >= split_at(frame, 0.7, 1).test.start
    chosen = choose(spec, frame)
    assert choose(spec, frame.assign(failed=frame["failed"] ^ judged)) == chosen
    found = list(measure("builds", spec, frame))
    assert {row["chosen"] for row in found} == {chosen.name}
    assert {row["runs"] for row in found} == {72}
    [own] = [row for row in found if row["method"] == "model" and row["measure"] == "brier"]
    [rival] = [row for row in found if row["method"] == "outcomes_with_decay" and row["measure"] == "brier"]
    assert own["value"] <= rival["value"]


def test_the_page_says_where_the_model_is_behind_its_rival_and_whether_that_is_within_its_interval() -> None:
    def rows(measure: str, own: float, rival: float) -> list[dict[str, object]]:
        about = {"set": "builds", "project": "ruby", "measure": measure}
        ours = {**about, "method": "model", "value": own, "low": own - 0.05, "high": own + 0.05}
        return [ours, {**about, "method": "outcomes_with_decay", "value": rival}]

    found = page.against(
        [*rows("auc", 0.7, 0.72), *rows("pr_auc", 0.5, 0.4), *rows("brier", 0.2, 0.1)], "outcomes_with_decay"
    )
    assert [round(row["lead"], 2) for row in found] == [-0.02, 0.1, -0.1]
    assert [row["is_within"] for row in found] == [True, False, False]
