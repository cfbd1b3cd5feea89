"""What is worth keeping of every candidate and baseline: parameters, measures, figures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ml import metrics, plots
from ml.spec import CandidateRecord, Measure, ModelSpec, Split
from ml.training.evaluation import evaluate, period_block, score_by_cost
from ml.training.fitting import Fitted, chance, predict
from ml.training.periods import period_rows

SHARES = tuple(np.linspace(0, 1, 101))
IMPORTANCE_RUNS = 20


def records(
    spec: ModelSpec, fitted: list[Fitted], frame: pd.DataFrame, split: Split, budget: float = 0.3
) -> tuple[CandidateRecord, ...]:
    """A record of every candidate and every baseline on the validate period.

    The test period is not looked at: it belongs to the gates and to the one chosen candidate (`judged_measures`).

    Args:
        spec: the model.
        fitted: candidates, in the order of the records.
        frame: feature frame with outcomes.
        split: periods.
        budget: share of tests (0..1) that a published selection runs.
    """
    rows = period_rows(frame, split, "validate")
    block = period_block(spec, frame, split, "validate")
    baselines = {name: rows.assign(score=rank(rows)) for name, rank in spec.baselines.items()}
    found = []
    for one in fitted:
        scored = _with_cost_order(spec, one, _scored(one.estimator, rows))
        measures = evaluate(scored, "validation", block, threshold(one, frame, split), budget)
        figures = _figures(one, scored, baselines, budget)
        params = {**one.params, "fit_seconds": round(one.seconds, 3), "block_runs": block}
        found.append(CandidateRecord(one.name, False, params, measures, figures))
    for name, scored in baselines.items():
        found.append(CandidateRecord(name, True, {"block_runs": block}, evaluate(scored, "validation", block)))
    return tuple(found)


def judged_measures(
    spec: ModelSpec, chosen: Fitted, frame: pd.DataFrame, split: Split, budget: float = 0.3
) -> Mapping[str, Mapping[str, Measure]]:
    """Measures on the test period of the chosen candidate and of each baseline, by name."""
    rows, block = period_rows(frame, split, "test"), period_block(spec, frame, split, "test")
    scored = _with_cost_order(spec, chosen, _scored(chosen.estimator, rows))
    ours = evaluate(scored, "test", block, threshold(chosen, frame, split), budget)
    theirs = {
        name: evaluate(rows.assign(score=rank(rows)), "test", block, budget=budget)
        for name, rank in spec.baselines.items()
    }
    return {chosen.name: ours, **theirs}


def threshold(one: Fitted, frame: pd.DataFrame, split: Split) -> float:
    """Probability (0..1) from which a test counts as failing in F1: the best one on the calibrate period."""
    rows = period_rows(frame, split, "calibrate")
    return metrics.best_threshold(rows["failed"], predict(one.estimator, rows)["probability"])


def importance_figure(one: Fitted, frame: pd.DataFrame, split: Split) -> Figure:
    """What a candidate leans on, on the validate period; worth its time for the chosen one only."""
    losses = importance(one.estimator, period_rows(frame, split, "validate"))
    return plots.importance(losses, f"What {one.name} leans on", "loss of mean APFD when shuffled within each run")


def importance(estimator: Any, rows: pd.DataFrame, seed: int = 0) -> pd.Series:
    """Loss of mean APFD when one feature is shuffled, by feature name: what the ranking leans on.

    Breiman, "Random forests", Machine Learning 45, 2001 (permutation importance). Shuffled within each run, since
    only differences within a run can rank. Measured on the last runs with a failure, at most 20 of them.
    """
    countable = metrics.ranking_by_run(rows.assign(score=0.0), "score")["run_id"]
    sample = rows.loc[rows["run_id"].isin(countable.tail(IMPORTANCE_RUNS))].reset_index(drop=True)
    features = [str(name) for name in estimator.feature_names_in_]
    if len(sample) == 0:
        return pd.Series(0.0, index=features)
    generator = np.random.default_rng(seed)
    run = pd.factorize(sample["run_id"])[0]
    by_run = np.argsort(run, kind="stable")
    full = _mean_apfd(estimator, sample)
    losses = {}
    for name in features:
        mixed = np.lexsort((generator.random(len(sample)), run))
        values = sample[name].to_numpy(copy=True)
        values[by_run] = sample[name].to_numpy()[mixed]
        losses[name] = full - _mean_apfd(estimator, sample.assign(**{name: values}))
    return pd.Series(losses)


def _mean_apfd(estimator: Any, rows: pd.DataFrame) -> float:
    return float(metrics.ranking_by_run(_scored(estimator, rows), "score")["apfd"].mean())


def _scored(estimator: Any, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{str(name): values for name, values in predict(estimator, rows).items()})


def _with_cost_order(spec: ModelSpec, one: Fitted, scored: pd.DataFrame) -> pd.DataFrame:
    if not spec.cost:
        return scored
    return scored.assign(score_by_cost=score_by_cost(chance(one.estimator, scored), scored[spec.cost]))


def _figures(
    one: Fitted, scored: pd.DataFrame, baselines: Mapping[str, pd.DataFrame], budget: float
) -> dict[str, Figure]:
    curves = {one.name: scored} | dict(baselines)
    shown: Mapping[metrics.View, str] = {"all": "all failures", "new": "new failures"}
    figures = {
        f"ranking_{view}.png": plots.ranking(
            {name: metrics.selection_curve(rows, "score", SHARES, view) for name, rows in curves.items()},
            f"Selection curve, {text}, validation period",
            budget,
        )
        for view, text in shown.items()
    }
    title = f"Calibration of {one.name}, validation period"
    figures["calibration.png"] = plots.calibration(scored["failed"], scored["probability"], title)
    return figures
