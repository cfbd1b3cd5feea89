"""Runs that failed as a whole: something around the tests broke, and their failures tell nothing about a change."""

import pandas as pd

from ml.spec import Outcome

_FAILED = (Outcome.FAILED.value, Outcome.ERROR.value)


def outages(results: pd.DataFrame, share: float) -> list[str]:
    """Ids of the runs of which more than `share` (0..1) of the executed tests failed, sorted.

    A test that failed in any attempt has failed, as in the features; what was skipped does not count. A run that comes
    with later attempts alone is not judged: they often repeat nothing but what had failed.

    Args:
        results: accepted rows of `test_results` of one project.
        share: `FOURGATE_OUTAGE_SHARE`.
    """
    whole = results.loc[results["attempt"] % 100 == 1, "run_id"].unique()
    is_judged = (results["outcome"] != Outcome.SKIPPED.value) & results["run_id"].isin(whole)
    executed = results.loc[is_judged, ["run_id", "variant", "test_id", "outcome"]]
    failed = executed["outcome"].isin(_FAILED)
    if not failed.any():
        return []
    tests = failed.groupby([executed[name] for name in ("run_id", "variant", "test_id")], observed=True).max()
    shares: pd.Series[float] = tests.astype(float).groupby("run_id", observed=True).mean()
    return sorted(shares.index[shares > share])
