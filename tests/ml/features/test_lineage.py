"""Renamed tests and moved files, typed by hand; equality with plain definitions is held by `test_build`."""

from typing import Any

import pandas as pd
import pytest

from ml.features import Queries
from ml.features.lineage import ALWAYS, lineage_table
from tests.feature_builders import at, features_of, history, result, run

OLD, NEW = "org.old.TestParser", "org.new.TestParser"


def rows(runs: list[list[str]], variant: str = "v") -> pd.DataFrame:
    """Features of runs ten minutes apart; a run is a list of tests, ``!`` in front of one that fails."""
    executed = [(str(i), test) for i, tests in enumerate(runs) for test in [*tests, "org.other.TestStays"]]
    results = [
        result(run_id, test.strip("!"), "failed" if "!" in test else "passed", variant=variant)
        for run_id, test in executed
    ]
    frames = history([run(f"{i}", 10 * i, 10 * i + 1) for i in range(len(runs))], results)
    return features_of(frames).set_index(["run_id", "test_id"])


def test_a_test_that_moves_to_another_package_keeps_its_history_from_its_second_run_on() -> None:
    found = rows([[f"!{OLD}"], [OLD], [NEW], [f"!{NEW}"], [NEW]])
    counts = found["executions_count"]
    assert [counts["2", NEW], counts["3", NEW], counts["4", NEW]] == [0, 3, 4]
    assert [found["failures_count"]["3", NEW], found["failures_count"]["4", NEW]] == [1, 2]
    assert found["is_failing"]["4", NEW] == 1
    assert found["test_failure_rate_last_10_runs"]["3", NEW] == pytest.approx(1 / 3)


def test_an_old_name_that_a_branch_still_runs_shares_the_history() -> None:
    found = rows([[OLD], [NEW], [f"!{OLD}"], [NEW], [OLD]])["failures_count"]
    assert [found["3", NEW], found["4", OLD]] == [1, 1]


def test_names_that_run_together_are_two_tests_and_the_new_one_starts_over() -> None:
    found = rows([[f"!{OLD}"], [NEW], [NEW], [OLD, NEW], [OLD, NEW], [OLD, NEW]])["executions_count"]
    assert [found["2", NEW], found["3", NEW], found["4", NEW], found["5", NEW]] == [2, 3, 1, 2]
    assert found["5", OLD] == 5
    assert rows([[OLD], [OLD, NEW], [NEW]])["executions_count"]["2", NEW] == 1


def test_what_is_ambiguous_or_long_gone_links_nothing() -> None:
    other = "org.third.TestParser"
    two_before = rows([[OLD, other], [NEW], [NEW]])["executions_count"]
    assert two_before["2", NEW] == 1
    two_after = rows([[OLD], [NEW, other], [NEW, other]])["executions_count"]
    assert [two_after["2", NEW], two_after["2", other]] == [1, 1]
    taken = rows([[OLD], [NEW], [other, NEW], [other]])["executions_count"]
    assert taken["3", other] == 1
    gone = rows([[OLD], *([[]] * 5), [NEW], [NEW]])["executions_count"]
    assert gone["7", NEW] == 1
    kept = rows([[OLD], *([[]] * 4), [NEW], [NEW]])["executions_count"]
    assert kept["6", NEW] == 2


def test_a_test_that_moves_twice_keeps_all_of_it() -> None:
    third = "org.third.TestParser"
    found = rows([[OLD], *([[NEW]] * 6), [third], [third]])["executions_count"]
    assert found["8", third] == 8


def test_a_test_that_moves_to_another_job_keeps_its_history_if_the_old_job_ran_without_it() -> None:
    ids = "0123"
    jobs = {"0": ["a"], "1": ["a"], "2": ["b"], "3": ["b"]}
    both = [result(r, "t.T", "passed", variant=job) for r in ids for job in jobs[r]]
    both += [result(r, f"t.In{job}", "passed", variant=job) for r in ids for job in "ab"]
    runs = [run(r, 10 * i, 10 * i + 1) for i, r in enumerate(ids)]
    found = features_of(history(runs, both)).set_index(["run_id", "variant", "test_id"])["executions_count"]
    assert [found["2", "b", "t.T"], found["3", "b", "t.T"]] == [0, 3]
    without = [one for one in both if (one["run_id"], one["test_id"]) != ("2", "t.Ina")]
    found = features_of(history(runs, without)).set_index(["run_id", "variant", "test_id"])["executions_count"]
    assert found["3", "b", "t.T"] == 1


def test_the_next_run_is_asked_about_both_names_with_one_history() -> None:
    frames = history([run("0", 0, 1), run("1", 10, 11)], [result("0", OLD, "failed"), result("1", NEW, "passed")])
    nothing = pd.DataFrame({"run_id": [], "started_at": []})
    found = features_of(frames, Queries.prediction("p", nothing, at(20))).set_index("test_id")
    assert found["executions_count"].to_dict() == {NEW: 2, OLD: 2}


def two_tests(runs_count: int) -> list[dict[str, Any]]:
    """Results of two tests, one of which fails in the first run."""
    pairs = [(run_no, test) for run_no in range(runs_count) for test in ("x.A", "x.B")]
    return [result(str(i), test, "failed" if (i, test) == (0, "x.A") else "passed") for i, test in pairs]


@pytest.mark.parametrize("old_lines", [(0, 30), (None, None)])
def test_failing_together_survives_the_move_of_a_file(old_lines: tuple[int | None, int | None]) -> None:
    old, new = "a/Parser.java", "b/Parser.java"
    runs = [run(str(i), 10 * i, 10 * i + 1) for i in range(4)]
    results = [
        result(str(i), t, "failed" if t == "x.A" and i == 0 else "passed") for i in range(4) for t in ("x.A", "x.B")
    ]
    files = [
        ("0", old, 1, 1),
        ("1", old, *old_lines),
        ("1", new, 30, 0),
        ("2", new, 1, 1),
        ("3", "c/Parser.java", 9, 0),
    ]
    found = features_of(history(runs, results, files)).set_index(["run_id", "test_id"])
    assert found["cofailure_file_rate"]["2", "x.A"] == 1 / 4
    assert found["mean_churn_30d"]["2", "x.A"] == 2
    assert found["cofailure_file_rate"]["3", "x.A"] == 0


def test_a_file_of_a_common_name_with_two_old_places_links_nothing() -> None:
    runs = [run(str(i), 10 * i, 10 * i + 1) for i in range(3)]
    results = [
        result(str(i), t, "failed" if t == "x.A" and i == 0 else "passed") for i in range(3) for t in ("x.A", "x.B")
    ]
    files = [("0", "a/__init__.py", 1, 1), ("0", "b/__init__.py", 1, 1), ("1", "a/__init__.py", 0, 3)]
    files += [("1", "b/__init__.py", 0, 3), ("1", "c/__init__.py", 3, 0), ("2", "c/__init__.py", 1, 1)]
    found = features_of(history(runs, results, files)).set_index(["run_id", "test_id"])
    assert found["cofailure_file_rate"]["2", "x.A"] == 0


def test_a_line_with_holes_is_inherited_piece_by_piece() -> None:
    links = pd.DataFrame([(2, 1, 10, 20), (3, 2, 15, ALWAYS)], columns=["heir", "before", "since_us", "until_us"])
    found = lineage_table("no", links).to_pylist()
    pieces = [(row["no"], row["lineage_no"], row["from_us"], row["until_us"]) for row in found]
    assert pieces == [(2, 1, 10, 20), (3, 1, 15, 20), (3, 2, 20, ALWAYS)]
    assert lineage_table("no", links.iloc[:0]).num_rows == 0
