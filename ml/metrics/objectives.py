"""Measures of each run by what a model is for: how early failures come, or how good the probabilities are."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ml.metrics.ranking import budget_count
from ml.metrics.runs import RANKING_COLUMNS, Bools, ranking_by_run
from ml.metrics.views import View, of_view
from ml.spec import MERGED_RESULT, Objective

PROBABILITY_COLUMNS = ("run_id", "started_at", "test_count", "failure_count", "quadratic_score", "change_recall")
MEASURES = {Objective.RANKING: RANKING_COLUMNS[4:], Objective.PROBABILITY: PROBABILITY_COLUMNS[4:]}


class Columns(NamedTuple):
    """Columns of a contestant: what it ranks by, its probability of failure, and whether its decision chose the row."""

    score: str = "score"
    probability: str = "probability"
    chosen: str = "chosen"


def measures_by_run(
    objective: Objective, rows: pd.DataFrame, columns: Columns, view: View = "all", budget: float = 0.3
) -> pd.DataFrame:
    """The measures that `MEASURES` names for the objective, a run per row; see the function of each objective."""
    if objective is Objective.RANKING:
        return ranking_by_run(rows, columns.score, view, budget)
    return probability_by_run(rows, columns, view)


def probability_by_run(rows: pd.DataFrame, columns: Columns, view: View = "all") -> pd.DataFrame:
    """How good the probabilities of each run's rows were. Grain of the result: run; every run counts.

    Args:
        rows: run_id, started_at, failed (bool), the probability, for view ``new`` previous_failed (bool), and, where
            known, whether the decision chose the row.
        columns: names of the latter two.
        view: ``all`` or ``new`` failures.

    Returns:
        PROBABILITY_COLUMNS, ordered by (started_at, run_id). quadratic_score is the mean of ``1 - (p - failed)^2``
        over the run's rows, 1 is best: one less the Brier score, a proper score (Gneiting and Raftery, "Strictly
        proper scoring rules, prediction, and estimation", JASA 102, 2007). change_recall is 1 if a failed row was
        chosen, else 0; NaN in a run without a failure, or where nothing is known of decisions.
    """
    kept = of_view(rows, view)
    failed = kept["failed"].to_numpy(np.float64)
    caught = kept[columns.chosen].to_numpy(bool) & (failed == 1) if columns.chosen in kept else np.nan
    table = pd.DataFrame(
        {
            "run_id": kept["run_id"].to_numpy(object),
            "started_at": kept["started_at"].array,
            "failed": failed,
            "quadratic_score": 1 - (kept[columns.probability].to_numpy(np.float64) - failed) ** 2,
            "caught": pd.Series(caught, index=range(len(kept)), dtype=np.float64),
        }
    )
    runs = table.groupby(["started_at", "run_id"], as_index=False).agg(
        test_count=("failed", "size"),
        failure_count=("failed", "sum"),
        quadratic_score=("quadratic_score", "mean"),
        caught=("caught", "max"),
    )
    runs["failure_count"] = runs["failure_count"].astype(np.int64)
    runs["change_recall"] = runs["caught"].where(runs["failure_count"] > 0)
    return runs[list(PROBABILITY_COLUMNS)]


def chosen_rows(objective: Objective, rows: pd.DataFrame, columns: Columns, limit: float) -> Bools:
    """Which rows a decision chooses.

    Args:
        objective: RANKING chooses the tests of each run with the highest scores; PROBABILITY what reaches a threshold.
        rows: run_id, variant, test_id and the score, or the probability. Equal scores go by variant and test.
        columns: their names.
        limit: share (0..1) of the tests of a run, at least one test, or the threshold (0..1).
    """
    if objective is Objective.PROBABILITY:
        return rows[columns.probability].to_numpy(np.float64) >= limit
    keys = rows[MERGED_RESULT].reset_index(drop=True).assign(score=rows[columns.score].to_numpy())
    ordered = keys.sort_values(["score", "variant", "test_id"], ascending=[False, True, True], kind="stable")
    position = ordered.groupby("run_id").cumcount().reindex(keys.index)
    allowed = keys.groupby("run_id")["test_id"].transform("size").map(lambda count: budget_count(count, limit))
    return (position < allowed).to_numpy(bool)
