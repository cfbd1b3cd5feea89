"""`python -m benchmarks.label_quality <folder of ozone>`: how good labels are, held against three truths; see
`benchmarks.label_truth`. Prints a table and writes its rows as JSON.

Precision and recall of a state are over failures, their 95 % intervals over runs (cluster bootstrap: failures of one
run share their cause). `unknown` counts as a miss of recall, never as an error of precision.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import label_truth as truth
from ml.labels.evidence import collect
from ml.labels.judging import judge
from ml.sources.simulator import World
from ml.spec import MERGED_RESULT, FailureState

LATER = datetime(2100, 1, 1, tzinfo=UTC)
SEEDS = (21, 22, 23, 24)
YOUNG = timedelta(days=2)
RESAMPLES = 2_000
RESULTS = Path(__file__).parent / "results" / "labels.json"


@dataclass(frozen=True)
class Row:
    """Quality of one state on one set. Shares are 0..1, None where nothing was there to divide by."""

    truth: str
    view: str
    state: str
    failures: int
    labelled: int
    precision: float | None
    precision_low: float | None
    precision_high: float | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    unknown: float


def rows(ozone: Path, seeds: Sequence[int] = SEEDS) -> list[Row]:
    """Every row of the table of label quality."""
    return [row for name, view, judged in _judged(ozone, seeds) for row in measured(name, view, judged)]


def _judged(ozone: Path, seeds: Sequence[int]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Name of the truth, what labels could see, and failures with `truth` and `state`."""
    worlds = [truth.simulated(World(seed=seed)) for seed in seeds]
    for view, seen in (("all evidence", dict), ("same code withheld", truth.withheld)):
        found = [_labelled(seen(known.history), known.truth, known.name) for known in worlds]
        yield "simulator", view, pd.concat(found)
    yield "simulator", f"within {YOUNG.days} days", pd.concat([_young(known) for known in worlds])
    history = truth.read_ozone(ozone)
    late = set(history["runs"]["run_id"]) - set(truth.first_share(history))
    events = history["runs"].drop_duplicates("run_id").set_index("run_id")["event"]
    states = truth.same_commit(history)
    for view, seen in (("all evidence: the truth itself", dict), ("same code withheld", truth.withheld)):
        judged = _labelled(seen(history), states, "ozone")
        yield "ozone, same commit, last 40 %", view, judged[judged["run_id"].isin(late)]
        one = _labelled(seen(history), _all_flaky(history, events), "ozone")
        yield "ozone, one commit run 260 times", view, one
    split = truth.held_out("ozone", history)
    judged = _labelled(split.history, split.truth, "ozone")
    yield "ozone, held-out re-runs, last 40 %", "all evidence", judged[judged["run_id"].isin(late)]


def _labelled(history: truth.Frames, states: pd.DataFrame, world: str, as_of: datetime = LATER) -> pd.DataFrame:
    with truth.opened(history) as engine:
        found = collect(engine, as_of)
    labelled = pd.concat([found[MERGED_RESULT], judge(found)], axis=1)
    named = states.rename(columns={"state": "truth"})
    return named.merge(labelled, on=MERGED_RESULT).assign(cluster=lambda frame: world + " " + frame["run_id"])


def _young(known: truth.Known) -> pd.DataFrame:
    """Each failure as it is labelled up to `YOUNG` after it: labels are taken at moments that far apart."""
    runs = known.history["runs"]
    ends = runs.groupby("run_id")["finished_at"].max().dropna()
    moments = pd.date_range(ends.min(), ends.max() + YOUNG, freq=YOUNG)[1::8]
    found = []
    for moment in moments:
        fresh = ends.index[(ends <= moment) & (ends > moment - YOUNG)]
        states = known.truth[known.truth["run_id"].isin(set(fresh))]
        found.append(_labelled(known.history, states, known.name, moment.to_pydatetime()))
    return pd.concat(found)


def _all_flaky(history: truth.Frames, events: "pd.Series[str]") -> pd.DataFrame:
    merged = truth.merged_results(history)
    of_event = merged["failed"] & (merged["run_id"].map(events) == truth.ONE_COMMIT)
    return merged.loc[of_event, MERGED_RESULT].assign(state=FailureState.FLAKY.value)


def measured(name: str, view: str, judged: pd.DataFrame, seed: int = 1) -> list[Row]:
    """Quality of each state that occurs in the truth.

    Args:
        name: Of the truth.
        view: What labels could see.
        judged: One row per failure: truth, state, cluster (failures of one cluster are drawn together).
        seed: Of the resamples.
    """
    codes, clusters = pd.factorize(judged["cluster"])
    draws = np.random.default_rng(seed).multinomial(
        len(clusters), np.full(len(clusters), 1 / max(len(clusters), 1)), RESAMPLES if len(clusters) else 0
    )
    unknown = float((judged["state"] == FailureState.UNKNOWN).mean()) if len(judged) else 0.0
    found = []
    for state in sorted(set(judged["truth"])):
        actual, given = (judged[column].to_numpy() == state for column in ("truth", "state"))
        counts = [np.bincount(codes, weights=flag, minlength=len(clusters)) for flag in (actual & given, given, actual)]
        hits, labelled, failures = counts
        precision, recall = _share(hits, labelled, draws), _share(hits, failures, draws)
        found.append(Row(name, view, state, int(actual.sum()), int(given.sum()), *precision, *recall, unknown))
    return found


def _share(hits: np.ndarray, of: np.ndarray, draws: np.ndarray) -> tuple[float | None, float | None, float | None]:
    if not of.sum():
        return None, None, None
    totals = draws @ of
    shares = (draws @ hits)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(hits.sum() / of.sum()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_quality", description=__doc__)
    parser.add_argument("ozone", type=Path, help="folder with the history of Apache Ozone")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file to write")
    options = parser.parse_args()
    found = [asdict(row) for row in rows(options.ozone)]
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps({"rows": found, "fit_seeds": list(truth.FIT_SEEDS)}, indent=1) + "\n")
    print(pd.DataFrame(found).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
