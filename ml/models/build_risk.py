"""Whether a run will fail for a reason of its own, from what was known when it started."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from ml import features
from ml.engine import Engine
from ml.features import Context, Queries
from ml.models.parts import INVARIANCES, random_order, scaled
from ml.schemas import BuildRiskFrame, feature_descriptions, feature_groups
from ml.spec import Decision, ModelSpec, Objective, Rule, RuleKind
from ml.training import Level

CHANGE = list(feature_groups(BuildRiskFrame)["change"])
QUANTILES = 100
# What a last run that failed instead of passing adds to a rate, by the feature that holds it.
STEP = {"ewma_failed_rate": 0.2, "fast_ewma_failed_rate": 0.5, "failed_rate_last_10": 0.1, "failed_rate_last_50": 0.02}


# -- rows: one per run, so few that they are one piece
def _build(engine: Engine, queries: Queries, context: Context, piece_rows: int = 0) -> Iterator[pd.DataFrame]:
    yield features.build_runs(engine, queries, context)


# -- candidates: plain scikit-learn types, so that skops can save them and the allow-list can name them
def _logistic(seed: int) -> LogisticRegression:
    return LogisticRegression(C=0.1, max_iter=1_000, random_state=seed)


def _forest(seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators=100, min_samples_leaf=10, max_features=0.3, random_state=seed)


def _boosting(seed: int) -> HistGradientBoostingClassifier:
    # Early stopping would hold out rows at random, from the middle of the runs that it fits on.
    shape = {"max_iter": 60, "learning_rate": 0.06, "max_leaf_nodes": 7, "min_samples_leaf": 30}
    return HistGradientBoostingClassifier(l2_regularization=20.0, early_stopping=False, random_state=seed, **shape)


def _logistic_regression(seed: int) -> Pipeline:
    return scaled(_logistic(seed), seed, QUANTILES)


def _blend(seed: int) -> Pipeline:
    parts = [("linear", _logistic), ("forest", _forest), ("boosting", _boosting)]
    return scaled(VotingClassifier([(name, part(seed)) for name, part in parts], voting="soft"), seed, QUANTILES)


# -- trivial baselines: what a team has without any model; a candidate may lean on the one that is a `Level`
def _previous_outcome(frame: pd.DataFrame) -> pd.Series:
    return frame["is_last_failed"]


def _change_metrics(frame: pd.DataFrame) -> pd.DataFrame:
    # Lines and files have long tails.
    return pd.DataFrame(np.log1p(frame[CHANGE].clip(lower=0).to_numpy(np.float64)), index=frame.index)


def _random(frame: pd.DataFrame) -> pd.Series:
    return random_order(frame, ["run_id"])


# -- rules for the consistency gate
def _last_run_failed(rows: pd.DataFrame) -> pd.DataFrame:
    """The same history, but for a last run that failed instead of passing."""
    passed = rows["is_last_failed"] == 0
    changed = {name: (rows[name] + step).clip(upper=1.0) for name, step in STEP.items()}
    changed["is_last_failed"] = rows["is_last_failed"] + 1
    changed["failed_in_a_row_count"] = rows["failed_in_a_row_count"] + 1
    changed["runs_since_failed_count"] = pd.Series(0.0, index=rows.index)
    return rows.assign(**{name: values.where(passed, rows[name]) for name, values in changed.items()})


SPEC = ModelSpec(
    name="build_risk",
    objective=Objective.PROBABILITY,
    decisions=(Decision.RISKY, Decision.OK),
    contract=BuildRiskFrame,
    build=_build,
    outcomes=features.run_outcomes,
    features=tuple(feature_descriptions(BuildRiskFrame)),
    candidates={
        "logistic_regression": _logistic_regression,
        "random_forest": _forest,
        "gradient_boosting": _boosting,
        "blend": _blend,
    },
    baselines={
        "previous_outcome": _previous_outcome,
        "outcomes_with_decay": Level("ewma_failed_rate"),
        "change_metrics": _change_metrics,
        "random": _random,
    },
    rules=(
        *INVARIANCES,
        Rule("last_run_failed", RuleKind.NOT_LOWER, _last_run_failed),
    ),
    primary_metric="quadratic_score_all",
    slices={"event": lambda rows: rows["is_pull_request"].map({1.0: "pull_request", 0.0: "other"}).fillna("unknown")},
    drift_rows=30,
)
