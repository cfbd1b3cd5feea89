"""The experiment flags tests by what was known at each look, chooses its limits on other data, and counts right."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from experiments.flakiness import (
    CASES,
    METHODS,
    TEST,
    Known,
    Part,
    Rule,
    choose,
    compare,
    flagged,
    flip_rates,
    looks,
    measure,
    part_of,
    same_commit,
    simulated,
    truth_of,
)
from ml.sources.simulator import World
from tests.label_builders import line

pytestmark = pytest.mark.slow

WORLD = World(seed=3, run_count=60, module_count=4, flaky_share=0.4)


@pytest.fixture(scope="module")
def known() -> Known:
    return simulated(WORLD)


def part(looked: str, flaky: str) -> Part:
    """Tests a, b, ... with a digit per weekly look as the score (tenths); those named in `flaky` are flaky."""
    rows = [
        {"project": "p", "variant": "v", "test_id": name, "score": int(digit) / 10, "executions": 10 * at}
        for name, digits in zip("abcdefgh", looked.split(), strict=False)
        for at, digit in enumerate(digits, start=1)
    ]
    frame = pd.DataFrame(rows).sort_values("executions", kind="stable")
    tests = frame.groupby(TEST, as_index=False)["executions"].max()
    return Part(
        frame.assign(failures=frame["executions"] // 10), tests.assign(is_flaky=tests["test_id"].isin([*flaky]))
    )


def test_a_test_is_flagged_at_the_first_look_that_reaches_the_limit() -> None:
    found = flagged(part("139 111 909", flaky="ac"), Rule("score", 0.9))
    assert found["flagged_after"].tolist() == [30, np.inf, 10]
    assert found["failures_until_flagged"].tolist() == [3, np.inf, 1]


def test_the_limit_is_the_lowest_that_is_precise_enough() -> None:
    assert choose(part("09 08 05 04", flaky="abd"), ["score"]) == Rule("score", 0.8)
    assert choose(part("09 08 05 04", flaky="abcd"), ["score"]) == Rule("score", 0.4)


def test_tests_with_equal_scores_are_flagged_together() -> None:
    assert choose(part("09 05 05", flaky="ab"), ["score"]) == Rule("score", 0.9)


def test_where_no_limit_is_precise_enough_nothing_is_flagged() -> None:
    rule = choose(part("09 05", flaky="b"), ["score"])
    assert rule == Rule("score", float("inf"))
    assert np.isinf(flagged(part("99 99", flaky="ab"), rule)["flagged_after"]).all()


def test_measures_count_typed_flags() -> None:
    judged = part("1119 9999 1111 9111", flaky="abc")
    rules = {"posterior": Rule("score", 0.9), "flip_rate": Rule("score", 1.0)}
    rows = list(measure({}, judged, rules))
    found = {row["measure"]: (row["value"], row["number"]) for row in rows if row["method"] == "posterior"}
    assert found["precision"] == (round(2 / 3, 4), 3)
    assert found["recall"] == (round(2 / 3, 4), 3)
    assert found["executions_until_flagged"] == (40, 3)  # 10, 40 and never
    assert found["recall_within_50"] == (None, 0)  # none of them ran so often
    lead = {row["measure"]: row["value"] for row in rows if row["method"] == "posterior - flip_rate"}
    assert lead["recall"] == round(2 / 3, 4)


def test_half_of_the_tests_never_flagged_leave_no_median() -> None:
    rows = measure({}, part("11 19 11", flaky="abc"), dict.fromkeys(METHODS, Rule("score", 0.9)))
    medians = [row["value"] for row in rows if row["measure"] == "executions_until_flagged"]
    assert medians == [None, None]


def test_flips_are_counted_in_the_last_executions_of_each_variant() -> None:
    outcomes = [True, False, True, True] + [False] * 9
    executions = pd.DataFrame({"variant": "v", "test_id": "t", "failed": outcomes})
    rates = flip_rates(pd.concat([executions, executions.tail(1).assign(variant="w")]))
    assert rates["flip_rate 10"].to_dict() == {("v", "t"): 1 / 9, ("w", "t"): 0}
    assert rates["flip_rate 20"].to_dict() == {("v", "t"): 3 / 19, ("w", "t"): 0}


def test_both_outcomes_on_one_commit_are_the_truth_of_a_real_history() -> None:
    found = same_commit("p", line("pfffpf", commits="aabbc-")).flaky
    assert found.to_dict("records") == [{"run_id": "r1", "variant": "v", "test_id": "pkg.TestA"}]


def test_a_look_sees_nothing_that_came_later(known: Known) -> None:
    every = timedelta(days=4)
    runs = known.history["runs"]
    early = set(runs.sort_values("started_at")["run_id"].head(30))
    cut = Known("p", {name: frame[frame["run_id"].isin(early)] for name, frame in known.history.items()}, known.flaky)
    first_cut = runs.loc[~runs["run_id"].isin(early), "started_at"].min()
    some, every_one = (looks(one, every).drop(columns="project") for one in (cut, known))
    some, every_one = some[some["at"] < first_cut], every_one[every_one["at"] < first_cut]
    assert len(some) == 17
    pd.testing.assert_frame_equal(some, every_one)


def test_a_simulated_history_gives_the_same_rows_twice(known: Known) -> None:
    judged = part_of([known], timedelta(days=4))
    assert judged.tests["is_flaky"].sum() == known.flaky[["variant", "test_id"]].drop_duplicates().shape[0] > 3
    parts = dict.fromkeys(("simulator", "simulator, other seeds"), judged)
    first, second = (list(compare(parts, CASES[:1])) for _ in range(2))
    assert first == second
    assert {row["method"] for row in first} == {*METHODS, "posterior as shipped", "posterior - flip_rate"}
    assert set(first[0]) >= {"experiment", "set", "project", "method", "measure", "value", "low", "high", "number"}


def test_every_executed_test_is_in_the_truth(known: Known) -> None:
    executed = known.history["test_results"].query("outcome != 'skipped'")
    assert len(truth_of(known)) == len(executed[["variant", "test_id"]].drop_duplicates())
