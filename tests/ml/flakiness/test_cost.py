"""What flaky failures cost, typed by hand."""

import math

import pandas as pd

from ml.flakiness import cost

NAMES = ["run_id", "variant", "test_id"]


def costs(failures: str, repeated: dict[str, float] | None = None, rescued: str = "") -> dict[str, tuple[int, float]]:
    """Test -> (failed runs, minutes of reruns).

    `failures` are words of run, test and state (f flaky, r regression), such as ``1af``; those named in `rescued` (as
    ``1a``) passed in a rerun of the same attempt. `repeated` maps a run to its repeated seconds.
    """
    rows = [(word[0], "v", word[1], {"f": "flaky", "r": "regression"}[word[2]]) for word in failures.split()]
    labels = pd.DataFrame(rows, columns=[*NAMES, "state"])
    is_red = [run + test not in rescued.split() for run, test in zip(labels["run_id"], labels["test_id"], strict=True)]
    again = pd.DataFrame((repeated or {}).items(), columns=["run_id", "seconds"]).astype({"seconds": float})
    tests = pd.MultiIndex.from_product([["v"], ["a", "b", "c"]], names=["variant", "test_id"])
    found = cost(tests, labels, labels.loc[is_red, NAMES], again)
    return {
        test: (row.failed_runs, row.rerun_minutes) for (_, test), row in zip(tests, found.itertuples(), strict=True)
    }


def test_a_run_that_only_flaky_failures_turned_red_counts_for_each_of_its_tests() -> None:
    found = costs("1af 2af 2bf 3ar")
    assert found == {"a": (2, 0.0), "b": (1, 0.0), "c": (0, 0.0)}


def test_a_run_that_would_have_failed_anyway_costs_nothing() -> None:
    assert costs("1af 1br", repeated={"1": 600}) == {"a": (0, 0.0), "b": (0, 0.0), "c": (0, 0.0)}


def test_what_ran_again_is_shared_among_the_tests_that_failed() -> None:
    assert costs("1af 2af 2bf", repeated={"1": 60, "2": 240}) == {"a": (2, 3.0), "b": (1, 2.0), "c": (0, 0.0)}


def test_a_rerun_in_the_same_attempt_costs_minutes_but_no_red_run() -> None:
    assert costs("1af", repeated={"1": 30}, rescued="1a")["a"] == (0, 0.5)


def test_repeated_executions_without_durations_are_unknown_and_not_free() -> None:
    found = costs("1af 2bf 3bf", repeated={"1": math.nan, "2": math.nan, "3": 60})
    assert math.isnan(found["a"][1])
    assert found["b"] == (2, 1.0)  # what is known of it
    assert found["c"] == (0, 0.0)


def test_a_history_without_failures_costs_nothing() -> None:
    assert costs("") == dict.fromkeys("abc", (0, 0.0))
