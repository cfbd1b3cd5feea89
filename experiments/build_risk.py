"""Risk of builds: the model of `ml.models.build_risk` against its baselines, project by project in time order.

Run: ``python -m experiments.build_risk --builds <builds.parquet> --history <history folder> ...``

Protocol: the first 70 % of a project's runs are for learning and for every choice, the last 30 % are judged once.
What is chosen, a candidate and how much it leans on the moving average, is what the pipeline would choose on the 70 %.
It is then fitted on the first four fifths of them and calibrated on the last fifth, on which the threshold of F1 is
chosen as well, for the baselines too. Features of a run look at what was known when it started, so they go on learning
in the judged period, as the moving average of outcomes does.

The builds file has a row per build: project, tr_build_id, gh_build_started_at, build_Failed, gh_is_pr, and metrics of
the change that TravisTorrent counted (`CHANGE`, `STATE`). Its histories are read by the same features as any other.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.histories import opened, read_tables
from experiments.rows import RESULTS, figures, libraries, write
from ml import metrics, training
from ml.features import Context, Queries, build_runs
from ml.models import load_model
from ml.schemas import BuildRiskFrame, feature_groups
from ml.spec import Interval, ModelSpec, Objective, Split
from ml.training import FitOptions, Plan, Yardstick

FILE = RESULTS / "build_risk.json"
LEARNED_SHARE = 0.7
FIT_SHARE = 0.8
OPTIONS = FitOptions(seed=1)
CHANGE = (
    "git_diff_src_churn",
    "git_diff_test_churn",
    "gh_diff_files_added",
    "gh_diff_files_deleted",
    "gh_diff_files_modified",
    "gh_diff_tests_added",
    "gh_diff_tests_deleted",
    "gh_diff_src_files",
    "gh_diff_doc_files",
    "gh_diff_other_files",
)
STATE = ("gh_num_commit_comments", "git_prev_commit_resolution_status")


def features_of(project: str, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """`BuildRiskFrame` of a history given as frames; a table that is left out is empty."""
    with opened(tables) as engine:
        return build_runs(engine, Queries.training(project), Context())


def builds_frame(builds: pd.DataFrame) -> pd.DataFrame:
    """Features of one project's builds, with the metrics of the change as they were counted."""
    run_id = builds["tr_build_id"].astype(str).str.zfill(12)
    runs = pd.DataFrame(
        {
            "run_id": run_id,
            "attempt": 1,
            "started_at": pd.to_datetime(builds["gh_build_started_at"], utc=True),
            "finished_at": pd.Series(pd.NaT, index=builds.index, dtype="datetime64[us, UTC]"),
            "event": np.where(builds["gh_is_pr"] == 1, "pull_request", "push"),
            # What the branch tells elsewhere: pull requests fail on their own, pushes share a trunk.
            "workflow": np.where(builds["gh_is_pr"] == 1, "pull_request", "push"),
            "status": np.where(builds["build_Failed"] == 1, "failed", "passed"),
            **dict.fromkeys(("branch", "change_id", "author_id", "commit_sha")),
        }
    )
    counted = builds[[*CHANGE, *STATE]].astype(np.float64).assign(run_id=run_id)
    frame = features_of(str(builds["project"].iloc[0]), {"runs": runs})
    return frame.merge(counted, on="run_id", validate="one_to_one")


def builds_spec() -> ModelSpec:
    """The shipped model on the columns that a builds file has."""
    groups = feature_groups(BuildRiskFrame)
    spec = load_model("build_risk")
    change_metrics = {
        "change_metrics": lambda frame: pd.DataFrame(
            np.log1p(frame[list(CHANGE)].clip(lower=0).to_numpy()), index=frame.index
        )
    }
    return replace(
        spec,
        features=(*groups["history"], *groups["run"], *CHANGE, *STATE),
        baselines={**spec.baselines, **change_metrics},
    )


def split_at(frame: pd.DataFrame, learned: float, judged: float) -> Split:
    """Fit, calibrate and test by shares of the runs; the choice is made over folds, so validate is empty."""
    starts = frame["started_at"].reset_index(drop=True)
    border = _moment(starts, learned)
    calibrate = _moment(starts, learned * FIT_SHARE)
    test = Interval(border, _moment(starts, judged) if judged < 1 else None)
    return Split(Interval(None, calibrate), Interval(calibrate, border), Interval(border, border), test)


def _moment(starts: pd.Series, share: float) -> Any:
    return starts.iloc[int(len(starts) * share)].to_pydatetime()


def choose(spec: ModelSpec, frame: pd.DataFrame) -> Plan:
    """What the pipeline would choose on the runs before the judged ones."""
    judged = split_at(frame, LEARNED_SHARE, 1).test
    split = training.split_by_time(training.runs_of(frame), judged)
    fitted = training.fit_candidates(spec, frame, split, OPTIONS)
    return training.choose(spec, fitted, frame, split, OPTIONS).plan


def measure(set_name: str, spec: ModelSpec, frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of one project: the chosen model and every baseline on the last 30 % of its runs."""
    chosen = choose(spec, frame)
    split = split_at(frame, LEARNED_SHARE, 1)
    model = training.refit(spec, chosen, frame, split, OPTIONS)
    tune, test = training.period_rows(frame, split, "calibrate"), training.period_rows(frame, split, "test")
    contestants = {"model": (training.predict(model.estimator, tune), training.predict(model.estimator, test))}
    earlier, later = (training.baseline_scores(spec, frame, split, rows) for rows in (tune, test))
    contestants |= {name: (earlier[name], later[name]) for name in spec.baselines}
    yardstick = Yardstick(Objective.PROBABILITY, training.period_block(spec, frame, split, "test"))
    about = {"experiment": "build_risk", "set": set_name, "project": str(frame["project"].iloc[0])}
    about |= {"runs": len(test), "failed_rate": round(float(test["failed"].mean()), 4), "chosen": chosen.name}
    for name, (then, now) in contestants.items():
        limit = metrics.best_threshold(tune["failed"], then["probability"])
        found = training.evaluate(test.join(now), "test", replace(yardstick, threshold=limit))
        for key in ("auc", "pr_auc", "brier", "ece", "f1", "quadratic_score_all"):
            yield {**about, "method": name, "measure": key, **figures(found[f"test.{key}"])}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is given, print AUC, and write all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--builds", type=Path, help="builds file (Parquet), several projects")
    parser.add_argument("--history", type=Path, action="append", default=[], help="history folder of Parquet tables")
    parser.add_argument("--out", type=Path, default=FILE, help="where the rows go")
    given = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for set_name, spec, frame in _sets(given.builds, given.history):
        rows += measure(set_name, spec, frame)
        _tell(rows)
        write(given.out, {"about": {"seed": OPTIONS.seed, "libraries": libraries()}, "rows": rows})


def _sets(builds: Path | None, histories: Sequence[Path]) -> Iterator[tuple[str, ModelSpec, pd.DataFrame]]:
    for folder in histories:
        tables = read_tables(folder)
        project = str(tables["runs"]["project"].iloc[0])
        yield folder.name, load_model("build_risk"), features_of(project, tables)
    if builds is not None:
        for _, part in pd.read_parquet(builds).groupby("project"):
            yield "builds", builds_spec(), builds_frame(part)


def _tell(rows: Sequence[dict[str, Any]]) -> None:
    newest = rows[-1]["project"]
    found = {row["method"]: row["value"] for row in rows if row["project"] == newest and row["measure"] == "auc"}
    print(f"{newest}: AUC", ", ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
