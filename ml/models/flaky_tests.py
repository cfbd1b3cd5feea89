"""Which failures are flaky: the chance that a failure says nothing about the code, once its run is over."""

from collections.abc import Iterator

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from ml import features, labels
from ml.engine import Engine
from ml.features import Context, Queries
from ml.models.parts import INVARIANCES, scaled
from ml.schemas import FlakyTestsFrame, feature_descriptions
from ml.spec import END, MERGED_RESULT, Decision, FailureState, ModelSpec, Objective, Question, Rule, RuleKind
from ml.training import Level

# Few failures of a history are settled: ranks in more steps than rows would say nothing.
QUANTILES = 20


# -- rows: features of failures, and in training what their settled labels say
def _build(engine: Engine, queries: Queries, context: Context, piece_rows: int = 0) -> Iterator[pd.DataFrame]:
    """Features of failures; in training of those with a settled label, and `failed` where it says flaky. One piece.

    A failure of the infrastructure is not flaky: the test has no part in it, and running it alone again mends nothing.
    """
    if queries.runs is not None:
        yield features.build_failures(engine, queries, context)
        return
    told = labels.settled(engine, queries.project, queries.as_of or END)
    rows = features.build_failures(engine, queries, context)
    both = rows.merge(told[[*MERGED_RESULT, "state", "settled_at"]], on=MERGED_RESULT, validate="one_to_one")
    is_flaky = (both["state"] == FailureState.FLAKY).astype("boolean")
    yield both.assign(failed=is_flaky, known_at=both["settled_at"])[list(rows)]


def _outcomes(engine: Engine, queries: Queries, context: Context) -> pd.DataFrame:
    """What settled labels say of the failures of the runs named in ``published``."""
    told = labels.settled(engine, queries.project, queries.as_of or END)
    asked = told.loc[told["run_id"].isin(engine.fetch("SELECT run_id FROM published")["run_id"])]
    found = asked[MERGED_RESULT].assign(started_at=asked["known_at"], failed=asked["state"] == FailureState.FLAKY)
    return found.assign(duration_s=float("nan"))


# -- candidates: plain scikit-learn types, so that skops can save them and the allow-list can name them
def _logistic_regression(seed: int) -> Pipeline:
    return scaled(LogisticRegression(C=0.1, max_iter=1_000, random_state=seed), seed, QUANTILES)


def _gradient_boosting(seed: int) -> HistGradientBoostingClassifier:
    # Early stopping would hold out rows at random, from the middle of the runs that it fits on.
    shape = {"max_iter": 60, "learning_rate": 0.06, "max_leaf_nodes": 7, "min_samples_leaf": 20}
    return HistGradientBoostingClassifier(l2_regularization=20.0, early_stopping=False, random_state=seed, **shape)


# -- trivial baselines: what a team has without any model; a candidate may lean on the one that is a `Level`
def _flip_rate(frame: pd.DataFrame) -> pd.Series:
    return frame["flip_rate_last_20"]


def _always_the_mean(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(0.0, index=frame.index)


# -- rules for the consistency gate
def _an_earlier_failure_was_flaky(rows: pd.DataFrame) -> pd.DataFrame:
    """The same history, but for one earlier failure that turned out to be flaky."""
    has_room = rows["flaky_failures_count"] < rows["failures_count"]
    more = {
        "flaky_failures_count": rows["flaky_failures_count"] + 1,
        "test_flaky_failures_count": rows["test_flaky_failures_count"] + 1,
        "flaky_failure_rate": (rows["flaky_failures_count"] + 1) / rows["failures_count"].clip(lower=1),
    }
    return rows.assign(**{name: values.where(has_room, rows[name]) for name, values in more.items()})


# -- slices
def _event(rows: pd.DataFrame) -> pd.Series:
    return rows["is_pull_request"].map({1.0: "pull_request", 0.0: "other"}).fillna("unknown")


def _company(rows: pd.DataFrame) -> pd.Series:
    return rows["run_failures_count"].gt(1).map({True: "among others", False: "alone"})


SPEC = ModelSpec(
    name="flaky_tests",
    objective=Objective.PROBABILITY,
    decisions=(Decision.RERUN, Decision.INVESTIGATE),
    contract=FlakyTestsFrame,
    build=_build,
    outcomes=_outcomes,
    features=tuple(feature_descriptions(FlakyTestsFrame)),
    candidates={"logistic_regression": _logistic_regression, "gradient_boosting": _gradient_boosting},
    baselines={
        "flip_rate": _flip_rate,
        "flaky_share": Level("flaky_failure_rate"),
        "always_the_mean": _always_the_mean,
    },
    rules=(*INVARIANCES, Rule("earlier_failure_was_flaky", RuleKind.NOT_LOWER, _an_earlier_failure_was_flaky)),
    primary_metric="quadratic_score_all",
    slices={"event": _event, "company": _company},
    drift_rows=30,
    question=Question.FINISH,
)
