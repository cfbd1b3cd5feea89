"""How a test behaved before: one state per execution, taken by the queries after it."""

import numpy as np
import pandas as pd

from benchmarks.plain_pandas.asof import latest_before

WEEK_US = 7 * 86_400_000_000


def history_states(executions: pd.DataFrame) -> pd.DataFrame:
    """What each execution leaves behind; rows and order of `executions`."""
    series, failed = executions["line"], executions["failed"]
    by = executions.groupby("line", sort=False)
    n = by.cumcount() + 1
    before = by["failed"].shift()
    state = executions[
        ["line", "run_no", "test", "line_test", "variant_no", "known_us", "failed", "duration_ms"]
    ].assign(
        n=n,
        failures=by["failed"].cumsum(),
        new_failure=failed.where(before == 0),
        recovery=(1 - failed).where(before == 1),
        first_us=by["known_us"].transform("first"),
    )
    for window in (5, 10, 30):
        state[f"rate_{window}"] = _mean(failed, series, window)
    state["flip_rate_20"] = _mean((failed != before).where(before.notna()).astype("float64"), series, 20)
    state["new_failure_rate"] = _mean(state["new_failure"], series)
    state["new_failure_rate_30"] = _mean(state["new_failure"], series, 30)
    state["recovery_rate"] = _mean(state["recovery"], series)
    state["mean_ms"] = _mean(executions["duration_ms"], series)
    is_failure = failed == 1
    last = pd.DataFrame({"failure_us": executions["known_us"], "failure_n": n}).where(is_failure)
    last["pass_n"] = n.where(~is_failure)
    state[list(last)] = last.groupby(series, sort=False).ffill()
    before_failures = state["pass_n"].fillna(0).where(is_failure)
    state["pass_n_before_failure"] = before_failures.groupby(series, sort=False).ffill()
    for name, keep in (("ewma", 0.8), ("slow_ewma", 0.95)):
        state[name] = _average(failed.astype("float64"), series, n, keep)
    return state


def history_features(asked: pd.DataFrame, states: pd.DataFrame) -> pd.DataFrame:
    """The features of each row asked for, in its order."""
    queries = asked[["line"]].assign(at_us=asked["started_us"])
    found = latest_before(queries, states.drop(columns=["run_no", "test", "line_test", "variant_no"]), "line")
    queries["at_us"] -= WEEK_US
    earlier = latest_before(queries, states[["line", "known_us", "n", "failures"]], "line")
    at, n, failures = found["at_us"], found["n"], found["failures"]
    return pd.DataFrame(
        {
            "executions_count": n.fillna(0),
            "failures_count": failures.fillna(0),
            "failure_rate": failures / n,
            "failure_rate_last_5": found["rate_5"],
            "failure_rate_last_10": found["rate_10"],
            "failure_rate_last_30": found["rate_30"],
            "ewma_failure_rate": found["ewma"].fillna(0),
            "slow_ewma_failure_rate": found["slow_ewma"].fillna(0),
            "is_failing": found["failed"],
            "failures_in_a_row_count": (n - found["pass_n"].fillna(0)).where(found["failed"] == 1, 0),
            "executions_since_failure_count": n - found["failure_n"],
            "since_failure_s": (at - found["failure_us"]) / 1e6,
            "since_execution_s": (at - found["known_us"]) / 1e6,
            "age_s": (at - found["first_us"]) / 1e6,
            "flip_rate_last_20": found["flip_rate_20"],
            "new_failure_rate": found["new_failure_rate"],
            "new_failure_rate_last_30": found["new_failure_rate_30"],
            "recovery_rate": found["recovery_rate"],
            "executions_since_new_failure_count": n - found["pass_n_before_failure"] - 1,
            "executions_7d": n.fillna(0) - earlier["n"].fillna(0),
            "failures_7d": failures.fillna(0) - earlier["failures"].fillna(0),
            "mean_duration_s": found["mean_ms"] / 1e3,
            "last_duration_s": found["duration_ms"] / 1e3,
            "duration_deviation_s": (found["duration_ms"] - found["mean_ms"]) / 1e3,
        }
    )


def _mean(values: pd.Series, series: pd.Series, window: int | None = None) -> pd.Series:
    """Mean of the known among the last `window` values (all when None) of each series.

    By differences of cumulative sums: exact for whole numbers, and faster than `rolling`.
    """
    sums = pd.DataFrame({"total": values.fillna(0), "count": values.notna().astype("int64")})
    sums = sums.groupby(series, sort=False).cumsum()
    if window is not None:
        sums -= sums.groupby(series, sort=False).shift(window, fill_value=0)
    return sums["total"] / sums["count"]


def _average(failed: pd.Series, series: pd.Series, n: pd.Series, keep: float) -> pd.Series:
    """s <- keep s + (1 - keep) failed from s = 0; pandas starts from the first value, which is taken off again."""
    smooth = failed.groupby(series, sort=False).ewm(alpha=1 - keep, adjust=False).mean()
    first = failed.groupby(series, sort=False).transform("first")
    return smooth.droplevel(0).reindex(failed.index) - first * np.power(keep, n)
