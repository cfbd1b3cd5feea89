"""How good published predictions turned out to be, and what can be said before their outcomes are known."""

import math

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from ml.metrics import Columns, auc, brier, ece, probability_by_run, ranking_by_run
from ml.spec import MERGED_RESULT, Decision, Objective

CHOSEN = {Decision.SELECT.value, Decision.RISKY.value, Decision.RERUN.value}


def live_measures(
    predictions: pd.DataFrame, outcomes: pd.DataFrame, objective: Objective = Objective.RANKING
) -> dict[str, float]:
    """Hold published predictions against the results that came later.

    Args:
        predictions: published rows of one model version: change_id, variant, test_id, score, probability, decision,
            as_of. If a test was published more than once for a change, the earliest row counts: it knew least.
        outcomes: merged results of runs, grain (run_id, variant, test_id): started_at, failed (bool), duration_s (s,
            may be NaN). A result without a prediction counts for coverage only.
        objective: what the model is for.

    Returns:
        Numbers by name, NaN where there is nothing to measure. Counts: predictions_count, outcomes_count,
        matched_count, runs_count (ranked runs, by the rule of `metrics.ranking_by_run`). Rates in 0..1: coverage_rate
        (results that had a prediction), failure_rate and mean_probability (of matched rows), selection_rate and
        selection_duration_rate (what the selection ran). Of a ranking's runs: apfd, test_recall and change_recall
        of the published selection. Of a model of probabilities: auc, quadratic_score, precision and change_recall of
        the published decisions. Of matched rows: brier, ece. Proxies while outcomes are missing: waiting_count,
        waiting_mean_probability, score_shift (largest gap, 0..1, between the scores with and without outcome).
    """
    published = predictions.sort_values("as_of", kind="stable").rename(columns={"change_id": "run_id"})
    published = published.drop_duplicates(MERGED_RESULT)
    matched = published.merge(outcomes, on=MERGED_RESULT, how="inner", validate="one_to_one")
    known = pd.MultiIndex.from_frame(matched[MERGED_RESULT])
    waiting = published.loc[~pd.MultiIndex.from_frame(published[MERGED_RESULT]).isin(known)]
    return {
        "predictions_count": len(published),
        "outcomes_count": len(outcomes),
        "matched_count": len(matched),
        "coverage_rate": len(matched) / len(outcomes) if len(outcomes) else math.nan,
        **_probability_measures(matched),
        **(_selection_measures(matched) if objective is Objective.RANKING else _decision_measures(matched)),
        "waiting_count": len(waiting),
        "waiting_mean_probability": _mean(waiting["probability"]),
        "score_shift": _shift(matched["score"], waiting["score"]),
    }


def _probability_measures(matched: pd.DataFrame) -> dict[str, float]:
    failed = matched["failed"].to_numpy(bool)
    probability = matched["probability"].to_numpy(np.float64)
    return {
        "failure_rate": _mean(matched["failed"]),
        "mean_probability": _mean(matched["probability"]),
        "brier": brier(failed, probability),
        "ece": ece(failed, probability),
    }


def _selection_measures(matched: pd.DataFrame) -> dict[str, float]:
    """The published decision, not a budget applied afresh: what a team that followed it would have seen."""
    selected = matched["decision"] == Decision.SELECT.value
    cost = matched["duration_s"].fillna(0.0)
    ranked = ranking_by_run(matched.assign(duration_s=1.0), "score")  # read for APFD only, which knows no durations
    failing = matched.loc[matched["failed"].astype(bool) & matched["run_id"].isin(ranked["run_id"])]
    caught = selected[failing.index].groupby(failing["run_id"])
    return {
        "runs_count": len(ranked),
        "apfd": _mean(ranked["apfd"]),
        "test_recall": _mean(caught.mean()),
        "change_recall": _mean(caught.max()),
        "selection_rate": _mean(selected),
        "selection_duration_rate": float(cost[selected].sum() / cost.sum()) if cost.sum() > 0 else math.nan,
    }


def _decision_measures(matched: pd.DataFrame) -> dict[str, float]:
    chosen = matched["decision"].isin(CHOSEN)
    runs = probability_by_run(matched.assign(chosen=chosen), Columns())
    return {
        "runs_count": len(runs),
        "auc": auc(matched["failed"], matched["score"]),
        "quadratic_score": _mean(runs["quadratic_score"]),
        "precision": _mean(matched["failed"][chosen]),
        "change_recall": _mean(runs["change_recall"].dropna()),
        "selection_rate": _mean(chosen),
    }


def _mean(values: pd.Series) -> float:
    return float(values.astype(np.float64).mean()) if len(values) else math.nan


def _shift(known: pd.Series, waiting: pd.Series) -> float:
    if known.empty or waiting.empty:
        return math.nan
    return float(ks_2samp(known, waiting, method="asymp").statistic)
