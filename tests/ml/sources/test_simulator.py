"""The simulated world: repeatable, true to its contracts and truth, and worth learning from."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml import schemas
from ml.errors import SourceError
from ml.sources.simulator import Flakiness, History, World, simulate, write_history
from tests.ml.sources.simulator_builders import FAILED, SMALL, digests

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def default() -> History:
    return simulate(World())


def merged(history: History) -> pd.DataFrame:
    """Executed tests of each run: failed if any attempt failed."""
    results = history.test_results[history.test_results["outcome"] != "skipped"]
    results = results.assign(failed=results["outcome"].isin(FAILED))
    return results.groupby(["run_id", "variant", "test_id"], sort=False, as_index=False)["failed"].max()


def apfd(failed: np.ndarray, scores: np.ndarray, ties: np.ndarray) -> float:
    ranks = np.empty(len(failed))
    ranks[np.lexsort((ties, -scores))] = np.arange(1, len(failed) + 1)
    return float(1 - ranks[failed].sum() / (len(failed) * failed.sum()) + 1 / (2 * len(failed)))


def ranking_scores(history: History) -> pd.DataFrame:
    """Mean-able APFD per failing run of chance, recently failed first, EWMA, true dependency, and the last two."""
    dependencies = dict(zip(history.tests["test_id"], map(set, history.tests["dependencies"]), strict=True))
    touched = history.changed_files.groupby("run_id")["path"].agg(set)
    started = history.runs.groupby("run_id")["started_at"].min()
    finished = history.runs.groupby("run_id")["finished_at"].max()
    rng = np.random.default_rng(1)
    last: dict[tuple[str, str], int] = {}
    decayed: dict[tuple[str, str], float] = {}
    running: list[tuple[str, list[tuple[str, str]], np.ndarray]] = []
    rows = []
    for number, (run_id, results) in enumerate(merged(history).groupby("run_id", sort=True)):
        for entry in [entry for entry in running if finished[entry[0]] < started[run_id]]:
            running.remove(entry)
            for key, has_failed in zip(entry[1], entry[2], strict=True):
                decayed[key] = 0.8 * decayed.get(key, 0.0) + 0.2 * has_failed
                last[key] = number if has_failed else last.get(key, -1)
        keys = list(zip(results["variant"], results["test_id"], strict=True))
        failed = results["failed"].to_numpy()
        running.append((run_id, keys, failed))
        if not 0 < failed.sum() <= len(failed) / 2:
            continue
        depends = np.array([float(bool(dependencies[test_id] & touched[run_id])) for _, test_id in keys])
        ewma = np.array([decayed.get(key, 0.0) for key in keys])
        recency = np.array([last.get(key, -1) for key in keys], dtype=float)
        scores = {"random": np.zeros(len(keys)), "recency": recency, "ewma": ewma, "dependency": depends}
        scores["combination"] = 0.5 * depends + ewma
        ties = rng.random(len(keys))
        rows.append({name: apfd(failed, score, ties) for name, score in scores.items()})
    return pd.DataFrame(rows)


def test_the_same_seed_writes_the_same_bytes(small: History, simulated: Path, tmp_path: Path) -> None:
    write_history(simulate(SMALL), tmp_path / "again")
    assert digests(tmp_path / "again") == digests(simulated)


def test_another_seed_gives_another_history(small: History) -> None:
    other = simulate(replace(SMALL, seed=8))
    assert list(other.runs["commit_sha"]) != list(small.runs["commit_sha"])
    assert list(other.test_results["duration_s"][:20]) != list(small.test_results["duration_s"][:20])
    assert not other.failures.equals(small.failures)


def test_an_announced_change_becomes_the_run_that_was_announced(small: History) -> None:
    longer = simulate(replace(SMALL, run_count=60))
    announced = small.runs[small.runs["status"] == "announced"]
    later = longer.runs[(longer.runs["run_id"].isin(announced["run_id"])) & (longer.runs["attempt"] == 1)]
    same = ["run_id", "change_id", "commit_sha", "branch", "event", "author_id", "started_at"]
    pd.testing.assert_frame_equal(announced[same].reset_index(drop=True), later[same].reset_index(drop=True))
    assert later["finished_at"].notna().all()


def test_frames_keep_their_contracts(small: History) -> None:
    schemas.Runs.validate(small.runs)
    schemas.TestResults.validate(small.test_results)
    schemas.ChangedFiles.validate(small.changed_files)
    assert not small.runs.duplicated(["run_id", "attempt"]).any()
    assert not small.test_results.duplicated(["run_id", "attempt", "variant", "test_id"]).any()
    assert not small.changed_files.duplicated(["run_id", "path"]).any()


def test_announced_runs_come_last_and_have_no_results(default: History) -> None:
    announced = default.runs[default.runs["finished_at"].isna()]
    others = default.runs[default.runs["finished_at"].notna()]
    assert list(announced["run_id"]) == ["run-00601", "run-00602"]
    assert announced["started_at"].min() > others.loc[others["attempt"] == 1, "started_at"].max()
    assert not default.test_results["run_id"].isin(announced["run_id"]).any()
    assert set(announced["run_id"]) <= set(default.changed_files["run_id"])


def test_every_failure_has_one_truth_row_and_no_pass_has_one(default: History) -> None:
    key = ["run_id", "attempt", "variant", "test_id"]
    failed = default.test_results[default.test_results["outcome"].isin(FAILED)]
    assert set(map(tuple, failed[key].to_numpy())) == set(map(tuple, default.failures[key].to_numpy()))
    assert len(failed) == len(default.failures)
    assert set(default.failures["state"]) == {"regression", "flaky", "infrastructure"}


def test_a_regression_breaks_only_tests_that_depend_on_the_broken_file(default: History) -> None:
    dependencies = dict(zip(default.tests["test_id"], default.tests["dependencies"], strict=True))
    regressions = default.failures[default.failures["state"] == "regression"]
    assert len(regressions) > 100
    assert all(
        path in dependencies[test_id] for path, test_id in zip(regressions["path"], regressions["test_id"], strict=True)
    )


def test_a_failure_of_its_own_change_touches_the_broken_file(default: History) -> None:
    changes = default.runs.drop_duplicates("run_id").set_index("run_id")["change_id"]
    touched = default.changed_files.groupby("run_id")["path"].agg(set)
    regressions = default.failures[default.failures["state"] == "regression"]
    own = regressions[regressions["cause"] == regressions["run_id"].map(changes)]
    assert len(own) > 100
    assert all(path in touched[run_id] for run_id, path in zip(own["run_id"], own["path"], strict=True))


def test_only_flaky_tests_fail_flakily_and_each_kind_does(default: History) -> None:
    kinds = dict(zip(default.tests["test_id"], default.tests["flakiness"], strict=True))
    flaky = default.failures[default.failures["state"] == "flaky"]
    assert all(kinds[test_id] == cause for test_id, cause in zip(flaky["test_id"], flaky["cause"], strict=True))
    assert set(flaky["cause"]) == set(Flakiness)
    assert set(flaky.loc[flaky["cause"] == "platform", "variant"]) == {"windows"}


def test_flaky_tests_pass_and_fail_on_the_same_commit(default: History) -> None:
    results = default.test_results.merge(default.runs[["run_id", "attempt", "commit_sha"]], on=["run_id", "attempt"])
    executed = results[results["outcome"].isin(["passed", "failed"])]
    both = executed.groupby(["commit_sha", "variant", "test_id"])["outcome"].nunique()
    on_same_commit = set(both[both == 2].index.get_level_values("test_id"))
    flaky = set(default.tests.loc[default.tests["flakiness"].notna(), "test_id"])
    assert len(on_same_commit & flaky) >= 3
    assert on_same_commit <= flaky


def test_an_outage_swallows_most_tests_of_a_few_neighbouring_runs(default: History) -> None:
    outage = default.failures[default.failures["state"] == "infrastructure"]
    assert {"outage-1", "outage-2"} <= set(outage["cause"])
    for _, rows in outage.groupby("cause"):
        numbers = sorted({int(run_id.removeprefix("run-")) for run_id in rows["run_id"]})
        assert 3 <= len(numbers) <= 5
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        executions = default.test_results.merge(rows[["run_id", "attempt", "variant"]].drop_duplicates())
        assert (executions["outcome"] == "error").mean() > 0.6


def test_tests_appear_and_disappear(default: History) -> None:
    assert (default.tests["first_run_id"] > "run-00001").sum() >= 5
    gone = default.tests[default.tests["last_run_id"] < "run-00550"]
    assert len(gone) >= 3
    assert not gone["first_run_id"].isna().any()


def test_runs_lie_in_working_hours_with_some_overlaps_and_some_second_attempts(default: History) -> None:
    first = default.runs[default.runs["attempt"] == 1]
    assert first["started_at"].is_monotonic_increasing
    assert first["started_at"].dt.hour.between(8, 18).all()
    assert (first["started_at"].dt.dayofweek < 5).all()
    assert first["started_at"].max() - first["started_at"].min() > timedelta(days=120)
    overlaps = (first["started_at"].shift(-1) < first["finished_at"]).sum()
    assert 20 < overlaps < 150
    assert 1 <= (first["started_at"].diff() == timedelta(0)).sum() < 30
    assert 10 < (default.runs["attempt"] == 2).sum() < 100


def test_the_default_world_has_the_size_and_the_failures_that_a_model_needs(default: History) -> None:
    assert default.runs["run_id"].nunique() == 602
    assert 90_000 < len(default.test_results) < 170_000
    failing = default.failures["run_id"].nunique() / 600
    assert 0.15 < failing < 0.35
    changes = default.runs.drop_duplicates("run_id").set_index("run_id")["change_id"]
    own = default.failures[default.failures["cause"] == default.failures["run_id"].map(changes)]
    assert own["run_id"].nunique() / default.failures["run_id"].nunique() > 0.5


@pytest.mark.parametrize("seed", [None, 1])
def test_knowing_what_a_change_touches_beats_history_and_both_together_are_best(
    default: History, seed: int | None
) -> None:
    history = default if seed is None else simulate(World(seed=seed, run_count=300))
    scores = ranking_scores(history).mean()
    assert scores["random"] == pytest.approx(0.5, abs=0.05)
    assert scores["recency"] > scores["random"] + 0.05
    assert scores["dependency"] > max(scores["recency"], scores["ewma"]) + 0.05
    assert scores["combination"] > scores["dependency"] + 0.03


def test_drift_changes_durations_modules_and_failures_and_nothing_before_it() -> None:
    world = World(run_count=400)
    steady, drifted = simulate(world), simulate(replace(world, drift_at=0.5))
    before, after = {}, {}
    for name, history in (("steady", steady), ("drifted", drifted)):
        is_late = history.test_results["run_id"] > "run-00200"
        before[name], after[name] = history.test_results[~is_late], history.test_results[is_late]
    pd.testing.assert_frame_equal(before["steady"], before["drifted"])
    medians = {name: rows.loc[rows["outcome"] == "passed", "duration_s"].median() for name, rows in after.items()}
    assert medians["drifted"] / medians["steady"] == pytest.approx(3.0, rel=0.1)
    failing = {}
    for name, history in (("steady", steady), ("drifted", drifted)):
        own = history.failures.query("run_id > 'run-00200' and state != 'infrastructure'")
        failing[name] = own.groupby("state")["run_id"].nunique()
    assert failing["drifted"]["regression"] > failing["steady"]["regression"] * 1.2
    assert failing["drifted"]["flaky"] > failing["steady"]["flaky"] * 1.2
    modules = drifted.changed_files["path"].str.split("/").str[1]
    is_late = drifted.changed_files["run_id"] > "run-00200"
    most_changed = modules[~is_late].value_counts().index[0]
    assert (modules[is_late] == most_changed).mean() < (modules[~is_late] == most_changed).mean() / 2


def test_the_smallest_world_is_simulated() -> None:
    history = simulate(
        World(run_count=1, announced_count=0, module_count=1, tests_per_module=1, files_per_module=1, author_count=1)
    )
    assert len(history.runs[history.runs["attempt"] == 1]) == 1
    assert len(history.test_results) >= 2
    schemas.Runs.validate(history.runs)


def test_a_world_without_bugs_and_flakiness_fails_in_the_outage_only() -> None:
    history = simulate(replace(SMALL, regression_rate=0.0, flaky_share=0.0))
    assert set(history.failures["state"]) == {"infrastructure"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run_count", 0),
        ("flaky_share", 1.5),
        ("drift_at", -0.1),
        ("runs_per_day", 0.0),
        ("start", datetime(2026, 1, 4, 8, tzinfo=UTC)),
    ],
)
def test_an_impossible_world_is_refused_by_the_name_of_the_parameter(name: str, value: object) -> None:
    with pytest.raises(SourceError, match=f"World.{name} is"):
        simulate(replace(SMALL, **{name: value}))


def test_texts_of_failures_follow_their_causes_and_titles_name_what_changed(default: History) -> None:
    told = default.failures.merge(default.test_results, on=["run_id", "attempt", "variant", "test_id"])
    texts = told.groupby(["state", "cause"])["failure_fingerprint"]
    assert (texts.nunique()["infrastructure"] == 1).all()
    shared = texts.agg(lambda found: found.value_counts(normalize=True).iloc[0])["regression"]
    assert shared.mean() > 0.6
    flaky = told[told["state"] == "flaky"].groupby("test_id")["failure_fingerprint"].nunique()
    assert flaky.max() in (2, 3)
    assert set(told.loc[told["cause"] == "timing", "failure_kind"]) >= {"timeout", "assertion"}
    titles = default.runs.groupby("run_id")["change_title"].agg(["nunique", "first"])
    assert (titles["nunique"] == 1).all()
    paths = default.changed_files.groupby("run_id")["path"].agg(" ".join)
    named = titles.join(paths, how="inner")
    words = named["first"].str.lower().str.findall(r"[a-z]{4,}")
    share = sum(any(word in path for word in found) for found, path in zip(words, named["path"], strict=True))
    assert 0.3 < share / len(named) < 0.8
