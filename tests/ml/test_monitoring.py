"""Live measures: predictions joined to outcomes that came later, with answers worked out by hand."""

import math
from datetime import UTC, datetime

import pandas as pd
import pytest

from ml.monitoring import live_measures
from ml.spec import Objective

NIGHT = datetime(2019, 11, 19, 3, tzinfo=UTC)
START = datetime(2019, 11, 19, 9, tzinfo=UTC)


def _predictions(run: str, scores: list[float], selected: int, as_of: datetime = NIGHT) -> pd.DataFrame:
    """Tests t0, t1, ... of a run; the first ones are selected."""
    return pd.DataFrame(
        {
            "change_id": run,
            "variant": "",
            "test_id": [f"t{n}" for n in range(len(scores))],
            "score": scores,
            "probability": scores,
            "decision": ["select"] * selected + ["skip"] * (len(scores) - selected),
            "as_of": pd.Timestamp(as_of),
        }
    )


def _outcomes(run: str, failed: list[int], count: int = 10, duration_s: float = 2.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run_id": run,
            "variant": "",
            "test_id": [f"t{n}" for n in range(count)],
            "started_at": pd.Timestamp(START),
            "failed": [n in failed for n in range(count)],
            "duration_s": duration_s,
        }
    )


DESCENDING = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]


def test_a_run_whose_failures_were_ranked_first_and_fifth() -> None:
    found = live_measures(_predictions("r1", DESCENDING, selected=3), _outcomes("r1", [0, 4]))
    assert found["apfd"] == pytest.approx(1 - (1 + 5) / (10 * 2) + 1 / 20)
    assert found["test_recall"] == 0.5
    assert found["change_recall"] == 1.0
    assert found["selection_rate"] == pytest.approx(0.3)
    assert found["selection_duration_rate"] == pytest.approx(0.3)
    assert found["failure_rate"] == pytest.approx(0.2)
    assert found["mean_probability"] == pytest.approx(0.45)
    squares = 0.1**2 + 0.8**2 + 0.7**2 + 0.6**2 + 0.5**2 + 0.4**2 + 0.3**2 + 0.2**2 + 0.1**2
    assert found["brier"] == pytest.approx(squares / 10)
    assert (found["runs_count"], found["matched_count"], found["coverage_rate"]) == (1, 10, 1.0)


def test_recalls_are_means_over_runs_and_a_missed_change_counts() -> None:
    predictions = pd.concat([_predictions("r1", DESCENDING, 3), _predictions("r2", DESCENDING, 3)])
    outcomes = pd.concat([_outcomes("r1", [0, 1]), _outcomes("r2", [8, 9])])
    found = live_measures(predictions, outcomes)
    assert (found["test_recall"], found["change_recall"], found["runs_count"]) == (0.5, 0.5, 2)


def test_the_earliest_prediction_counts_when_a_change_was_published_again() -> None:
    later = _predictions("r1", DESCENDING[::-1], 10, datetime(2019, 11, 20, tzinfo=UTC))
    found = live_measures(pd.concat([later, _predictions("r1", DESCENDING, 3)]), _outcomes("r1", [0]))
    assert found["predictions_count"] == 10
    assert found["apfd"] == pytest.approx(0.95)
    assert found["selection_rate"] == pytest.approx(0.3)


def test_results_that_nobody_predicted_lower_the_coverage_only() -> None:
    found = live_measures(_predictions("r1", DESCENDING, 3), _outcomes("r1", [0, 11], count=20))
    assert (found["coverage_rate"], found["matched_count"], found["test_recall"]) == (0.5, 10, 1.0)


def test_predictions_without_outcome_wait_and_their_scores_are_compared() -> None:
    waiting = _predictions("next", [0.95] * 10, 3)
    found = live_measures(pd.concat([_predictions("r1", DESCENDING, 3), waiting]), _outcomes("r1", [0]))
    assert found["waiting_count"] == 10
    assert found["waiting_mean_probability"] == pytest.approx(0.95)
    assert found["score_shift"] == 1.0
    same = live_measures(
        pd.concat([_predictions("r1", DESCENDING, 3), _predictions("next", DESCENDING, 3)]), _outcomes("r1", [0])
    )
    assert same["score_shift"] == 0.0


def test_before_any_outcome_there_are_proxies_only() -> None:
    found = live_measures(_predictions("next", DESCENDING, 3), _outcomes("r1", []).iloc[:0])
    assert (found["matched_count"], found["runs_count"], found["waiting_count"]) == (0, 0, 10)
    assert found["waiting_mean_probability"] == pytest.approx(0.45)
    measured = (
        "apfd",
        "test_recall",
        "change_recall",
        "selection_rate",
        "brier",
        "ece",
        "coverage_rate",
        "score_shift",
    )
    assert all(math.isnan(found[name]) for name in measured)


def test_a_run_without_failures_measures_calibration_but_no_recall() -> None:
    found = live_measures(_predictions("r1", [0.1] * 10, 3), _outcomes("r1", []))
    assert math.isnan(found["apfd"])
    assert math.isnan(found["test_recall"])
    assert found["brier"] == pytest.approx(0.01)
    assert found["ece"] == pytest.approx(0.1)


def test_unknown_durations_leave_the_time_share_unknown() -> None:
    found = live_measures(_predictions("r1", DESCENDING, 3), _outcomes("r1", [0], duration_s=math.nan))
    assert math.isnan(found["selection_duration_rate"])
    assert found["selection_rate"] == pytest.approx(0.3)


def _risk(run: str, probability: float, decision: str) -> pd.DataFrame:
    row = {"change_id": run, "variant": "*", "test_id": "*", "score": probability, "probability": probability}
    return pd.DataFrame([{**row, "decision": decision, "as_of": pd.Timestamp(NIGHT)}])


def test_decisions_about_runs_are_held_against_their_outcomes() -> None:
    given = [("a", 0.9, "risky", True), ("b", 0.8, "risky", False), ("c", 0.2, "ok", True), ("d", 0.1, "ok", False)]
    outcomes = pd.DataFrame(
        [
            {"run_id": run, "variant": "*", "test_id": "*", "started_at": pd.Timestamp(START), "failed": failed}
            for run, _, _, failed in given
        ]
    ).assign(duration_s=60.0)
    found = live_measures(pd.concat([_risk(*one[:3]) for one in given]), outcomes, Objective.PROBABILITY)
    assert (found["precision"], found["change_recall"], found["selection_rate"]) == (0.5, 0.5, 0.5)
    assert found["auc"] == pytest.approx(3 / 4)
    assert found["quadratic_score"] == pytest.approx(1 - (0.01 + 0.64 + 0.64 + 0.01) / 4)
    assert found["runs_count"] == 4
    nothing = live_measures(_risk("next", 0.4, "ok"), outcomes.iloc[:0], Objective.PROBABILITY)
    assert math.isnan(nothing["auc"])
    assert nothing["waiting_count"] == 1
