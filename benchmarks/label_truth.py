"""Failures whose true state is known, for fitting and for judging labels: three sources, and what each can prove.

- The simulator knows why every result failed. Its kinds of outcome and durations would give infrastructure away; the
  labels do not look at them.
- Apache Ozone, same commit: a test that passed and failed on one commit is flaky, one that failed in three or more
  runs of it and never passed counts as a regression (weak: a very flaky test can do that too). With the commits at
  hand a label could repeat this definition; `withheld` takes them away.
- Apache Ozone, held-out re-runs: every second run of a commit is taken out of the history and decides what the
  failures of the others were. Same-commit evidence stays, and is not the truth itself.

What is fitted sees the first 60 % of Ozone's runs without the 260 runs of one commit, and the simulator's `FIT_SEEDS`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.engine import Engine, open_engine
from ml.sources.simulator import World, simulate
from ml.spec import MERGED_RESULT, FailureState

TABLES = ("runs", "test_results", "changed_files")
FIT_SHARE = 0.6
FIT_SEEDS = {
    11: World(seed=11),
    12: World(seed=12, flaky_share=0.2),
    13: World(seed=13, regression_rate=0.3),
    14: World(seed=14, flaky_share=0.15, regression_rate=0.1),
}
ONE_COMMIT = "hdds1735"
Frames = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Known:
    """Failures with their truth: `truth` has run_id, variant, test_id, state; `history` is what labels may read."""

    name: str
    history: Frames
    truth: pd.DataFrame


def register(engine: Engine, history: Frames) -> None:
    for name in TABLES:
        engine.register_frame(name, pa.Table.from_pandas(history[name], preserve_index=False))


@contextmanager
def opened(history: Frames, threads: int = 2) -> Iterator[Engine]:
    with open_engine("duckdb", threads) as engine:
        register(engine, history)
        yield engine


def simulated(world: World) -> Known:
    known = simulate(world)
    truth = known.failures.groupby(MERGED_RESULT, as_index=False)["state"].first()
    return Known(f"simulator {world.seed}", {name: getattr(known, name) for name in TABLES}, truth)


def read_ozone(folder: Path) -> Frames:
    """Without the patches that were merged later under the same ticket: nobody knew them when the run started."""
    history = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
    exact = history["changed_files"]["change_source"] == "exact_master_commit"
    texts = dict.fromkeys(("variant", "test_id", "outcome"), str)
    return {
        "runs": history["runs"].sort_values(["started_at", "run_id"], ignore_index=True),
        "test_results": history["test_results"].astype(texts),
        "changed_files": history["changed_files"][exact],
    }


def part(history: Frames, run_ids: "pd.Series[str]") -> Frames:
    return {name: frame[frame["run_id"].isin(set(run_ids))] for name, frame in history.items()}


def first_share(history: Frames, share: float = FIT_SHARE) -> "pd.Series[str]":
    runs: pd.Series[str] = history["runs"]["run_id"]
    return runs.iloc[: round(len(runs) * share)]


def withheld(history: Frames) -> Frames:
    """No commits, and attempts merged: whatever shows two outcomes on the same code is gone."""
    runs, results = history["runs"], history["test_results"]
    ends = runs.groupby("run_id")["finished_at"].max()
    merged = runs.sort_values("attempt").drop_duplicates("run_id")
    merged = merged.assign(attempt=1, commit_sha=pd.Series(None, index=merged.index, dtype=object))
    executed = results[results["outcome"] != "skipped"]
    worst = executed.assign(passes=executed["outcome"] == "passed").sort_values("passes", kind="stable")
    return {
        "runs": merged.assign(finished_at=merged["run_id"].map(ends)),
        "test_results": worst.drop_duplicates(MERGED_RESULT).drop(columns="passes").assign(attempt=1),
        "changed_files": history["changed_files"],
    }


def without_commits(history: Frames) -> Frames:
    runs = history["runs"]
    return {**history, "runs": runs.assign(commit_sha=pd.Series(None, index=runs.index, dtype=object))}


def merged_results(history: Frames) -> pd.DataFrame:
    """run_id, variant, test_id, failed, commit_sha of every executed result, attempts merged."""
    executed = history["test_results"].query("outcome != 'skipped'")
    failed = (
        executed.assign(failed=executed["outcome"] != "passed").groupby(MERGED_RESULT, as_index=False)["failed"].max()
    )
    return failed.merge(history["runs"].drop_duplicates("run_id")[["run_id", "commit_sha"]], on="run_id")


def same_commit(history: Frames) -> pd.DataFrame:
    """Truth of the failures on commits that ran more than once, by all their runs."""
    merged = merged_results(history)
    return _judged_by(merged[merged["failed"]], merged, least_failures=3)


def held_out(name: str, history: Frames) -> Known:
    """Every second run of a commit decides what the failures of the others were."""
    runs = history["runs"]
    is_held = (runs.groupby("commit_sha").cumcount() % 2 == 1) & runs["commit_sha"].notna()
    merged = merged_results(history)
    is_judge = merged["run_id"].isin(set(runs.loc[is_held, "run_id"]))
    truth = _judged_by(merged[merged["failed"] & ~is_judge], merged[is_judge], least_failures=2)
    return Known(name, part(history, runs.loc[~is_held, "run_id"]), truth)


def _judged_by(failures: pd.DataFrame, judges: pd.DataFrame, least_failures: int) -> pd.DataFrame:
    code = ["commit_sha", "variant", "test_id"]
    counted = judges.dropna(subset="commit_sha").groupby(code)["failed"].agg(["sum", "size"]).reset_index()
    is_flaky = counted["sum"] < counted["size"]
    is_broken = ~is_flaky & (counted["sum"] >= least_failures)
    states = np.select(
        [is_flaky, is_broken], [FailureState.FLAKY.value, FailureState.REGRESSION.value], FailureState.UNKNOWN.value
    )
    known = counted.assign(state=states)[is_flaky | is_broken]
    return failures.merge(known[[*code, "state"]], on=code)[[*MERGED_RESULT, "state"]]
