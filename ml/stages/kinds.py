"""What kind each failure of a frame is, for reports: nothing learns from it, and no gate judges by it."""

import numpy as np
import pandas as pd

from ml import labels
from ml.settings import Settings
from ml.spec import ALL_PROJECTS, MERGED_RESULT
from ml.stages.all_projects import run_key
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
    found = _states(settings, recipe, rows)
    failed = rows["failed"].to_numpy(bool)
    told = rows.loc[failed, MERGED_RESULT].merge(found, on=MERGED_RESULT, how="left")
    states = np.full(len(rows), None, dtype=object)
    states[failed] = told["state"].to_numpy(object)
    return rows.assign(failed_before=rows["failures_count"] > 0, failure_state=states)


def _states(settings: Settings, recipe: Recipe, rows: pd.DataFrame) -> pd.DataFrame:
    """Labels of the failures of a frame's projects, with the frame's run ids."""
    if recipe.project != ALL_PROJECTS:
        return _states_of(settings, recipe, recipe.project)
    found = {project: _states_of(settings, recipe, project) for project in sorted(rows["project"].unique())}
    named = [part.assign(run_id=run_key(project, "") + part["run_id"]) for project, part in found.items()]
    return pd.concat(named, ignore_index=True)


def _states_of(settings: Settings, recipe: Recipe, project: str) -> pd.DataFrame:
    with open_history(recipe.applied(settings), recipe.snapshot, project) as engine:
        return labels.label(engine, project, recipe.moment)[[*MERGED_RESULT, "state"]]
