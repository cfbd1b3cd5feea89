"""Frames of several projects become one in which no run is taken for another, and come apart again."""

import pandas as pd
import pytest

from ml.stages import all_projects
from ml.stages.all_projects import apart, joined, run_key, words_of


def frame(project: str, runs: str, tests: str = "ab", start_h: int = 0) -> pd.DataFrame:
    """A run per letter and hour, a row per test."""
    keys = [(hour + start_h, run, test) for hour, run in enumerate(runs) for test in tests]
    table = pd.DataFrame(keys, columns=["hour", "run_id", "test_id"])
    moments = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(table.pop("hour"), unit="h")
    return table.assign(project=project, variant="linux", started_at=moments)


def test_runs_and_tests_of_one_name_in_two_projects_stay_apart() -> None:
    both = joined([frame("acme/shop", "xy"), frame("acme/bank", "xy")])
    assert both["run_id"].unique().tolist() == ["acme%2Fshop/x", "acme%2Fbank/x", "acme%2Fshop/y", "acme%2Fbank/y"]
    assert not both.duplicated(["run_id", "variant", "test_id"]).any()
    assert both["started_at"].is_monotonic_increasing


def test_two_runs_never_share_a_key() -> None:
    pairs = [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("a", "b%2Fc"), ("", "a/b/c")]
    assert len({run_key(*pair) for pair in pairs}) == len(pairs)


def test_a_joined_frame_comes_apart_into_what_it_was_made_of() -> None:
    parts = {"acme/shop": frame("acme/shop", "xyz"), "bank": frame("bank", "x", start_h=1)}
    found = dict(apart(joined(parts.values())))
    assert found.keys() == parts.keys()
    for project, part in parts.items():
        pd.testing.assert_frame_equal(found[project].reset_index(drop=True), part)


@pytest.mark.parametrize(("most", "kept"), [(8, "wxyz"), (7, "xyz"), (6, "xyz"), (5, "yz"), (2, "z"), (1, "z")])
def test_of_a_large_project_the_newest_whole_runs_are_taken(
    monkeypatch: pytest.MonkeyPatch, most: int, kept: str
) -> None:
    monkeypatch.setattr(all_projects, "MAX_ROWS", most)
    assert [one[-1] for one in joined([frame("shop", "wxyz")])["run_id"].unique()] == list(kept)


def test_a_project_without_rows_leaves_the_types_of_the_others_alone() -> None:
    empty = frame("empty", "x").iloc[:0]
    both = joined([empty, frame("shop", "x")])
    assert both["run_id"].tolist() == ["shop/x", "shop/x"]
    assert both.dtypes.equals(frame("shop", "x").dtypes)
    assert joined([empty, empty]).empty


def test_the_shared_model_is_told_in_words() -> None:
    assert [words_of("shop"), words_of("*")] == ["shop", "all projects (the shared model)"]
