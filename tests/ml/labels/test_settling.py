"""When a label has settled, in histories typed by hand: run i of a line ends at minute 10 i + 5."""

from datetime import datetime

import pandas as pd
import pytest

from ml.engine import open_engine
from ml.labels import settled
from tests.feature_builders import history, result, run
from tests.label_builders import LATER, History, at, labels_of, line, random_labels_history, register

pytestmark = pytest.mark.slow


def settled_of(frames: History, as_of: datetime = LATER) -> pd.DataFrame:
    with open_engine("duckdb", threads=2) as engine:
        register(engine, frames)
        return settled(engine, "p", as_of)


def test_a_failure_settles_with_the_fifth_later_execution_of_its_test() -> None:
    frames = line("pppfpspppp", commits="abcdefghij")  # the skipped run 5 is no execution
    assert settled_of(frames, at(94.9)).empty
    (found,) = settled_of(frames, at(95)).to_dict("records")
    assert (found["run_id"], found["state"]) == ("r3", "flaky")
    assert (found["known_at"], found["settled_at"]) == (at(35), at(95))


def test_a_pass_on_the_same_commit_settles_at_once_whether_it_comes_later_or_came_before() -> None:
    later = settled_of(line("ppfpp", commits="abccd"))
    assert later["settled_at"].tolist() == [at(35)]
    before = settled_of(line("ppfpp", commits="abbcd"))
    assert before["settled_at"].tolist() == [at(25)]
    assert settled_of(line("ppfpp", commits="abbcd"))["state"].tolist() == ["flaky"]


def test_a_pass_in_another_attempt_settles_when_that_attempt_ends() -> None:
    frames = line("ppfpp")
    again = history([run("r2", 26, 29, attempt=2)], [result("r2", "pkg.TestA", "passed", attempt=2)])
    again["runs"]["commit_sha"] = None
    both = {name: pd.concat([frames[name].astype(object), again[name].astype(object)]) for name in again}
    found = settled_of(both)
    assert (found["known_at"].tolist(), found["settled_at"].tolist()) == ([at(29)], [at(29)])
    assert settled_of(both, at(28)).empty


def test_failures_held_for_unknown_never_settle() -> None:
    frames = random_labels_history(seed=3)
    told = labels_of(frames).set_index(["run_id", "variant", "test_id"])["state"]
    found = settled_of(frames)
    assert len(found) > 20
    assert "unknown" not in set(found["state"])
    keys = pd.MultiIndex.from_frame(found[["run_id", "variant", "test_id"]])
    assert found["state"].tolist() == told.loc[keys].tolist()
    assert (found["settled_at"] >= found["known_at"]).all()


def test_what_settled_by_a_moment_settled_then_for_every_later_one() -> None:
    frames = random_labels_history(seed=4)
    middle = frames["runs"]["started_at"].sort_values().iloc[40].to_pydatetime()
    then, now = (settled_of(frames, moment).set_index(["run_id", "variant", "test_id"]) for moment in (middle, LATER))
    both = then.join(now, rsuffix="_now", how="inner")
    assert len(both) > 10
    assert (both["settled_at"] <= middle).all()
    assert (both["settled_at_now"] <= both["settled_at"]).all()


def test_a_history_without_failures_has_nothing_settled() -> None:
    assert settled_of(line("pppppp")).empty
