"""What ran again and what turned a run red, from typed attempts."""

import math

import pandas as pd
import pytest

from ml.engine import open_engine
from ml.labels import executions, red_failures, repeated
from tests.feature_builders import history
from tests.label_builders import LATER, at, register, result, run

OUTCOMES = {"p": "passed", "f": "failed", "s": "skipped"}


def read(attempts: dict[int, str], *, seconds: float | None = 6.0, as_of: float = 1000) -> dict[str, pd.DataFrame]:
    """One run of tests a, b, ...: attempt -> a letter per test; each of its attempts lasts ten minutes."""
    runs = [run("r", 10 * (n - 1), 10 * n, attempt=n) for n in sorted({attempt % 100 for attempt in attempts})]
    rows = [
        result("r", name, OUTCOMES[letter], attempt=attempt, duration_s=seconds)
        for attempt, letters in attempts.items()
        for name, letter in zip("abcd", letters, strict=False)
        if letter in OUTCOMES
    ]
    with open_engine("duckdb", threads=1) as engine:
        register(engine, history(runs, rows))
        return {
            "executions": executions(engine, at(as_of)),
            "red": red_failures(engine),
            "repeated": repeated(engine),
        }


def test_everything_beyond_the_first_execution_of_a_test_is_repeated() -> None:
    found = read({1: "pfp", 2: "ppp"})
    assert found["repeated"].to_dict("records") == [{"run_id": "r", "seconds": 18.0}]
    assert found["red"]["test_id"].tolist() == ["b"]


def test_a_rerun_in_the_same_attempt_that_passes_turns_nothing_red() -> None:
    found = read({1: "pfp", 101: "-p"})
    assert found["repeated"].to_dict("records") == [{"run_id": "r", "seconds": 6.0}]
    assert found["red"].empty
    assert found["executions"].query("failed")["test_id"].tolist() == ["b"]


def test_a_rerun_that_fails_as_well_stays_red() -> None:
    assert read({1: "pf", 101: "-f"})["red"]["test_id"].tolist() == ["b"]


def test_an_attempt_that_is_not_known_yet_is_no_repetition() -> None:
    found = read({1: "pf", 2: "pp"}, as_of=15)
    assert found["repeated"].empty
    assert len(found["red"]) == 1


def test_seconds_that_nobody_measured_are_unknown() -> None:
    (row,) = read({1: "pf", 2: "pp"}, seconds=None)["repeated"].to_dict("records")
    assert math.isnan(row["seconds"])


@pytest.mark.parametrize("attempts", [{1: "pp"}, {1: "ps"}])
def test_without_attempts_and_failures_nothing_is_repeated(attempts: dict[int, str]) -> None:
    found = read(attempts)
    assert found["repeated"].empty
    assert found["red"].empty


def test_an_execution_lasts_as_long_as_its_longest_attempt_with_that_outcome() -> None:
    runs = [run("r", 0, 5), run("r", 5, 9, attempt=2)]
    rows = [
        result("r", test, outcome, attempt=attempt, duration_s=seconds)
        for test, *attempts in (("a", ("passed", 9.0), ("failed", 2.0)), ("b", ("passed", 3.0), ("passed", None)))
        for attempt, (outcome, seconds) in enumerate(attempts, start=1)
    ]
    with open_engine("duckdb", threads=1) as engine:
        register(engine, history(runs, rows))
        assert executions(engine, LATER)["duration_s"].tolist() == [2.0, 3.0]
