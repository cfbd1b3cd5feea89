"""Which failures count in a measure: all, new ones, regressions, or the first ever of a test."""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.spec import FailureState, Objective

View = Literal["all", "new", "regression", "first"]

MAX_FAILED_SHARE = 0.5
# Views and the column that each needs.
NEEDS: dict[View, str] = {
    "all": "failed",
    "new": "previous_failed",
    "regression": "failure_state",
    "first": "failed_before",
}
VIEWS: dict[Objective, tuple[View, ...]] = {
    Objective.RANKING: ("all", "new", "regression", "first"),
    Objective.PROBABILITY: ("all", "new"),
}


def views_of(objective: Objective, rows: pd.DataFrame) -> tuple[View, ...]:
    """The views of an objective that these rows allow: one whose column is missing is not zero, it is not known."""
    return tuple(view for view in VIEWS[objective] if NEEDS[view] in rows)


def of_view(rows: pd.DataFrame, view: View) -> pd.DataFrame:
    """The rows that a view looks at.

    ``new`` removes results whose previous execution had failed: there, replaying the last failures cannot help.
    ``regression`` and ``first`` remove the failures of other kinds and keep every passed result, so that a failure
    stands where it stands in the whole run; a run in which more than half of the results failed is an outage, and is
    removed as a whole.

    Args:
        rows: run_id, failed (bool), and for ``new`` previous_failed (bool), for ``regression`` failure_state (the label
            of a failure, a `FailureState`; null without one), for ``first`` failed_before (bool: the test failed in
            any earlier run).
        view: which failures count.
    """
    if view == "all":
        return rows
    if view == "new":
        return rows.loc[~rows["previous_failed"].to_numpy(dtype=bool)]
    if view == "first":
        return _failing_only(rows, ~rows["failed_before"].to_numpy(dtype=bool))
    return _failing_only(rows, (rows["failure_state"] == FailureState.REGRESSION.value).to_numpy(dtype=bool))


def _failing_only(rows: pd.DataFrame, counts: NDArray[np.bool_]) -> pd.DataFrame:
    failed, run = rows["failed"].to_numpy(bool), pd.factorize(rows["run_id"])[0]
    is_outage = np.bincount(run, weights=failed) > MAX_FAILED_SHARE * np.bincount(run)
    return rows.loc[(~failed | counts) & ~is_outage[run]]
