"""Features see only what was known before a run started: held against the plain definition and an added future."""

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pandas.testing as pdt
import pytest

from ml import schemas
from ml.features import NEXT_RUN, Context, Queries
from ml.schemas import FEATURES, feature_descriptions, feature_groups
from ml.spec import MERGED_RESULT, Interval
from tests.feature_builders import (
    History,
    at,
    features_of,
    history,
    random_history,
    read_history,
    result,
    run,
)
from tests.feature_definitions import Facts, differences

pytestmark = pytest.mark.slow

REAL_DATA = Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
LATER = ("late", "overlap", "twin")


def with_future(frames: History) -> History:
    """The history with a later run, a run that overlaps the last one, and one that starts with it; all of them fail."""
    last = frames["runs"].sort_values("started_at").iloc[-1]
    tests = frames["test_results"][["variant", "test_id"]].drop_duplicates().to_dict("records")
    tests += [{"variant": "linux", "test_id": f"org.acme.later.TestLater{i}"} for i in range(12)]
    start = (last["started_at"] - at(0)).total_seconds() / 60
    about = {"branch": "topic", "change_id": "7", "change_title": "Fix TestLater1", "author_id": "ann"}
    told = {"failure_kind": "timeout", "failure_fingerprint": "f0"}
    runs = [
        run("late", start + 10_000, start + 10_001, **about),
        run("overlap", start - 30, start, **about),
        run("twin", start, None, **about),
    ]
    results = [result(r["run_id"], t["test_id"], "failed", variant=t["variant"], **told) for r in runs for t in tests]
    paths = frames["changed_files"]["path"].unique()
    files = [(r["run_id"], path, 5, 5) for r in runs for path in paths]
    more = history(runs, results, files)
    return {name: pd.concat([frames[name].astype(object), more[name].astype(object)]) for name in frames}


def test_every_feature_equals_its_plain_definition() -> None:
    frames = random_history(seed=1)
    frame = features_of(frames)
    assert differences(frame, Facts(frames, Context())) == []
    constant = [name for name in FEATURES if frame[name].nunique() < 2]
    assert constant == []


def test_the_limits_of_the_context_hold() -> None:
    frames = random_history(seed=2)
    context = Context(outage_share=0.1, max_files=2)
    assert differences(features_of(frames, context=context), Facts(frames, context)) == []


def test_later_overlapping_and_simultaneous_runs_change_no_earlier_feature() -> None:
    frames = random_history(seed=3)
    before, after = features_of(frames), features_of(with_future(frames))
    kept = after[~after["run_id"].isin(LATER)].reset_index(drop=True)
    last_start = before["started_at"].max()
    earlier = kept["started_at"] <= last_start
    assert earlier.all()
    pdt.assert_frame_equal(before, kept, check_exact=True)


def test_a_run_does_not_see_its_own_outcomes() -> None:
    frames = random_history(seed=4)
    last = frames["runs"].sort_values("started_at")["run_id"].iloc[-1]
    results = frames["test_results"]
    own = results["run_id"] == last
    flipped = results["outcome"].map({"passed": "failed", "failed": "passed", "error": "passed", "skipped": "skipped"})
    turned = {**frames, "test_results": results.assign(outcome=results["outcome"].where(~own, flipped))}
    one, other = features_of(frames), features_of(turned)
    pdt.assert_frame_equal(one[[*MERGED_RESULT, *FEATURES]], other[[*MERGED_RESULT, *FEATURES]], check_exact=True)
    assert not one["failed"].equals(other["failed"])


def test_the_order_of_rows_changes_nothing() -> None:
    frames = random_history(seed=5)
    shuffled = {name: frame.sample(frac=1, random_state=1) for name, frame in frames.items()}
    pdt.assert_frame_equal(features_of(frames), features_of(shuffled), check_exact=True)


@pytest.mark.parametrize("seed", [6, 7])
def test_a_prediction_as_of_a_start_equals_the_training_row(seed: int) -> None:
    frames = random_history(seed)
    trained = features_of(frames)
    asked = frames["runs"][frames["runs"]["attempt"] == 1].iloc[20::7][["run_id", "started_at"]]
    predicted = features_of(frames, Queries.prediction("p", asked, asked["started_at"].max()))
    both = trained.merge(predicted[[*MERGED_RESULT, *FEATURES]], on=MERGED_RESULT, suffixes=("", "_predicted"))
    assert len(both) > 40
    for name in FEATURES:
        np.testing.assert_array_equal(both[name], both[f"{name}_predicted"], err_msg=name)


def test_a_prediction_holds_the_tests_alive_in_their_variant_and_the_next_run() -> None:
    runs = [run(str(i), 10 * i, 10 * i + 1) for i in range(5)]
    results = [result(str(i), "kept", "passed") for i in range(5)] + [result("0", "gone", "failed")]
    results += [result("1", "other", "passed", variant="rare"), result("4", "born", "passed")]
    given = pd.DataFrame([{"run_id": "new", "started_at": at(35)}])
    frame = features_of(history(runs, results), Queries.prediction("p", given, at(41)), Context(alive_runs=3))
    found = sorted(zip(frame["run_id"], frame["variant"], frame["test_id"], strict=True))
    assert found == [
        ("new", "rare", "other"),
        ("new", "v", "kept"),
        (NEXT_RUN, "rare", "other"),
        (NEXT_RUN, "v", "born"),
        (NEXT_RUN, "v", "kept"),
    ]
    assert frame["failed"].isna().all()
    assert frame["known_at"].isna().all()


def test_the_next_run_sees_what_became_known_at_as_of_and_nothing_later() -> None:
    frames = history([run("1", 0, 5), run("2", 6, 9)], [result("1", "t", "failed"), result("2", "t", "failed")])
    nothing = pd.DataFrame({"run_id": [], "started_at": []})
    for moment, failures in ((4, []), (5, [1.0]), (8, [1.0]), (9, [2.0])):
        frame = features_of(frames, Queries.prediction("p", nothing, at(moment)))
        assert frame["failures_count"].tolist() == failures


def test_given_files_describe_a_run_that_the_history_does_not_know() -> None:
    frames = history([run("1", 0, 5)], [result("1", "org.x.TestFoo", "passed"), result("1", "org.x.TestBar", "passed")])
    given = pd.DataFrame([{"run_id": "new", "started_at": at(9), "event": "pull_request"}])
    files = pd.DataFrame(
        [("new", "src/main/java/org/x/Foo.java", 3, 1)], columns=["run_id", "path", "added", "deleted"]
    )
    frame = features_of(frames, Queries.prediction("p", given, at(9), files)).set_index(["run_id", "test_id"])
    assert frame.loc[("new", "org.x.TestFoo"), "has_subject_file"] == 1
    assert frame.loc[("new", "org.x.TestBar"), "has_subject_file"] == 0
    assert frame.loc[("new", "org.x.TestBar"), "is_pull_request"] == 1
    assert frame.loc[("new", "org.x.TestBar"), "lines_added_count"] == 3
    assert frame.loc[(NEXT_RUN, "org.x.TestFoo"), "has_change"] == 0
    assert math.isnan(frame.loc[(NEXT_RUN, "org.x.TestFoo"), "has_subject_file"])


def test_an_interval_limits_the_rows_and_not_the_history() -> None:
    frames = random_history(seed=8)
    every = features_of(frames)
    middle = every["started_at"].drop_duplicates().iloc[20].to_pydatetime()
    part = features_of(frames, Queries.training("p", Interval(start=middle)))
    expected = every[every["started_at"] >= middle].reset_index(drop=True)
    pdt.assert_frame_equal(part, expected, check_exact=True)


def test_the_frame_keeps_its_contract_and_order() -> None:
    frame = features_of(random_history(seed=9))
    schemas.TestSelectionFrame.validate(frame, lazy=True)
    assert frame.equals(frame.sort_values(["started_at", *MERGED_RESULT], ignore_index=True))
    assert not frame.duplicated(MERGED_RESULT).any()


def test_an_empty_history_gives_an_empty_frame_of_the_contract() -> None:
    frame = features_of(history([], []))
    assert len(frame) == 0
    schemas.TestSelectionFrame.validate(frame, lazy=True)


def test_every_feature_has_a_group_and_a_description() -> None:
    assert [name for names in feature_groups().values() for name in names] == list(FEATURES)
    assert list(feature_groups()) == ["history", "neighbour", "run", "change", "pair"]
    assert all(feature_descriptions().values())


@pytest.mark.parametrize("name", ["ozone", "ozone_gha"])
def test_a_sample_of_real_history_equals_the_plain_definition(name: str) -> None:
    folder = REAL_DATA / name
    if not folder.exists():
        pytest.skip(f"no {folder}; set FOURGATE_REAL_DATA to the folder of real histories")
    frames = read_history(folder, first_runs=500)
    frame = features_of(frames)
    sample = pd.concat([frame[frame["failed"]].sample(8, random_state=1), frame.sample(8, random_state=2)])
    assert differences(sample, Facts(frames, Context())) == []
