"""Labels of failures: regression, flaky, infrastructure or unknown, as known at a moment.

`evidence` collects what is known about each failure through the query engine, `judging` weighs it. Later evidence may
revise a label; a label as of an earlier moment stays what it was, because later facts are left out first.
"""

from datetime import datetime

import numpy as np
import pandas as pd

from ml.labels.evidence import collect
from ml.labels.judging import judge
from ml.labels.known import Engine, executions, failure_texts, first_known, neighbours
from ml.labels.repeats import red_failures, repeated
from ml.labels.settling import moments
from ml.schemas import FailureLabels, columns
from ml.spec import MERGED_RESULT, FailureState

LEAST_MOVE = 0.05
_MOMENT = "datetime64[us, UTC]"

__all__ = [
    "LEAST_MOVE",
    "Engine",
    "current",
    "executions",
    "failure_texts",
    "first_known",
    "label",
    "neighbours",
    "red_failures",
    "repeated",
    "revisions",
    "settled",
    "states",
]


def label(engine: Engine, project: str, as_of: datetime) -> pd.DataFrame:
    """Label every failure that is known at a moment, by what is known then.

    Args:
        engine: With views ``runs``, ``test_results`` and ``changed_files`` of one project.
        project: Name of the project, a column of the answer.
        as_of: UTC. Facts with a later known_at do not count, so the answer for a past moment never changes.

    Returns:
        A frame as `FailureLabels` describes it, without `snapshot_id`; one row per failed (run, variant, test), its
        attempts merged, ordered by start of the run, variant, test_id. Empty without failures.
    """
    found = collect(engine, as_of)
    judged = pd.concat([found[MERGED_RESULT], judge(found)], axis=1)
    named = judged.assign(project=project, labelled_at=pd.Series(as_of, index=judged.index, dtype=_MOMENT))
    return named[[name for name in columns(FailureLabels) if name != "snapshot_id"]]


def states(engine: Engine, project: str, as_of: datetime) -> pd.DataFrame:
    """What each failure is held for at a moment, and since when that holds; arguments as for `label`.

    Returns:
        run_id, variant, test_id, state, known_at (when the failure was known) and settled_at (see `settling.moments`);
        both are null for a label that has not settled.
    """
    told = label(engine, project, as_of)[[*MERGED_RESULT, "state"]]
    settling = moments(engine)
    for name in ("known_us", "settled_us"):
        settling[name] = pd.DatetimeIndex(settling[name].to_numpy("datetime64[us]"), tz="UTC")
    both = told.merge(settling, on=MERGED_RESULT, how="left", validate="one_to_one")
    return both.rename(columns={"known_us": "known_at", "settled_us": "settled_at"})


def settled(engine: Engine, project: str, as_of: datetime) -> pd.DataFrame:
    """Failures whose label has settled by a moment (see `settling.moments`) and says what they are; as for `label`.

    Returns:
        run_id, variant, test_id, state (never unknown), known_at (when the failure was known) and settled_at.
    """
    told = states(engine, project, as_of)
    answers: pd.DataFrame = told.loc[(told["state"] != FailureState.UNKNOWN) & told["settled_at"].notna()]
    return answers.reset_index(drop=True)


def revisions(labels: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Labels that say something new: of a failure without a label, of another state, or moved by `LEAST_MOVE`.

    Args:
        labels: As `label` returns them.
        stored: Rows of `FailureLabels` of the same project; those later than `labels` are not compared with.

    Returns:
        The rows of `labels` to append, in order.
    """
    if labels.empty:
        return labels
    earlier = stored.loc[stored["labelled_at"] <= labels["labelled_at"].iloc[0]]
    both = labels[MERGED_RESULT].merge(
        current(earlier)[[*MERGED_RESULT, "state", "probability"]], on=MERGED_RESULT, how="left"
    )
    moved = np.abs(both["probability"].to_numpy(np.float64) - labels["probability"].to_numpy(np.float64))
    is_new = both["state"].isna().to_numpy() | (both["state"].to_numpy() != labels["state"].to_numpy())
    news: pd.DataFrame = labels.loc[is_new | (moved >= LEAST_MOVE)]
    return news


def current(stored: pd.DataFrame, as_of: datetime | None = None) -> pd.DataFrame:
    """The latest label of each failure among stored rows, as of a moment (None: of all); one row per failure."""
    known = stored if as_of is None else stored.loc[stored["labelled_at"] <= as_of]
    ordered = known.sort_values(["labelled_at", "snapshot_id"], kind="stable")
    return ordered.drop_duplicates(MERGED_RESULT, keep="last").reset_index(drop=True)
