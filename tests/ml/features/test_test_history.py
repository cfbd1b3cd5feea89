"""Histories typed by hand, with the answers worked out by hand."""

import math

import pytest

from tests.feature_builders import features_of, history, result, run

DAY = 24 * 60


def last_row(outcomes: str, every: float = 10) -> dict[str, float]:
    """Features of one more execution after `outcomes` (p, f, e, s: passed, failed, error, skipped)."""
    words = {"p": "passed", "f": "failed", "e": "error", "s": "skipped"}
    marks = [*outcomes, "p"]
    runs = [run(f"{i:04}", every * i) for i in range(len(marks))]
    results = [result(f"{i:04}", "t", words[mark], duration_s=float(i + 1)) for i, mark in enumerate(marks)]
    return features_of(history(runs, results)).iloc[-1].to_dict()


def test_counts_and_rates_after_pass_fail_fail_pass_error() -> None:
    row = last_row("pffpe")
    assert (row["executions_count"], row["failures_count"], row["failure_rate"]) == (5, 3, 0.6)
    assert (row["failure_rate_last_5"], row["is_failing"], row["previous_failed"]) == (0.6, 1, True)
    assert (row["failures_in_a_row_count"], row["executions_since_failure_count"]) == (1, 0)
    assert row["flip_rate_last_20"] == 0.75


def test_windows_of_5_10_and_30_executions_take_the_latest() -> None:
    row = last_row("f" * 25 + "p" * 8 + "ff")
    assert row["failure_rate_last_5"] == 0.4
    assert row["failure_rate_last_10"] == 0.2
    assert row["failure_rate_last_30"] == pytest.approx(22 / 30)
    assert row["flip_rate_last_20"] == 0.1
    assert row["failures_in_a_row_count"] == 2


def test_moving_averages_follow_their_recursion() -> None:
    row = last_row("fpf")
    assert row["ewma_failure_rate"] == pytest.approx(0.2 * 0.64 + 0.2, abs=1e-12)
    assert row["slow_ewma_failure_rate"] == pytest.approx(0.05 * 0.9025 + 0.05, abs=1e-12)


@pytest.mark.parametrize("count", [127, 128, 129, 300, 512, 513, 1200])
def test_moving_averages_stay_exact_over_long_histories(count: int) -> None:
    fast = slow = 0.0
    marks = "".join("f" if i % 7 in (0, 3) else "p" for i in range(count))
    for mark in marks:
        fast, slow = 0.8 * fast + 0.2 * (mark == "f"), 0.95 * slow + 0.05 * (mark == "f")
    row = last_row(marks)
    assert row["ewma_failure_rate"] == pytest.approx(fast, abs=1e-11)
    assert row["slow_ewma_failure_rate"] == pytest.approx(slow, abs=1e-11)


def test_times_are_seconds_since_the_fact_became_known() -> None:
    runs = [run("1", 0, 10), run("2", 20, 25), run("3", 30, 31)]
    results = [result("1", "t", "failed"), result("2", "t", "passed"), result("3", "t", "passed")]
    row = features_of(history(runs, results)).iloc[-1]
    assert (row["since_failure_s"], row["since_execution_s"], row["age_s"]) == (1200, 300, 1200)


def test_seven_days_reach_back_to_the_same_minute() -> None:
    runs = [run("1", 0), run("2", 1), run("3", 2), run("4", 7 * DAY + 1)]
    results = [result(r, "t", "failed") for r in "1234"]
    row = features_of(history(runs, results)).iloc[-1]
    assert (row["executions_7d"], row["failures_7d"], row["executions_count"]) == (2, 2, 3)


def test_durations_are_those_of_executions_and_missing_ones_do_not_count() -> None:
    runs = [run(r, i) for i, r in enumerate("1234")]
    spent = [2.0, None, 4.0, 9.0]
    results = [result(r, "t", "passed", duration_s=s) for r, s in zip("1234", spent, strict=True)]
    frame = features_of(history(runs, results))
    assert frame["mean_duration_s"].tolist()[1:] == [2.0, 2.0, 3.0]
    assert frame["last_duration_s"].iloc[3] == 4.0
    assert math.isnan(frame["last_duration_s"].iloc[2])
    assert frame["duration_deviation_s"].iloc[3] == 1.0
    assert frame["duration_s"].iloc[3] == 9.0


def test_a_first_execution_has_counts_of_zero_and_unknown_rates() -> None:
    row = last_row("")
    assert (row["executions_count"], row["ewma_failure_rate"], row["failures_7d"]) == (0, 0, 0)
    assert math.isnan(row["failure_rate"])
    assert math.isnan(row["since_failure_s"])
    assert row["previous_failed"] is False


def test_skipped_results_do_not_count_at_all() -> None:
    row = last_row("fsss")
    assert (row["executions_count"], row["is_failing"], row["executions_since_failure_count"]) == (1, 1, 0)


def test_attempts_are_one_execution_that_failed_if_any_attempt_failed() -> None:
    runs = [run("1", 0, 5), run("1", 6, 9, attempt=2), run("2", 8, 9), run("3", 10, 11)]
    results = [result("1", "t", "failed"), result("1", "t", "passed", attempt=2)]
    results += [result("2", "t", "passed"), result("3", "t", "passed")]
    frame = features_of(history(runs, results)).set_index("run_id")
    assert frame["failed"].to_dict() == {"1": True, "2": False, "3": False}
    assert frame["executions_count"].to_dict() == {"1": 0, "2": 0, "3": 2}
    assert frame.loc["3", "failures_count"] == 1


def test_variants_have_histories_of_their_own() -> None:
    results = [result("1", "t", "failed", variant="a"), result("1", "t", "passed", variant="b")]
    results += [result("2", "t", "passed", variant="a"), result("2", "t", "passed", variant="b")]
    frame = features_of(history([run("1", 0), run("2", 1)], results))
    assert frame[frame["run_id"] == "2"]["failures_count"].tolist() == [1, 0]


def test_runs_of_one_moment_never_see_each_other() -> None:
    results = [result(r, "t", "failed") for r in "123"]
    frame = features_of(history([run("1", 0), run("2", 0), run("3", 1)], results))
    assert frame["executions_count"].tolist() == [0, 0, 2]


def test_a_run_that_is_known_exactly_at_the_start_is_not_seen() -> None:
    results = [result(r, "t", "failed") for r in "12"]
    assert features_of(history([run("1", 0, 10), run("2", 10)], results))["executions_count"].tolist() == [0, 0]
    assert features_of(history([run("1", 0, 9), run("2", 10)], results))["executions_count"].tolist() == [0, 1]
