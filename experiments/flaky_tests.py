"""Triage of failures: the model of `ml.models.flaky_tests` against its baselines, by time and across projects.

Run: ``python -m experiments.flaky_tests --history <history folder> ...``

Protocol: runs in the order in which they became known. The first 60 % are for learning and for every choice, the last
40 % are judged. What is learned from is labelled as it was known when the judged period began, so nothing of it is
weighed by later runs; the answers of the judged period are the labels at the end of the history, and the simulator's
own truth where it made the history. Only failures with a settled label count, on either side. Of what is learned from,
65 % are fitted on, 15 % calibrated on, and the candidate and the threshold of F1 are chosen on the rest, as in the
pipeline.

Across projects, the same failures are judged by what was learned from the first 60 % of another project, or of all
others, with nothing of the judged project but the features of its failures. Baselines learn their curve and their
threshold where the model learns.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import label_truth
from experiments.histories import opened, with_results_on_disk
from experiments.rows import RESULTS, Row, figures, libraries, number, write
from ml import metrics, training
from ml.engine import Engine
from ml.errors import NotEnoughData
from ml.features import Context, Queries
from ml.models import load_model
from ml.sources.simulator import World
from ml.spec import MERGED_RESULT, FailureState, Interval, Objective, Split
from ml.training import FitOptions, Fitted, Yardstick
from ml.training.periods import CALIBRATE_SHARE, FIT_SHARE

FILE = RESULTS / "flaky_tests.json"
LEARNED_SHARE = 0.6
SEEDS = (51, 52, 53, 54)
START = datetime(2000, 1, 1, tzinfo=UTC)
OPTIONS = FitOptions(seed=1)
SPEC = load_model("flaky_tests")
OWN = "its own first 60 %"
Learned = tuple[pd.DataFrame, Split]
MEASURES = ("auc", "pr_auc", "brier", "ece", "f1", "quadratic_score_all")


def border_of(engine: Engine) -> datetime:
    """Moment at which `LEARNED_SHARE` of the runs with results were known."""
    known = engine.fetch(
        "SELECT MAX(COALESCE(finished_at, started_at)) AS known_at FROM runs "
        "WHERE run_id IN (SELECT run_id FROM test_results) GROUP BY run_id ORDER BY known_at"
    )["known_at"]
    moment: datetime = known.iloc[int(len(known) * LEARNED_SHARE)].to_pydatetime()
    return moment


def rows_of(tables: Mapping[str, pd.DataFrame | Path]) -> tuple[pd.DataFrame, datetime]:
    """Failures up to the border as labelled then, and later ones as labelled at the end; and the border."""
    project = str(tables["runs"]["project"].iloc[0])
    with opened(tables) as engine:
        border = border_of(engine)
        then, now = (
            next(SPEC.build(engine, Queries.training(project, as_of=moment), Context())) for moment in (border, None)
        )
    rows = [then.loc[then["started_at"] < border], now.loc[now["started_at"] >= border]]
    return pd.concat(rows, ignore_index=True), border


@dataclass(frozen=True)
class Part:
    """Failures of one set as `rows_of` gives them: `border` is where the judged ones begin."""

    name: str
    rows: pd.DataFrame
    border: datetime


def real(folder: Path) -> Part:
    """A history folder."""
    return Part(folder.name, *rows_of(with_results_on_disk(folder)))


def simulated(seeds: Sequence[int]) -> Part:
    """Simulated projects side by side: learned from by their labels, judged by what the simulator knows."""
    worlds = [label_truth.simulated(World(seed=seed)) for seed in seeds]
    parts = [(known, *rows_of(known.history)) for known in worlds]
    border = min(own for _, _, own in parts)
    told = [judged_by_truth(known, rows, border) for known, rows, _ in parts]
    return Part("simulator", pd.concat(told, ignore_index=True), border)


def judged_by_truth(known: label_truth.Known, rows: pd.DataFrame, border: datetime) -> pd.DataFrame:
    """Failures of a world with the truth in place of the labels from `border` on, under run ids of its own."""
    states = rows[MERGED_RESULT].merge(known.truth, on=MERGED_RESULT, how="left", validate="one_to_one")["state"]
    answers = (states == FailureState.FLAKY).astype("boolean").set_axis(rows.index)
    failed = rows["failed"].where(rows["started_at"] < border, answers)
    return rows.assign(run_id=known.name + " " + rows["run_id"], failed=failed)


def together(parts: Sequence[Part]) -> Learned:
    """What several sets are learned from: their first parts on one time line, where all begin and end together."""
    moved = []
    for part in parts:
        rows = part.rows.loc[(part.rows["started_at"] < part.border) & (part.rows["known_at"] < part.border)]
        starts = rows["started_at"].rank(method="dense", pct=True)
        at = START + pd.to_timedelta(starts * 1_000, unit="D").dt.floor("us")
        moved.append(rows.assign(run_id=part.name + " " + rows["run_id"], started_at=at, known_at=at))
    rows = pd.concat(moved, ignore_index=True).sort_values(["started_at", "run_id"], kind="stable", ignore_index=True)
    runs = training.runs_of(rows)
    fit, validate = (START + timedelta(days=1_000 * share) for share in (FIT_SHARE, FIT_SHARE + CALIBRATE_SHARE))
    after = runs["started_at"].max().to_pydatetime() + timedelta(days=1)
    split = Split(Interval(None, fit), Interval(fit, validate), Interval(validate, after), Interval(after, None))
    return rows, split


def on_its_own(part: Part) -> Learned:
    """What a set is learned from by time: its own first part.

    Raises:
        NotEnoughData: too few failures have a settled label.
    """
    return part.rows, training.split_by_time(training.runs_of(part.rows), Interval(part.border, None))


def cases(parts: Sequence[Part]) -> Iterator[tuple[str, Callable[[], Learned], Part]]:
    """What is learned on, as words and as what to call, and the set that is judged."""
    for part in parts:
        yield OWN, partial(on_its_own, part), part
    for part in parts:
        others = [one for one in parts if one.name != part.name]
        for one in others:
            yield one.name, partial(together, [one]), part
        if len(others) > 1:
            yield "all others", partial(together, others), part


def measure(parts: Sequence[Part]) -> dict[str, Any]:
    """All that is reported, ready for JSON: `about`, with the cases that are left out and why, and rows."""
    found: list[Row] = []
    left_out = []
    for learned_on, learned, judged in cases(parts):
        try:
            found += contest(learned_on, learned(), judged)
        except NotEnoughData as reason:
            left_out.append(f"{judged.name}, learned on {learned_on} ({reason})")
        else:
            _tell(found)
    about = {"seed": OPTIONS.seed, "seeds": list(SEEDS), "left_out": left_out, "libraries": libraries()}
    return {"about": about, "rows": found}


def contest(learned_on: str, learned: Learned, judged: Part) -> Iterator[Row]:
    """Rows of the chosen model and every baseline, learned on `learned` and judged on the last part of `judged`."""
    frame, split = learned
    about = {"experiment": "flaky_tests", "set": judged.name, "learned_on": learned_on}
    fitted = training.fit_candidates(SPEC, frame, split, OPTIONS)
    chosen = training.with_threshold(SPEC, training.choose(SPEC, fitted, frame, split, OPTIONS), frame, split)
    nothing = Interval(judged.border, judged.border)
    own = Split(Interval(None, judged.border), nothing, nothing, Interval(judged.border, None))
    tune, test = training.period_rows(frame, split, "validate"), training.period_rows(judged.rows, own, "test")
    block = training.period_block(SPEC, judged.rows, own, "test")
    about |= {"chosen": chosen.name, "learned": int((frame["started_at"] < split.test.start).sum())}
    about |= {"failures": len(test), "runs": int(test["run_id"].nunique())}
    about |= {"flaky_rate": number(float(test["failed"].mean()))}
    then, now = (_scores(chosen, (frame, split), part) for part in (tune, test))
    for method, scores in now.items():
        limit = metrics.best_threshold(tune["failed"], then[method]["probability"])
        found = training.evaluate(test.join(scores), "test", Yardstick(Objective.PROBABILITY, block, limit))
        for key in MEASURES:
            yield {**about, "method": method, "measure": key, **figures(found[f"test.{key}"], about["runs"])}


def _scores(chosen: Fitted, learned: Learned, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        **training.baseline_scores(SPEC, *learned, rows),
        "model": training.predict(chosen.estimator, rows),
    }


def _tell(rows: Sequence[Row]) -> None:
    last = (rows[-1]["set"], rows[-1]["learned_on"])
    told = [row for row in rows if (row["set"], row["learned_on"]) == last and row["measure"] == "auc"]
    print(*last, ", ".join("{method} {value}".format(**row) for row in told), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the histories given and the simulator, print AUC, and write all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path, action="append", required=True, help="history folder of Parquet tables")
    parser.add_argument("--out", type=Path, default=FILE, help="where the rows go")
    given = parser.parse_args(arguments)
    write(given.out, measure([simulated(SEEDS), *(real(folder) for folder in given.history)]))


if __name__ == "__main__":
    main()
