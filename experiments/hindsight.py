"""What is out of reach: an order by a learner that was told more than anyone can know.

It is fitted on the judged runs themselves, earlier and later than the one it orders, and knows how often each test
fails anew in all of them; only the runs of one fold are kept from it, in turn. It sees the features that the model
sees. So what it still finds late is not for want of examples, nor because tests changed their habits since the model
was fitted: what is known when a run starts does not tell.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import logit

from ml import metrics
from ml.models.test_selection import SPEC

FOLDS = 10
LEAST_RUNS = 100  # with a new failure: of fewer, nine tenths teach less than the past taught the model
LEARNERS = ("gradient_boosting", "random_forest")
MAX_PASSES = 150_000  # per fit: seconds and memory; they stand for all by their weight
SEED = 1
LEAST = 1e-6  # keeps the log-odds of a certain answer finite


@dataclass
class Evidence:
    """Rows that are new to fail in runs with such a failure: their places in the judged rows, and their features."""

    columns: Sequence[str]
    places: list[metrics.Ints] = field(default_factory=list)
    values: list[metrics.Floats] = field(default_factory=list)
    rows: int = 0

    def add(self, rows: pd.DataFrame) -> None:
        """Take what tells from the next judged rows; whole runs."""
        could = ~rows["previous_failed"].to_numpy(bool)
        fails = pd.Series(could & rows["failed"].to_numpy(bool), index=rows.index)
        tells = np.flatnonzero(could & fails.groupby(rows["run_id"]).transform("any").to_numpy(bool))
        self.places.append(self.rows + tells)
        self.values.append(rows[list(self.columns)].iloc[tells].to_numpy(np.float32))
        self.rows += len(rows)


def learned_in_hindsight(table: pd.DataFrame, evidence: Evidence) -> pd.Series | None:
    """Log-odds of a new failure, from a learner that knows all runs but those of the row's own fold.

    Args:
        table: run_id, variant, test_id and failed of all judged rows.
        evidence: of the same rows, in the same order.

    Returns:
        the score of each row of the evidence, NaN of the others; with the index of `table`. None where fewer than
        `LEAST_RUNS` can teach.
    """
    places, values = np.concatenate(evidence.places), np.concatenate(evidence.values)
    rows = table.iloc[places]
    failed, run = rows["failed"].to_numpy(bool), pd.factorize(rows["run_id"])[0]
    runs = rows["run_id"].nunique()
    if runs < LEAST_RUNS:
        return None
    fold = np.random.default_rng(SEED).permutation(np.arange(runs) % FOLDS)[run]
    known = values[:, ~np.isnan(values).all(axis=0)]
    seen = np.column_stack([known, _rate_elsewhere(rows, failed, fold)])
    score = np.full(len(table), np.nan)
    for held_out in range(FOLDS):
        inside = fold == held_out
        score[places[inside]] = _fitted_elsewhere(seen, failed, inside)
    return pd.Series(score, index=table.index)


def _rate_elsewhere(rows: pd.DataFrame, failed: metrics.Bools, fold: metrics.Ints) -> metrics.Floats:
    """How often the test fails anew on its variant in the runs of the other folds."""
    test = rows.groupby(["variant", "test_id"], sort=False).ngroup().to_numpy()
    shape = (FOLDS, int(test.max()) + 1)
    cell = fold * shape[1] + test
    counts, failures = (np.bincount(cell, weights, shape[0] * shape[1]).reshape(shape) for weights in (None, failed))
    elsewhere = (failures.sum(axis=0) - failures) / np.maximum(counts.sum(axis=0) - counts, 1)
    rate: metrics.Floats = elsewhere[fold, test].astype(np.float32)
    return rate


def _fitted_elsewhere(seen: metrics.Floats, failed: metrics.Bools, inside: metrics.Bools) -> metrics.Floats:
    """Mean log-odds of the learners, of the rows inside, fitted on those outside."""
    chosen, weight = _sampled(np.flatnonzero(~inside), failed)
    learners = (SPEC.candidates[name](SEED) for name in LEARNERS)
    chances = (one.fit(seen[chosen], failed[chosen], weight).predict_proba(seen[inside])[:, 1] for one in learners)
    return _mean([logit(np.clip(chance, LEAST, 1 - LEAST)) for chance in chances])


def _mean(odds: Iterable[metrics.Floats]) -> metrics.Floats:
    found: metrics.Floats = np.mean(list(odds), axis=0)
    return found


def _sampled(rows: metrics.Ints, failed: metrics.Bools) -> tuple[metrics.Ints, metrics.Floats]:
    failures, passes = rows[failed[rows]], rows[~failed[rows]]
    kept = np.random.default_rng(SEED).choice(passes, min(len(passes), MAX_PASSES), replace=False)
    weights = [np.ones(len(failures)), np.full(len(kept), len(passes) / max(len(kept), 1))]
    return np.concatenate([failures, kept]), np.concatenate(weights)
