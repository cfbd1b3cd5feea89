"""What kind each failure of a frame is, for reports: nothing learns from it, and no gate judges by it."""

import numpy as np
import pandas as pd

from ml import labels
from ml.settings import Settings
from ml.spec import MERGED_RESULT
from ml.stages.opening import open_history
from ml.stages.recipe import Recipe

KINDS = ("failed_before", "failure_state")


def with_kinds(settings: Settings, recipe: Recipe, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a frame of tests with `KINDS`; a frame of whole runs as it is.

    `failed_before` (bool): the test had failed in an earlier run. `failure_state`: the label of a failure as known at
    the moment of the training, from its snapshot; null for what passed.
    """
    if "failures_count" not in rows:
        return rows
    with open_history(recipe.applied(settings), recipe.snapshot, recipe.project) as engine:
        found = labels.label(engine, recipe.project, recipe.moment)
    failed = rows["failed"].to_numpy(bool)
    told = rows.loc[failed, MERGED_RESULT].merge(found[[*MERGED_RESULT, "state"]], on=MERGED_RESULT, how="left")
    states = np.full(len(rows), None, dtype=object)
    states[failed] = told["state"].to_numpy(object)
    return rows.assign(failed_before=rows["failures_count"] > 0, failure_state=states)
