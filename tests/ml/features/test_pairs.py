"""Tests and changes typed by hand, with the answers worked out by hand."""

import math

import pandas as pd
import pytest

from ml.features import NEXT_RUN, Context, Queries
from tests.feature_builders import at, features_of, history, result, run


def rows_of(path: str, tests: list[str]) -> pd.DataFrame:
    """Features of a second run of `tests` whose change is one file."""
    results = [result(r, test, "passed") for r in "12" for test in tests]
    frame = features_of(history([run("1", 0), run("2", 1)], results, [("2", path, 1, 0)]))
    return frame[frame["run_id"] == "2"].set_index("test_id")


@pytest.mark.parametrize(
    ("path", "test_id", "own", "subject"),
    [
        ("core/src/test/java/org/x/TestParser.java", "org.x.TestParser", 1, 0),
        ("core/src/main/java/org/x/Parser.java", "org.x.TestParser", 0, 1),
        ("core/src/main/java/org/x/Parser.java", "org.x.ParserTest", 0, 1),
        ("tests/unit/test_parser.py", "tests/unit/test_parser.py::TestParser::test_empty", 1, 1),
        ("app/parser.py", "tests/unit/test_parser.py::test_empty", 0, 1),
        ("core/src/main/java/org/x/Lexer.java", "org.x.TestParser", 0, 0),
    ],
)
def test_the_own_file_and_the_subject_are_found_by_name(path: str, test_id: str, own: int, subject: int) -> None:
    row = rows_of(path, [test_id]).loc[test_id]
    assert (row["has_own_file"], row["has_subject_file"]) == (own, subject)


def test_names_of_the_same_words_are_similar() -> None:
    rows = rows_of("core/KeyManager.java", ["org.x.TestKeyManagerImpl", "org.x.TestKeyDelete", "org.x.TestPipeline"])
    assert rows["name_similarity_rate"].round(6).to_dict() == {
        "org.x.TestKeyDelete": round(1 / 3, 6),
        "org.x.TestKeyManagerImpl": 1.0,
        "org.x.TestPipeline": 0.0,
    }


def test_shared_words_weigh_by_how_few_known_tests_have_them() -> None:
    tests = ["org.acme.scm.TestPipeline", *(f"org.acme.om.TestKey{c}ab" for c in "BCDEFGHIJ")]
    rows = rows_of("acme/scm/Foo.java", tests)
    assert rows.loc[tests[0], ["shared_words_count", "shared_words_rate"]].tolist() == [1, 1]
    assert rows.loc[tests[0], "shared_words_weight"] == pytest.approx(math.log(11 / 2), abs=1e-6)
    assert rows.loc[tests[1], ["shared_words_count", "shared_words_rate"]].tolist() == [0, 0]


def test_packages_and_modules_overlap_by_share() -> None:
    rows = rows_of(
        "web-server/src/main/java/org/acme/web/io/Socket.java", ["org.acme.web.TestA", "org.acme.db.ServerTest"]
    )
    assert rows.loc["org.acme.web.TestA", ["package_overlap_rate", "module_overlap_rate"]].tolist() == [1, 0.5]
    assert rows.loc["org.acme.db.ServerTest", "package_overlap_rate"] == pytest.approx(2 / 3)
    assert rows.loc["org.acme.db.ServerTest", "module_overlap_rate"] == 0.5


def cofailures(limits: Context | None = None) -> pd.Series:
    """Runs 1 (t fails), 2 (passes), 3 (an outage), 4 (large, t fails) and 5 touch x/a.py; the row of run 5."""
    runs = [run(r, i) for i, r in enumerate("12345")]
    failing = {"1": "t", "2": "", "3": "tuvw", "4": "t", "5": ""}
    results = [result(r, t, "failed" if t in failing[r] else "passed") for r in failing for t in "tuvw"]
    files = (
        [(r, "x/a.py", 1, 0) for r in "12345"]
        + [("4", f"y/b{i}.md", 1, 0) for i in range(3)]
        + [("5", "z/new.py", 1, 0)]
    )
    frame = features_of(history(runs, results, files), context=limits or Context(max_files=3))
    return frame[(frame["run_id"] == "5") & (frame["test_id"] == "t")].iloc[0]


def test_failing_together_counts_known_runs_without_outages_and_large_changes() -> None:
    row = cofailures()
    assert row["cofailure_file_rate"] == pytest.approx(1 / (2 + 2))
    assert (row["cofailure_count"], row["cofailure_mean_rate"]) == (1, 0.25)
    assert (row["cofailure_folder_rate"], row["cofailure_suffix_rate"]) == (0.25, 0.25)


def test_the_limits_for_outages_and_large_changes_come_from_the_context() -> None:
    row = cofailures(Context(outage_share=1.0, max_files=200))
    assert row["cofailure_file_rate"] == pytest.approx(3 / (4 + 2))
    assert row["cofailure_count"] == 3


def test_a_failure_that_is_not_known_yet_is_not_counted() -> None:
    runs = [run("1", 0, 30), run("2", 10), run("3", 40)]
    results = [result(r, t, "failed" if t == "t" else "passed") for r in "123" for t in "tuv"]
    files = [(r, "x/a.py", 1, 0) for r in "123"]
    frame = features_of(history(runs, results, files))
    assert frame[frame["test_id"] == "t"]["cofailure_count"].tolist() == [0, 0, 2]


def titled(title: str | None, tests: list[str]) -> pd.DataFrame:
    """Features of a second run of `tests` whose change has a title and no known files."""
    results = [result(r, test, "passed") for r in "12" for test in tests]
    frame = features_of(history([run("1", 0), run("2", 1, change_title=title)], results))
    return frame[frame["run_id"] == "2"].set_index("test_id")


@pytest.mark.parametrize(
    ("title", "named"),
    [
        ("Fix TestKeyManager", ["org.x.TestKeyManager"]),
        ("KeyManager: less copying", ["org.x.TestKeyManager"]),
        ("tests of key_manager.py, please", ["tests/test_key_manager.py::test_a"]),
        ("Fix the key manager", []),
        ("org", []),
        ("Java11 and key2 for x", []),
    ],
)
def test_an_identifier_in_the_title_names_a_test_and_a_plain_word_does_not(title: str, named: list[str]) -> None:
    tests = ["org.x.TestKeyManager", "tests/test_key_manager.py::test_a", "org.x.TestOrg"]
    found = titled(title, tests)["title_names_test"]
    assert found.index[found == 1].tolist() == named
    assert set(found) <= {0, 1}


def test_words_of_the_title_weigh_as_those_of_the_paths_do() -> None:
    tests = ["org.acme.scm.TestPipeline", *(f"org.acme.om.TestKey{c}ab" for c in "BCDEFGHIJ")]
    rows, as_path = titled("scm: fix the pipeline", tests), rows_of("scm/pipeline", tests)
    assert rows.loc[tests[0], "title_words_relevance"] == as_path.loc[tests[0], "shared_words_relevance"] > 1
    assert rows.loc[tests[1], "title_words_relevance"] == 0
    assert rows["shared_words_relevance"].isna().all()
    assert as_path["title_words_relevance"].isna().all()
    assert titled(None, tests)["title_names_test"].isna().all()


def test_a_given_title_tells_of_a_change_that_the_history_does_not_know() -> None:
    frames = history([run("1", 0, 5)], [result("1", test, "passed") for test in ("org.x.TestFooBar", "org.x.TestB")])
    given = pd.DataFrame([{"run_id": "new", "started_at": at(9), "change_title": "Fix FooBar"}])
    frame = features_of(frames, Queries.prediction("p", given, at(9))).set_index(["run_id", "test_id"])
    assert frame.loc["new", "title_names_test"].to_dict() == {"org.x.TestB": 0, "org.x.TestFooBar": 1}
    assert frame.loc[NEXT_RUN, "title_names_test"].isna().all()
