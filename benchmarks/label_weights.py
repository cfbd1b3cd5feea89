"""`python -m benchmarks.label_weights <folder of ozone>`: fits ml/labels/weights.toml.

One multinomial logistic regression over the pieces of evidence. Failures of one run and state share a weight (the root
of their number), the simulator and Ozone count alike. Two pieces are definitions, and their weights are set, not
fitted: both outcomes on one commit are flaky, and what fails until a related change follows is a regression. Failures
of which one of them holds are left out of the fit.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from benchmarks import label_truth as truth
from ml.labels.evidence import collect
from ml.labels.judging import EVIDENCE, STATES, WEIGHTS, holds
from ml.spec import MERGED_RESULT, FailureState

LATER = datetime(2100, 1, 1, tzinfo=UTC)
BY_DEFINITION = {
    "passed_on_same_code": {"regression": -3.0, "flaky": 3.0, "infrastructure": 0.0},
    "stays_until_related_change": {"regression": 2.0, "flaky": -2.0, "infrastructure": 0.0},
}
LEAST_PROBABILITY = 0.6
PENALTY = 1.0
HEAD = """\
# Weights of evidence, in log-odds up to a constant per row: what a piece of evidence adds to each state of a failure.
# Written by `python -m benchmarks.label_weights`: fitted on simulated worlds {seeds} and on the first
# {share:.0%} of Apache Ozone's 2019 runs without the runs of event {event}.
# Set by definition: {definitions}.

# A state is given when it is at least this probable; else the failure is `unknown`.
least_probability = {least}
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_weights", description=__doc__)
    parser.add_argument("ozone", type=Path, help="folder with the history of Apache Ozone")
    WEIGHTS.write_text(fitted(examples(parser.parse_args().ozone)), encoding="utf-8")
    print(f"written to {WEIGHTS}")


def examples(ozone: Path) -> pd.DataFrame:
    """One row per failure and view of it: the evidence that holds, state, weight."""
    found = []
    for world in truth.FIT_SEEDS.values():
        known = truth.simulated(world)
        found += [_rows(view, known.truth, "simulator") for view in (known.history, truth.withheld(known.history))]
    history = truth.read_ozone(ozone)
    early = truth.part(history, truth.first_share(history))
    runs = early["runs"]
    early = truth.part(early, runs.loc[runs["event"] != truth.ONE_COMMIT, "run_id"])
    same = truth.same_commit(early)
    found += [_rows(view, same, "ozone") for view in (truth.withheld(early), truth.without_commits(early))]
    split = truth.held_out("held-out re-runs", early)
    return pd.concat([*found, _rows(split.history, split.truth, "ozone")], ignore_index=True)


def _rows(history: truth.Frames, states: pd.DataFrame, source: str) -> pd.DataFrame:
    with truth.opened(history) as engine:
        evidence = collect(engine, LATER).merge(states, on=MERGED_RESULT)
    crowd = evidence.groupby(["run_id", "state"])["state"].transform("size")
    return holds(evidence).assign(state=evidence["state"], weight=1 / np.sqrt(crowd), source=source)


def fitted(rows: pd.DataFrame) -> str:
    """The text of the file."""
    totals = rows.groupby("source")["weight"].transform("sum")
    weight = rows["weight"] / totals * len(rows)
    kept = ~rows[list(BY_DEFINITION)].any(axis=1)
    model = LogisticRegression(C=PENALTY, max_iter=5_000)
    model.fit(rows.loc[kept, list(EVIDENCE)].astype(float), rows.loc[kept, "state"], weight[kept])
    order = [list(model.classes_).index(state.value) for state in STATES]
    table = {"intercept": model.intercept_[order], **dict(zip(EVIDENCE, model.coef_[order].T, strict=True))}
    lines = [
        HEAD.format(
            seeds=", ".join(map(str, truth.FIT_SEEDS)),
            share=truth.FIT_SHARE,
            event=truth.ONE_COMMIT,
            definitions=", ".join(BY_DEFINITION),
            least=LEAST_PROBABILITY,
        ),
        "[weights]",
    ]
    for name, values in table.items():
        by_state = BY_DEFINITION.get(name) or dict(zip(map(FailureState, STATES), values, strict=True))
        told = ", ".join(f"{state} = {value:.2f}" for state, value in by_state.items())
        lines.append(f"{name} = {{ {told} }}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
