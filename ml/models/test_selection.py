"""Which tests a change needs: the chance that a test fails in a run, from what was known when the run started."""

from collections.abc import Iterator

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from ml import features, labels
from ml.engine import Engine
from ml.features import Context, Queries
from ml.models.parts import INVARIANCES, boosted, random_order, scaled
from ml.schemas import FEATURES, TestSelectionFrame
from ml.spec import (
    END,
    FAILED_BEFORE,
    FAILURE_STATE,
    MERGED_RESULT,
    SETTLED_AT,
    Decision,
    ModelSpec,
    Objective,
    Range,
    Rule,
    RuleKind,
)
from ml.training import Heuristic, Ranker, TwoHeads

QUANTILES = 200
# What one more failure adds to a rate, by the feature that holds it.
STEP = {
    "ewma_failure_rate": 0.2,
    "slow_ewma_failure_rate": 0.05,
    "failure_rate_last_5": 1 / 5,
    "failure_rate_last_10": 1 / 10,
    "failure_rate_last_30": 1 / 30,
    "new_failure_rate_last_30": 1 / 30,
}
# The same for rates over all there is: the feature that counts it.
PER_COUNT = {
    "failure_rate": "executions_count",
    "new_failure_rate": "executions_count",
    "test_last_failure_rate": "variants_count",
}


# -- rows: features of tests, and in training what their failures are held for
def _build(engine: Engine, queries: Queries, context: Context, piece_rows: int = 0) -> Iterator[pd.DataFrame]:
    """Features; in training with `FAILED_BEFORE`, and of failures `FAILURE_STATE` and `SETTLED_AT` as known then."""
    if queries.runs is not None:
        yield from features.build_pieces(engine, queries, context, piece_rows)
        return
    told = labels.states(engine, queries.project, queries.as_of or END)
    rows = features.build(engine, queries, context)
    add_labels(rows, told)
    yield rows


def add_labels(rows: pd.DataFrame, told: pd.DataFrame) -> None:
    """Put what is known of failures into the rows themselves: a second frame of a long history would not fit beside it.

    Args:
        rows: as `features.build` makes them for a training; gets `FAILED_BEFORE`, `FAILURE_STATE` and `SETTLED_AT`.
        told: as `labels.states` gives it.
    """
    failures = rows.loc[rows["failed"].to_numpy(bool), MERGED_RESULT]
    found = failures.merge(told, on=MERGED_RESULT, how="left", validate="one_to_one").set_index(failures.index)
    rows[FAILED_BEFORE] = rows["failures_count"] > 0
    rows[FAILURE_STATE] = found["state"]
    rows[SETTLED_AT] = found["settled_at"]


# -- candidates: plain scikit-learn types, so that skops can save them and the allow-list can name them
def _random_forest(seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(
        n_estimators=100, min_samples_leaf=10, max_features=0.2, max_samples=0.5, random_state=seed
    )


def _gradient_boosting(seed: int) -> HistGradientBoostingClassifier:
    # Early stopping would hold out rows at random, from the middle of the runs that it fits on.
    shape = {"max_iter": 80, "max_leaf_nodes": 7, "min_samples_leaf": 60, "max_features": 0.3}
    return HistGradientBoostingClassifier(l2_regularization=20.0, early_stopping=False, random_state=seed, **shape)


def _logistic(seed: int) -> LogisticRegression:
    return LogisticRegression(C=0.1, max_iter=1_000, random_state=seed)


def _logistic_regression(seed: int) -> Pipeline:
    return scaled(_logistic(seed), seed, QUANTILES)


def _blend(seed: int) -> Pipeline:
    # The mean probability of both ranked better than either part in a history with few failures.
    parts = [("linear", _logistic(seed)), ("boosting", _gradient_boosting(seed))]
    return scaled(VotingClassifier(parts, voting="soft"), seed, QUANTILES)


def _ranker(seed: int) -> Ranker:
    return Ranker(seed=seed)


def _two_headed(seed: int) -> TwoHeads:
    return TwoHeads(_gradient_boosting(seed))


# -- trivial baselines: what a team has without any model; a candidate may lean on those that are a `Heuristic`
def _random(frame: pd.DataFrame) -> pd.Series:
    return random_order(frame, MERGED_RESULT)


# -- rules for the consistency gate
def _last_execution_failed(rows: pd.DataFrame) -> pd.DataFrame:
    """The same history, but for a last execution that failed instead of passing."""
    passed = rows["is_failing"] == 0
    changed = {name: (rows[name] + step).clip(upper=1.0) for name, step in STEP.items()}
    changed["failures_count"] = rows["failures_count"] + 1
    for rate, count in PER_COUNT.items():
        changed[rate] = (rows[rate] + 1 / rows[count].clip(lower=1)).clip(upper=1.0)
    changed["failures_7d"] = rows["failures_7d"] + 1
    changed["is_failing"] = rows["is_failing"] + 1
    changed["failures_in_a_row_count"] = rows["failures_in_a_row_count"] + 1
    changed["executions_since_failure_count"] = pd.Series(0.0, index=rows.index)
    changed["executions_since_new_failure_count"] = pd.Series(0.0, index=rows.index)
    changed["since_failure_s"] = rows["since_execution_s"]
    return rows.assign(**{name: values.where(passed, rows[name]) for name, values in changed.items()})


SPEC = ModelSpec(
    name="test_selection",
    objective=Objective.RANKING,
    decisions=(Decision.SELECT, Decision.SKIP),
    contract=TestSelectionFrame,
    build=_build,
    outcomes=features.outcomes,
    features=FEATURES,
    candidates={
        "logistic_regression": _logistic_regression,
        "random_forest": _random_forest,
        "gradient_boosting": _gradient_boosting,
        "blend": _blend,
        "ranker": _ranker,
        "two_headed": _two_headed,
    },
    baselines={
        "recently_failed_first": Heuristic("executions_since_failure_count", is_count=True),
        "failure_rate_with_decay": Heuristic("ewma_failure_rate"),
        "failure_rate_per_second": Heuristic("ewma_failure_rate", per="mean_duration_s"),
        "random": _random,
    },
    rules=(
        *INVARIANCES,
        Rule("last_execution_failed", RuleKind.NOT_LOWER, _last_execution_failed),
    ),
    primary_metric="apfd_all",
    tunable={
        "logistic_regression": {"model__C": Range(0.001, 10.0)},
        "gradient_boosting": boosted("learning_rate", "max_leaf_nodes", "min_samples_leaf", "l2_regularization"),
        "ranker": boosted("learning_rate", "leaves", "least_rows", "penalty"),
    },
    cost="mean_duration_s",
)
