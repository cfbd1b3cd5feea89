"""How early flaky tests are flagged: the posterior of `ml.flakiness` against the single flip-rate rule.

Run: ``python -m experiments.flakiness --ozone <history folder>``

Protocol: a history is looked at every week, with the labels and results that were known at that moment. A test (of
one variant) is flagged at the first look at which its score reaches a limit. The limit, and the one parameter of each
method, are those with the highest recall among those with a precision of 95 % on data that is not judged: the first
60 % of Ozone's runs, or other seeds of the simulator. The last 40 % of Ozone's runs are a history of their own, so
that every test is new to it, and are judged once; a choice made on one project is judged on the other as well.

Truly flaky is what failed for nothing at least once in the judged history: by the simulator's truth, or because it
passed and failed on one commit. That is the definition of ``flaky_same_commit.csv`` (of its 1,215 pairs 1,209 are
found), applied to the runs of each part alone. On Ozone this misses flaky tests that failed on commits that ran once,
so precision there is a lower bound; and labels see what the truth is made of, so a second view withholds the commits
and merges the attempts.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import label_truth
from benchmarks.label_truth import Frames
from ml import flakiness, labels
from ml.flakiness import Limits
from ml.sources.simulator import World
from ml.spec import FailureState

RESULTS = Path(__file__).parent / "results" / "flakiness.json"
CHOOSE_SEEDS, JUDGE_SEEDS = (31, 32, 33, 34), (41, 42, 43, 44)
EVERY = timedelta(days=7)
LEAST_PRECISION = 0.95
RATES = (0.002, 0.005, 0.01, 0.02)
WINDOWS = (10, 20, 50, 100)
WITHIN = (50, 100, 200, 400)
RESAMPLES = 2_000
TEST = ["project", "variant", "test_id"]
METHODS = {
    "posterior": tuple(f"posterior {rate}" for rate in RATES),
    "flip_rate": tuple(f"flip_rate {window}" for window in WINDOWS),
}
SHIPPED = f"posterior {Limits().least_rate}"


@dataclass(frozen=True)
class Known:
    """A history and its truth: `flaky` has run_id, variant, test_id of the failures that had no reason in the code."""

    project: str
    history: Frames
    flaky: pd.DataFrame


@dataclass(frozen=True)
class Rule:
    """Flag a test when the score in column `score` reaches `limit`."""

    score: str
    limit: float


@dataclass(frozen=True)
class Part:
    """What is looked at: `looks` as `looks` returns them, `tests` as `truth_of` does."""

    looks: pd.DataFrame
    tests: pd.DataFrame


def simulated(world: World) -> Known:
    """A simulated history with what its simulator knows."""
    known = label_truth.simulated(world)
    flaky = known.truth[known.truth["state"] == FailureState.FLAKY]
    return Known(known.name, known.history, flaky.drop(columns="state"))


def same_commit(project: str, history: Frames) -> Known:
    """A real history: a failure on a commit on which the test passed as well had no reason in the code."""
    commits = history["runs"].drop_duplicates("run_id")[["run_id", "commit_sha"]].dropna()
    executed = history["test_results"].query("outcome != 'skipped'").merge(commits, on="run_id")
    failed = executed["outcome"] != "passed"
    shares = failed.groupby([executed[name] for name in ("commit_sha", "variant", "test_id")]).transform("mean")
    flaky = executed.loc[failed & (shares < 1), ["run_id", "variant", "test_id"]].drop_duplicates()
    return Known(project, history, flaky)


def looks(known: Known, every: timedelta = EVERY) -> pd.DataFrame:
    """What could be said of each test that had failed, at each look.

    Returns:
        project, variant, test_id, at (UTC), executions and failures (counts up to then) and a score (0..1) for each
        parameter of each method; ordered by time.
    """
    runs = known.history["runs"]
    ends = runs["finished_at"].fillna(runs["started_at"])
    moments = pd.date_range(ends.min() + every, ends.max() + every, freq=every)
    with label_truth.opened(known.history) as engine:
        found = [_look(engine, moment.to_pydatetime()) for moment in moments]
    return pd.concat(found, ignore_index=True).assign(project=known.project)


def _look(engine: labels.Engine, moment: datetime) -> pd.DataFrame:
    labelled = labels.label(engine, "", moment)
    executions = labels.executions(engine, moment)
    series = [executions["variant"], executions["test_id"]]
    executions = executions[executions["failed"].groupby(series).transform("any")]
    if executions.empty:
        return pd.DataFrame()
    counts = flakiness.count(executions, labelled)
    scores = {
        f"posterior {rate}": flakiness.assess(counts, Limits(least_rate=rate))["probability"].to_numpy()
        for rate in RATES
    }
    by_test = executions.groupby(["variant", "test_id"])["failed"]
    told = pd.DataFrame({"executions": by_test.size(), "failures": by_test.sum(), **scores, **flip_rates(executions)})
    return told.reset_index().assign(at=moment)


def flip_rates(executions: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """Changes of outcome within the last n executions, by the most there can be, for each n of `WINDOWS`.

    A test with fewer executions is not divided by fewer: one flip in two executions is no rate of 1.
    """
    series = [executions["variant"], executions["test_id"]]
    before = executions["failed"].groupby(series).shift()
    flips = before.notna() & (before != executions["failed"])
    from_end = executions.groupby(series).cumcount(ascending=False)
    return {
        f"flip_rate {window}": (flips & (from_end < window - 1)).groupby(series).sum() / (window - 1)
        for window in WINDOWS
    }


def truth_of(known: Known) -> pd.DataFrame:
    """One row per executed test: project, variant, test_id, executions (in all), is_flaky."""
    merged = label_truth.merged_results(known.history)
    tests = merged.groupby(["variant", "test_id"], as_index=False).size().rename(columns={"size": "executions"})
    flaky = known.flaky[["variant", "test_id"]].drop_duplicates().assign(is_flaky=True)
    told = tests.merge(flaky, on=["variant", "test_id"], how="left").assign(project=known.project)
    return told.assign(is_flaky=told["is_flaky"].eq(True))


def part_of(histories: Sequence[Known], every: timedelta = EVERY) -> Part:
    """Several histories, side by side."""
    return Part(
        pd.concat([looks(known, every) for known in histories], ignore_index=True),
        pd.concat([truth_of(known) for known in histories], ignore_index=True),
    )


def flagged(part: Part, rule: Rule) -> pd.DataFrame:
    """The tests of a part, with executions and failures up to their flag; infinite where they were never flagged."""
    raised = part.looks[part.looks[rule.score] >= rule.limit].drop_duplicates(TEST)
    told = raised[[*TEST, "executions", "failures"]]
    told = told.rename(columns={"executions": "flagged_after", "failures": "failures_until_flagged"})
    found = part.tests.merge(told, on=TEST, how="left")
    return found.fillna({"flagged_after": np.inf, "failures_until_flagged": np.inf})


def choose(part: Part, scores: Sequence[str]) -> Rule:
    """The rule with the highest recall among those of enough precision; among equals the one that flags earlier.

    No rule may be precise enough: then nothing is ever flagged.
    """
    best, best_key = Rule(scores[0], float("inf")), (0.0, 0.0)
    for score in scores:
        limit = _limit(part, score)
        told = flagged(part, Rule(score, limit)).query("is_flaky")["flagged_after"]
        reached = told[told < np.inf]
        key = (len(reached), -float(reached.mean()) if len(reached) else 0.0)
        if key > best_key:
            best, best_key = Rule(score, limit), key
    return best


def _limit(part: Part, score: str) -> float:
    """Least limit above which enough of the flagged tests are flaky."""
    highest = part.looks.groupby(TEST)[score].max()
    tests = part.tests.join(highest, on=TEST).sort_values(score, ascending=False).query(f"`{score}` > 0")
    precision = tests["is_flaky"].cumsum() / np.arange(1, len(tests) + 1)
    is_last = tests[score] != tests[score].shift(-1)  # tests with equal scores are flagged together
    enough = tests.loc[is_last & (precision >= LEAST_PRECISION), score]
    return float(enough.min()) if len(enough) else float("inf")


def measure(about: Mapping[str, Any], part: Part, rules: Mapping[str, Rule]) -> Iterator[dict[str, Any]]:
    """Rows of one judged part: every measure of each rule, and the lead of the posterior over the flip rate.

    Intervals (95 %) are by bootstrap over tests, the variants of a test together.
    """
    clusters = pd.factorize(part.tests["project"] + "\0" + part.tests["test_id"])[0]
    count = int(clusters.max()) + 1
    draws = np.random.default_rng(1).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    weights = np.vstack([np.ones(len(clusters)), draws[:, clusters]])
    told = {name: dict(_measures(flagged(part, rule), weights)) for name, rule in rules.items()}
    for name, measures in told.items():
        for key, (values, number) in measures.items():
            yield {**about, "method": name, "measure": key, **_bounds(values), "number": number, **_words(rules[name])}
    for key, (values, number) in told["posterior"].items():
        if not key.endswith("_flagged"):
            lead = values - told["flip_rate"][key][0]
            yield {**about, "method": "posterior - flip_rate", "measure": key, **_bounds(lead), "number": number}


def _words(rule: Rule) -> dict[str, Any]:
    return {"score": rule.score, "limit": rule.limit if np.isfinite(rule.limit) else None}


def _measures(tests: pd.DataFrame, weights: np.ndarray) -> Iterator[tuple[str, tuple[np.ndarray, int]]]:
    """Each measure: its value by each row of weights, the first being 1 for every test; and how many it is about."""
    is_flaky, after = tests["is_flaky"].to_numpy(bool), tests["flagged_after"].to_numpy()
    was_flagged = np.isfinite(after)
    yield "precision", _share(weights, is_flaky, was_flagged)
    yield "recall", _share(weights, was_flagged, is_flaky)
    for within in WITHIN:
        ran_so_often = is_flaky & (tests["executions"].to_numpy() >= within)
        yield f"recall_within_{within}", _share(weights, after <= within, ran_so_often)
    yield "executions_until_flagged", _median(weights, after, is_flaky)
    yield "failures_until_flagged", _median(weights, tests["failures_until_flagged"].to_numpy(), is_flaky)


def _share(weights: np.ndarray, holds: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, int]:
    total = weights @ among
    shares = np.divide(weights @ (holds & among), total, out=np.full(len(total), np.nan), where=total > 0)
    return shares, int(among.sum())


def _median(weights: np.ndarray, values: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, int]:
    """Median over the tests `among`; infinite where half of them or more never came so far."""
    order = np.flatnonzero(among)[np.argsort(values[among], kind="stable")]
    if not len(order):
        return np.full(len(weights), np.nan), 0
    passed = np.cumsum(weights[:, order], axis=1)
    return values[order][(passed >= passed[:, -1:] / 2).argmax(axis=1)], len(order)


def _bounds(values: np.ndarray) -> dict[str, float | None]:
    known = np.sort(values[1:][~np.isnan(values[1:])])
    at = [int(share * (len(known) - 1)) for share in (0.025, 0.975)]
    low, high = known[at] if len(known) else (np.nan, np.nan)
    told = {"value": float(values[0]), "low": float(low), "high": float(high)}
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in told.items()}


def compare(parts: Mapping[str, Part], cases: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Rows of each (part that limits are chosen on, part that they are judged on)."""
    for chosen_on, judged_on in cases:
        rules = {name: choose(parts[chosen_on], scores) for name, scores in METHODS.items()}
        rules["posterior as shipped"] = Rule(SHIPPED, Limits().sure)
        about = {"experiment": "flakiness", "set": judged_on, "chosen_on": chosen_on}
        about["project"] = "apache/ozone" if judged_on.startswith("ozone") else "simulated"
        yield from measure(about, parts[judged_on], rules)


CASES = (
    ("simulator, other seeds", "simulator"),
    ("ozone, first 60 %", "simulator"),
    ("ozone, first 60 %", "ozone, last 40 %"),
    ("simulator, other seeds", "ozone, last 40 %"),
    ("ozone, first 60 %, same code withheld", "ozone, last 40 %, same code withheld"),
    ("simulator, other seeds", "ozone, last 40 %, same code withheld"),
)


def simulator_parts(choose_seeds: Sequence[int], judge_seeds: Sequence[int], runs: int = 600) -> dict[str, Part]:
    """Two groups of worlds, by seed."""
    groups = {"simulator, other seeds": choose_seeds, "simulator": judge_seeds}
    return {
        name: part_of([simulated(World(seed=seed, run_count=runs)) for seed in seeds]) for name, seeds in groups.items()
    }


def ozone_parts(folder: Path) -> dict[str, Part]:
    """Both parts of Ozone's runs, with and without what shows two outcomes on the same code."""
    history = label_truth.read_ozone(folder)
    early = label_truth.first_share(history)
    late = history["runs"]["run_id"][~history["runs"]["run_id"].isin(set(early))]
    parts = {}
    for name, run_ids in (("first 60 %", early), ("last 40 %", late)):
        known = same_commit("ozone", label_truth.part(history, run_ids))
        parts[f"ozone, {name}"] = part_of([known])
        blind = Known(known.project, label_truth.withheld(known.history), known.flaky)
        parts[f"ozone, {name}, same code withheld"] = part_of([blind])
    return parts


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print recall, and write all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ozone", type=Path, required=True, help="history folder of Apache Ozone")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the rows go")
    given = parser.parse_args(arguments)
    parts = simulator_parts(CHOOSE_SEEDS, JUDGE_SEEDS) | ozone_parts(given.ozone)
    rows = list(compare(parts, CASES))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(pd.DataFrame(rows)[["set", "chosen_on", "method", "measure", "value", "low", "high", "number"]].to_string())


if __name__ == "__main__":
    main()
