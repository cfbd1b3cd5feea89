"""Histories that teach nothing, or little: every stage answers clearly, and nobody is promoted silently."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml.settings import GATES, MODELS, Settings
from ml.sources.simulator import History, World, simulate
from ml.stages import flakiness, labelling, opening, preparation, retraining, serving
from tests.integration.histories import collect_world

WORLD = World(run_count=240, announced_count=0, module_count=4, tests_per_module=4, regression_rate=0.4)
SMALL = replace(WORLD, run_count=60)
TWIN = "simulated/twin"

pytestmark = pytest.mark.integration


def with_outcome(world: History, outcome: str) -> History:
    status = "success" if outcome == "passed" else "failure"
    return replace(
        world, runs=world.runs.assign(status=status), test_results=world.test_results.assign(outcome=outcome)
    )


def one_test(world: History) -> History:
    """One test on one system, which fails in every second run."""
    results = world.test_results.drop_duplicates(["run_id"], ignore_index=True)
    number = results["run_id"].rank(method="dense").astype(int)
    outcome = pd.Series("passed", index=results.index).mask(number % 2 == 0, "failed")
    return replace(
        world,
        runs=world.runs.loc[world.runs["attempt"] == 1],
        test_results=results.assign(variant="linux", test_id="S::only", attempt=1, outcome=outcome),
    )


def without_durations(world: History) -> History:
    return replace(world, test_results=world.test_results.assign(duration_s=None))


def without_files(world: History) -> History:
    return replace(world, changed_files=world.changed_files.iloc[:0])


def of_project(world: History, project: str) -> History:
    return replace(world, **{name: getattr(world, name).assign(project=project) for name in opening.HISTORY_TABLES})


HISTORIES: Mapping[str, Callable[[], History]] = {
    "no failures": lambda: with_outcome(simulate(SMALL), "passed"),
    "only failures": lambda: with_outcome(simulate(SMALL), "failed"),
    "one run": lambda: simulate(replace(WORLD, run_count=1)),
    "one test": lambda: one_test(simulate(WORLD)),
    "12 runs": lambda: simulate(replace(WORLD, run_count=12)),
    "no durations": lambda: without_durations(simulate(WORLD)),
    "no changed files": lambda: without_files(simulate(WORLD)),
}


def retrain(settings: Settings, model: str, project: str) -> dict[str, Any]:
    candidate = retraining.train(settings, preparation.features(settings, model, project))
    if candidate["version"] is None:
        return {"promoted": False, "reason": candidate["reason"]}
    verdicts = [retraining.judge(settings, gate, candidate) for gate in GATES]
    told = retraining.promote(settings, candidate, verdicts)
    return {**told, "gates": {verdict["gate"]: verdict["status"] for verdict in verdicts}}


def answers(settings: Settings, project: str) -> dict[str, dict[str, Any]]:
    """What becomes of each model, after the failures of all projects are labelled."""
    labelling.label(settings)
    return {model: retrain(settings, model, project) for model in MODELS}


def states(settings: Settings, project: str) -> dict[str, int]:
    return dict(Counter(str(one["state"]) for one in flakiness.assess(settings, project)))


NO_FAILURES = (
    "splitting 60 runs by time: fit has 0 failing runs and needs 20; calibrate has 0 failing runs and needs 5; "
    "validate has 0 failing runs and needs 10; test has 0 failing runs and needs 1"
)
TWELVE = (
    "splitting 12 runs by time: fit has 1 failing runs and needs 20; calibrate has 0 failing runs and needs 5; "
    "validate has 1 failing runs and needs 10; test has 0 failing runs and needs 1"
)
ONE = "splitting by time: 0 runs lie before the test period; at least 3 are needed"
NO_RUN = (
    "0 runs failed; 20 are needed to judge a candidate; no run counts: outages and runs without an outcome are left out"
)
# Case: why tests cannot be ranked, the risk of runs and flaky failures cannot be told, and the states of the tests.
NOTHING_TO_LEARN = {
    "no failures": (NO_FAILURES, NO_FAILURES, NO_RUN, {"healthy": 36}),
    "only failures": (
        "splitting 60 runs by time: validate has 8 failing runs and needs 10",
        NO_RUN,
        # of the failures with a settled label, none is flaky
        "splitting 53 runs by time: fit has 0 failing runs and needs 20; calibrate has 0 failing runs and needs 5; "
        "validate has 0 failing runs and needs 10; test has 0 failing runs and needs 1",
        {"broken": 34, "healthy": 2},
    ),
    "one run": (ONE, ONE, NO_RUN, {"healthy": 32}),
    "12 runs": (TWELVE, TWELVE, ONE.replace(": 0 runs", ": 1 runs"), {"healthy": 32}),
    # all results of a run with one failed test failed: that is an outage by its share
    "one test": (
        "the fit period has 0 results outside outages, 0 of them failed; at least one failed and one passed result "
        "are needed",
        "splitting 120 runs by time: fit has 13 failing runs and needs 20; validate has 6 failing runs and needs 10",
        "splitting 108 runs by time: validate has 6 failing runs and needs 10",
        None,
    ),
}


@pytest.mark.parametrize("case", NOTHING_TO_LEARN)
def test_a_history_that_teaches_nothing_is_answered_with_its_numbers(
    fourgate: Settings, tmp_path: Path, case: str
) -> None:
    collect_world(fourgate, HISTORIES[case](), tmp_path / "history")
    ranking, risk, flaky, tests = NOTHING_TO_LEARN[case]
    told = answers(fourgate, WORLD.project)
    assert told == {
        "test_selection": {"promoted": False, "reason": ranking},
        "build_risk": {"promoted": False, "reason": risk},
        "flaky_tests": {"promoted": False, "reason": flaky},
    }
    assert tests is None or states(fourgate, WORLD.project) == tests
    for model in MODELS:
        assert serving.publish(fourgate, model) == []
        assert serving.monitor(fourgate, model) == []
        assert [report["retrain"] for report in preparation.drift(fourgate, model)] == [False]


@pytest.mark.parametrize("case", ["no durations", "no changed files"])
def test_a_history_with_gaps_promotes_only_what_passed_every_gate(
    fourgate: Settings, tmp_path: Path, case: str
) -> None:
    collect_world(fourgate, HISTORIES[case](), tmp_path / "history")
    for model, told in answers(fourgate, WORLD.project).items():
        passed = set(told.get("gates", {"none": "asked"}).values()) == {"pass"}
        assert told["promoted"] == passed, told
        assert told["promoted"] or any(letter.isdigit() for letter in told["reason"]), told
        assert len(serving.publish(fourgate, model)) == int(passed)
        assert [report["retrain"] for report in preparation.drift(fourgate, model)] == [False]
        if case == "no durations" and model == "test_selection":
            assert "share of test time run: unknown" in Path(told["report_url"]).read_text()


def test_projects_with_the_same_tests_and_runs_learn_nothing_from_each_other(
    fourgate: Settings, tmp_path: Path
) -> None:
    # the twin has the runs and the tests of the same names, and none of them fails
    twin = with_outcome(simulate(replace(WORLD, run_count=12)), "passed")
    collect_world(fourgate, simulate(WORLD), tmp_path / "history")
    collect_world(fourgate, of_project(twin, TWIN), tmp_path / "twin")
    labelled = {one["project"]: one["failures"] for one in labelling.label(fourgate)}
    assert labelled[TWIN] == 0 < labelled[WORLD.project]
    assert states(fourgate, TWIN) == {"healthy": 32}
    frames = {name: preparation.features(fourgate, MODELS[0], name) for name in (WORLD.project, TWIN)}
    rows = {name: pd.read_parquet(frame["path"]) for name, frame in frames.items()}
    assert {name: set(part["project"]) for name, part in rows.items()} == {name: {name} for name in rows}
    assert rows[TWIN]["run_id"].nunique() == 12
    assert rows[TWIN]["failures_count"].max() == 0 < rows[WORLD.project]["failures_count"].max()
    told = {name: retrain(fourgate, MODELS[0], name) for name in rows}
    assert "splitting 12 runs by time: fit has 0 failing runs" in told[TWIN]["reason"]
    published = [one["project"] for one in serving.publish(fourgate, MODELS[0])]
    assert published == [name for name in (WORLD.project, TWIN) if told[name]["promoted"]]
