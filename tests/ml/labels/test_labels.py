"""States of typed failures, what is revised, and odd histories."""

from collections.abc import Callable

import pandas as pd
import pytest

from ml import schemas
from ml.errors import SettingsError
from ml.labels import current, revisions
from ml.labels.judging import EVIDENCE, Weights
from tests.feature_builders import history
from tests.label_builders import History, at, labels_of, line, random_labels_history, result, run

pytestmark = pytest.mark.slow


def state_of(frames: History, run_id: str, as_of: float = 1_000_000) -> str:
    found = labels_of(frames, at(as_of)).set_index(["run_id", "test_id"])
    return str(found.loc[(run_id, "pkg.TestA"), "state"])


def test_a_failure_that_passes_on_the_same_commit_is_flaky() -> None:
    assert state_of(line("ppppfpppp", commits="abcdeefgh"), "r4") == "flaky"


def test_a_failure_that_comes_and_goes_without_a_related_change_is_flaky() -> None:
    files = {number: [f"docs/page{number}.md"] for number in range(12)}
    assert state_of(line("pppfpppppfpp", files=files), "r9") == "flaky"


def test_a_failure_that_stays_until_the_culprit_is_touched_is_a_regression() -> None:
    files = {number: [f"docs/page{number}.md"] for number in range(12)} | {5: ["core/a.c"], 10: ["core/a.c"]}
    frames = line("pppppfffffpp", files=files)
    assert {state_of(frames, f"r{number}") for number in range(5, 10)} == {"regression"}


def test_a_test_that_never_passed_is_broken_and_not_flaky() -> None:
    assert state_of(line("ffffffff", commits="aabbccdd"), "r5") == "regression"


def test_most_tests_of_one_run_failing_at_once_are_an_outage() -> None:
    frames = line("pppfppp")
    results = frames["test_results"]
    down = results["run_id"].eq("r3")
    frames["test_results"] = results.assign(outcome=results["outcome"].mask(down, "error"))
    found = labels_of(frames)
    assert len(found) == 13
    assert set(found["state"]) == {"infrastructure"}
    assert "most_tests_fail" in found["evidence"].iloc[0].split(";")


def test_later_evidence_revises_a_label_and_the_earlier_one_stays() -> None:
    frames = line("ppppffffp", commits="abcdefghe", files={4: ["src/TestA.py"]})
    first, last = (labels_of(frames, at(moment)).query("run_id == 'r4'") for moment in (75, 200))
    assert (first["state"].tolist(), last["state"].tolist()) == (["regression"], ["flaky"])
    stored = revisions(first, _stored()).assign(snapshot_id=1)
    assert len(stored) == 1
    later = revisions(last, stored).assign(snapshot_id=2)
    assert later["state"].tolist() == ["flaky"]
    both = pd.concat([stored, later], ignore_index=True)
    assert current(both)["state"].tolist() == ["flaky"]
    assert current(both, at(100))["state"].tolist() == ["regression"]
    assert current(both, at(40)).empty
    assert revisions(last, both).empty
    assert revisions(first, both).empty


def test_a_probability_that_hardly_moves_is_no_revision() -> None:
    one = labels_of(line("pfpp"))
    stored = one.assign(snapshot_id=1)
    assert revisions(one.assign(probability=one["probability"] - 0.04), stored).empty
    assert len(revisions(one.assign(probability=one["probability"] - 0.06), stored)) == 1


def test_of_two_labels_of_one_moment_the_later_snapshot_counts() -> None:
    one = labels_of(line("pfpp"))
    both = pd.concat([one.assign(snapshot_id=2, state="flaky"), one.assign(snapshot_id=1, state="unknown")])
    assert current(both)["state"].tolist() == ["flaky"]


def test_labels_keep_their_contract() -> None:
    found = labels_of(random_labels_history(seed=5)).assign(snapshot_id=1)
    assert len(found) > 50
    schemas.FailureLabels.validate(found, lazy=True)
    assert found["evidence"].str.len().gt(0).all()


ODD: dict[str, tuple[Callable[[], History], int]] = {
    "an empty history": (lambda: history([], []), 0),
    "no failures": (lambda: line("pppp"), 0),
    "only failures": (lambda: line("ffff"), 4),
    "one run": (lambda: line("f"), 1),
    "one test in one run": (lambda: history([run("r", 0)], [result("r", "t", "failed", duration_s=None)]), 1),
    "a run without results": (lambda: history([run("r", 0)], []), 0),
    "only skipped": (lambda: line("ssss"), 0),
    "a change of too many files": (lambda: line("pfp", files={1: [f"src/f{i}.c" for i in range(201)]}), 1),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_history_gets_clear_answers(name: str) -> None:
    make, failures = ODD[name]
    found = labels_of(make())
    assert len(found) == failures
    assert found["probability"].between(0, 1).all()
    schemas.FailureLabels.validate(found.assign(snapshot_id=pd.Series(1, index=found.index)), lazy=True)
    assert len(revisions(found, _stored())) == failures


def test_a_single_failure_of_an_unknown_past_is_unsure() -> None:
    (probability,) = labels_of(history([run("r", 0)], [result("r", "t", "failed")]))["probability"]
    assert probability < 0.95


def test_weights_must_cover_exactly_the_known_evidence() -> None:
    given = {name: {"regression": 0.0, "flaky": 0.0, "infrastructure": 0.0} for name in [*EVIDENCE, "intercept"]}
    assert Weights({"weights": given}, 0.6).of_evidence.shape == (len(EVIDENCE), 3)
    del given["neighbours_fail"]
    given["phase_of_moon"] = given["intercept"]
    with pytest.raises(SettingsError, match=r"missing: \['neighbours_fail'\], not known: \['phase_of_moon'\]"):
        Weights({"weights": given}, 0.6)


def _stored() -> pd.DataFrame:
    named = schemas.columns(schemas.FailureLabels)
    return pd.DataFrame(columns=named).astype({"labelled_at": "datetime64[us, UTC]"})
