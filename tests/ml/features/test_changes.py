"""Changes typed by hand, with the answers worked out by hand."""

import math

from tests.feature_builders import features_of, history, result, run

DAY = 24 * 60


def test_size_and_kinds_of_a_change() -> None:
    files = [
        ("1", "core/src/main/java/org/x/A.java", 10, 1),
        ("1", "core/src/test/java/org/x/TestA.java", 5, None),
        ("1", "pom.xml", None, 2),
        ("1", "docs/guide.md", 1, 0),
    ]
    row = features_of(history([run("1", 0)], [result("1", "t", "passed")], files)).iloc[0]
    assert (row["has_change"], row["files_count"], row["lines_added_count"], row["lines_deleted_count"]) == (
        1,
        4,
        16,
        3,
    )
    kinds = [row[f"{kind}_files_rate"] for kind in ("source", "test", "build", "docs")]
    assert kinds == [0.25, 0.25, 0.25, 0.25]
    assert (row["has_build_file"], row["folders_count"], row["modules_count"]) == (1, 4, 3)


def test_a_run_without_known_files_has_no_size_and_says_so() -> None:
    row = features_of(history([run("1", 0)], [result("1", "t", "passed")])).iloc[0]
    assert row["has_change"] == 0
    assert math.isnan(row["files_count"])
    assert math.isnan(row["has_own_file"])
    assert math.isnan(row["cofailure_file_rate"])


def test_churn_counts_known_runs_of_thirty_days_that_touched_the_files() -> None:
    runs = [run("1", 0), run("2", 1 * DAY), run("3", 2 * DAY), run("4", 31 * DAY)]
    files = [(r, "a.py", 1, 0) for r in "1234"] + [("4", "b.py", 1, 0)]
    row = features_of(history(runs, [result(r, "t", "passed") for r in "1234"], files)).iloc[-1]
    assert (row["max_churn_30d"], row["mean_churn_30d"]) == (2, 1)


def test_earlier_runs_of_the_same_change_tell_what_failed_in_it() -> None:
    about = {"change_id": "7", "branch": "topic"}
    runs = [run("1", 0, 1, **about), run("2", 5, 6, **about), run("3", 6, 7, change_id="8"), run("4", 9, 10, **about)]
    outcomes = {
        "1": ("failed", "failed"),
        "2": ("failed", "passed"),
        "3": ("passed", "failed"),
        "4": ("passed", "passed"),
    }
    results = [result(r, t, o) for r, pair in outcomes.items() for t, o in zip("ab", pair, strict=True)]
    frame = features_of(history(runs, results)).set_index(["run_id", "test_id"])
    names = ["change_runs_count", "change_failures_count", "is_failing_in_change"]
    assert frame.loc[("4", "a"), names].tolist() == [2, 2, 1]
    assert frame.loc[("4", "b"), names].tolist() == [2, 1, 0]
    assert frame.loc[("3", "a"), names[:2]].tolist() == [0, 0]
    assert math.isnan(frame.loc[("3", "a"), "is_failing_in_change"])


def test_runs_of_the_trunk_are_not_one_change() -> None:
    runs = [
        run("1", 0, branch="Master"),
        run("2", 1, branch="Master"),
        run("3", 2, branch="fix"),
        run("4", 3, branch="fix"),
    ]
    frame = features_of(history(runs, [result(r, "t", "failed") for r in "1234"]))
    assert frame["change_runs_count"].tolist() == [0, 0, 0, 1]


def test_the_author_and_the_last_runs_are_remembered() -> None:
    runs = [run("1", 0, author_id="ann"), run("2", 1, author_id="ann"), run("3", 2, author_id="bob")]
    runs += [run("4", 3, author_id="ann", event="pull_request"), run("5", 4, event="push")]
    outcomes = {"1": "fp", "2": "pp", "3": "ff", "4": "pp", "5": "pp"}
    words = {"p": "passed", "f": "failed"}
    results = [result(r, t, words[o]) for r, pair in outcomes.items() for t, o in zip("ab", pair, strict=True)]
    row = features_of(history(runs, results)).drop_duplicates("run_id").set_index("run_id")
    assert row.loc["4", ["author_runs_count", "author_failure_rate"]].tolist() == [2, 0.5]
    assert row.loc["4", ["last_run_failure_rate", "last_5_runs_failure_rate"]].tolist() == [1, 0.5]
    assert row.loc["4", ["last_run_results_count", "since_last_run_s", "is_pull_request"]].tolist() == [2, 60, 1]
    assert row.loc["5", "is_pull_request"] == 0
    assert math.isnan(row.loc["5", "author_runs_count"])
