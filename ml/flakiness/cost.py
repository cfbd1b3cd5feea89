"""What the flaky failures of a test cost: runs that nothing else turned red, and the time of running again."""

from typing import Any

import numpy as np
import pandas as pd

from ml.spec import MERGED_RESULT, FailureState

TEST = ["variant", "test_id"]


def cost(tests: "pd.Index[Any]", labels: pd.DataFrame, red: pd.DataFrame, repeated: pd.DataFrame) -> pd.DataFrame:
    """Cost of each test, as known at one moment.

    Args:
        tests: (variant, test_id) of the tests asked for.
        labels: run_id, variant, test_id, state of every failure of the project.
        red: Failures that turned their run red: run_id, variant, test_id. A failure that a rerun in the same attempt
            turned into a pass is none.
        repeated: run_id, and the seconds (NaN: unknown) of what was executed again in it.

    Returns:
        The index `tests` with failed_runs (runs with red failures that are all held for flaky, this test's among them:
        a run of two such tests counts for both) and rerun_minutes (of what was executed again in runs whose failures
        are all held for flaky, in equal parts for each test that failed; 0 where nothing was; NaN where something was
        and no duration is known).
    """
    states = labels.assign(is_flaky=labels["state"] == FailureState.FLAKY)
    failures = states[states.groupby("run_id")["is_flaky"].transform("all")]
    by_test = [failures[name] for name in TEST]
    shared = failures["run_id"].map(repeated.set_index("run_id")["seconds"])
    was_repeated = failures["run_id"].isin(repeated["run_id"])
    minutes = shared / failures.groupby("run_id")["run_id"].transform("size") / 60
    told = pd.DataFrame(
        {
            "failed_runs": _failed_runs(states, red),
            "rerun_minutes": minutes.groupby(by_test).sum(),
            "is_unknown": (was_repeated & shared.isna()).groupby(by_test).any(),
        }
    ).reindex(tests)
    known = told["rerun_minutes"].fillna(0.0)
    is_unknown = told["is_unknown"].eq(True) & (known == 0)
    return pd.DataFrame(
        {
            "failed_runs": told["failed_runs"].fillna(0).astype(np.int64),
            "rerun_minutes": known.mask(is_unknown),
        }
    )


def _failed_runs(states: pd.DataFrame, red: pd.DataFrame) -> "pd.Series[int]":
    """Per test, the runs that were red for flaky failures alone."""
    told = red.merge(states[[*MERGED_RESULT, "is_flaky"]], on=MERGED_RESULT, how="left")
    only_flaky = told["is_flaky"].eq(True).groupby(told["run_id"]).transform("all")
    counted: pd.Series[int] = told[only_flaky.astype(bool)].groupby(TEST)["run_id"].nunique()
    return counted
