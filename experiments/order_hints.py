"""How often the hint at the order of execution is right, by the simulator's truth.

Run: ``python -m experiments.order_hints``

Judged are the tests (of one variant each) that the assessment calls flaky or a quarantine candidate at the end of a
world: their true kind of flakiness against the hint that they get. A hint is right when the test is order-dependent;
the seeds are used nowhere else. Two views of each history: the places in the whole suite, and those that the reports
tell, one per module, although the simulator mixes the modules.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks import label_truth
from benchmarks.label_truth import Frames
from ml import flakiness, labels
from ml.flakiness import HintKind, TestState
from ml.sources.simulator import World, simulate

RESULTS = Path(__file__).parent / "results" / "order_hints.json"
SEEDS = tuple(range(301, 317))
RUNS = 600
# A test of a large suite seldom runs right after its polluter: small suites have more to judge.
SHAPE: Mapping[str, Any] = {"module_count": 4, "flaky_share": 0.4}
NOISY: Mapping[str, Any] = {"drift_at": 0.01, "drift_duration_factor": 1.0, "drift_failure_factor": 4.0}
SETS: Mapping[str, Mapping[str, Any]] = {"as it is": {}, "four times as many flaky failures": NOISY}
ATTEMPT = ["run_id", "attempt", "variant"]


def as_reported(results: pd.DataFrame) -> pd.DataFrame:
    """The results with the places that a report per module tells, one report after the other."""
    module = results["test_id"].str.split(".").str[1]
    ordered = results.assign(module=module, at=np.arange(len(results)))
    ordered = ordered.sort_values([*ATTEMPT, "module", "at"], kind="stable")
    is_placed = ordered["position"].notna()
    by_attempt = [ordered[name] for name in ATTEMPT]
    is_next = ordered["module"] != ordered.groupby(ATTEMPT)["module"].shift()
    places = is_placed.groupby(by_attempt).cumsum() + is_next.groupby(by_attempt).cumsum() - 1
    return ordered.assign(position=places.where(is_placed).astype("Int64")).sort_values("at")


def hinted(world: World, history: Frames) -> pd.DataFrame:
    """One row per test that is called flaky: variant, test_id, has_hint, evidence."""
    end = history["runs"]["finished_at"].max().to_pydatetime()
    with label_truth.opened(history) as engine:
        labelled = labels.label(engine, world.project, end)
        executions = labels.executions(engine, end)
        texts, neighbours = labels.failure_texts(engine), labels.neighbours(engine)
    found = flakiness.assess(flakiness.count(executions, labelled))
    flaky = found.index[found["state"].isin([TestState.FLAKY.value, TestState.QUARANTINE.value])]
    hints = flakiness.hints(executions, labelled, texts, neighbours, flaky)
    told = [
        [*key, next((hint.evidence for hint in of if hint.kind is HintKind.ORDER), None)] for key, of in hints.items()
    ]
    return pd.DataFrame(told, columns=["variant", "test_id", "evidence"])


def judged(name: str, seeds: Sequence[int], runs: int) -> Iterator[dict[str, Any]]:
    """Rows of one set of worlds: precision and recall of the hint in each view."""
    found: dict[str, list[pd.DataFrame]] = {"whole suite": [], "report of a module": []}
    for seed in seeds:
        world = World(seed=seed, run_count=runs, **{**SHAPE, **SETS[name]})
        known = simulate(world)
        history = {table: getattr(known, table) for table in label_truth.TABLES}
        kinds = known.tests.set_index("test_id")["flakiness"]
        for view, results in (
            ("whole suite", known.test_results),
            ("report of a module", as_reported(known.test_results)),
        ):
            tests = hinted(world, {**history, "test_results": results})
            found[view].append(tests.assign(is_true=tests["test_id"].map(kinds) == "order"))
    for view, parts in found.items():
        tests = pd.concat(parts, ignore_index=True)
        has_hint, is_true = tests["evidence"].notna(), tests["is_true"].astype(bool)
        for measure, holds, among in (
            ("precision", is_true, has_hint),
            ("recall", has_hint, is_true),
            ("false_alarms", has_hint, ~is_true),
        ):
            yield {"experiment": "order_hints", "set": name, "view": view, "measure": measure, **_share(holds, among)}


def _share(holds: "pd.Series[bool]", among: "pd.Series[bool]") -> dict[str, Any]:
    """The share with its exact binomial interval (95 %), and how many it is about; None for a share of nothing."""
    count, number = int((holds & among).sum()), int(among.sum())
    if not number:
        return {"value": None, "low": None, "high": None, "number": 0}
    bounds = stats.binomtest(count, number).proportion_ci(0.95, method="exact")
    told = {"value": count / number, "low": float(bounds.low), "high": float(bounds.high)}
    return {**{key: round(value, 4) for key, value in told.items()}, "number": number}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the rows go")
    given = parser.parse_args(arguments)
    rows = [row for name in SETS for row in judged(name, SEEDS, RUNS)]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(pd.DataFrame(rows).to_string())


if __name__ == "__main__":
    main()
