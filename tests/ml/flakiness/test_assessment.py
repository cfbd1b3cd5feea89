"""Flaky tests from labelled failures: typed counts, states, and odd histories."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ml.errors import NotEnoughData
from ml.flakiness import COUNTS, Limits, assess, count
from tests.ml.flakiness.flakiness_builders import history

NEVER = float("nan")


def told(*values: float) -> pd.Series:
    """Assessment of one test: executions, flaky and other failures, failures in a row, executions since flaky."""
    (row,) = assess(pd.DataFrame([values], columns=list(COUNTS))).to_dict("records")
    return pd.Series(row)


def counts(outcomes: str) -> list[float]:
    (row,) = count(*history(outcomes)).itertuples(index=False)
    return list(row)


def test_the_rate_has_the_posterior_of_the_textbook() -> None:
    row = told(80, 4, 0, 0, 3)
    expected = stats.beta(0.05 + 4, 20 + 80 - 4.05)
    assert row["rate"] == pytest.approx(4.05 / 100)
    assert (row["rate_low"], row["rate_high"]) == pytest.approx(expected.interval(0.95))
    assert row["probability"] == pytest.approx(expected.sf(0.005))


def test_more_executions_without_a_failure_make_flakiness_less_probable() -> None:
    chances = [told(n, 1, 0, 0, n - 1)["probability"] for n in (10, 100, 1_000)]
    assert chances == sorted(chances, reverse=True)
    assert told(10, 0, 0, 0, NEVER)["state"] == "healthy"


def test_failures_of_the_code_are_no_trials() -> None:
    assert told(30, 2, 20, 0, 1)["rate"] == told(10, 2, 0, 0, 1)["rate"]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ((100, 0, 0, 0, NEVER), "healthy"),
        ((100, 4, 0, 0, 5), "flaky"),
        ((100, 20, 0, 0, 1), "quarantine candidate"),
        ((100, 4, 2, 2, 5), "broken"),
        ((20, 0, 20, 20, NEVER), "broken"),
        ((140, 10, 0, 0, 100), "fixed"),
    ],
)
def test_counts_decide_the_state(values: tuple[float, ...], state: str) -> None:
    assert told(*values)["state"] == state


def test_reasons_name_the_numbers() -> None:
    assert told(100, 4, 0, 0, 5)["reason"] == "4.0 flaky failures in 100 executions: flaky with probability 1.00"
    assert told(20, 0, 20, 20, NEVER)["reason"] == "failed 20 times in a row, not held for flaky"
    assert told(140, 10, 0, 0, 100)["reason"] == "10.0 flaky failures in 140 executions, none in the last 100"


@given(executions=st.integers(0, 400), data=st.data(), share=st.floats(0, 1))
def test_so_many_reruns_show_both_outcomes_of_a_flaky_test_with_95_percent(
    executions: int, data: st.DataObject, share: float
) -> None:
    row = told(executions + 1, data.draw(st.integers(0, executions)), 0, 0, 0)
    rate = share * row["rate_high"]  # any rate that is credible, up to the highest
    if math.isnan(row["reruns"]):
        assert row["rate_high"] ** Limits().most_reruns > 0.05
    else:
        assert stats.binom.sf(0, row["reruns"], 1 - rate) >= 0.95  # a pass beside the failure that was seen
        assert row["reruns"] == 1 or stats.binom.sf(0, row["reruns"] - 1, 1 - row["rate_high"]) < 0.95


def test_no_number_of_reruns_is_suggested_for_a_test_that_nearly_always_fails() -> None:
    assert math.isnan(told(400, 390, 0, 0, 1)["reruns"])
    assert told(4, 4, 0, 0, 0)["reruns"] == 3


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ("pppp", [4, 0, 0, 0, None]),
        ("pfpp", [4, 0.9, 0, 0, 2]),
        ("pprr", [4, 0, 2, 2, None]),
        ("prir", [4, 0, 3, 2, None]),
        ("rrfr", [4, 0.9, 3, 1, 0]),
        ("puni", [4, 1.0, 1, 2, None]),
        ("fiip", [4, 0.9, 2, 0, 1]),
        ("nnnn", [4, 2.0, 0, 4, None]),
    ],
)
def test_executions_and_labels_are_counted(outcomes: str, expected: list[float | None]) -> None:
    assert counts(outcomes) == pytest.approx([NEVER if value is None else value for value in expected], nan_ok=True)


def test_variants_are_tests_of_their_own() -> None:
    executions, labels = history("pfp")
    both = pd.concat([executions, executions.assign(variant="w")])
    found = count(both, labels)
    assert found["flaky_failures"].to_dict() == {("v", "t"): 0.9, ("w", "t"): 0.5}


def test_no_executions_say_so() -> None:
    with pytest.raises(NotEnoughData, match="0 executions, at least 1 is needed"):
        assess(pd.DataFrame(columns=list(COUNTS), dtype=float))
