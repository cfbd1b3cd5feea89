"""The history features once more, as a careful pandas programmer writes them: vectorised, point-in-time, no loops.

Each execution leaves a state (group-wise cumulative sums, windows, `ewm`); each query takes, by `merge_asof`, the
state after the latest execution known strictly before it. Twenty features; the two rank features of the group are
left out, because ranks turn a difference in the last bit into a difference between tied tests.
"""

import numpy as np
import pandas as pd

KEYS = ["run_id", "variant", "test_id"]
WEEK_US = 7 * 86_400_000_000
FEATURES = (
    "executions_count",
    "failures_count",
    "failure_rate",
    "failure_rate_last_5",
    "failure_rate_last_10",
    "failure_rate_last_30",
    "ewma_failure_rate",
    "slow_ewma_failure_rate",
    "is_failing",
    "failures_in_a_row_count",
    "executions_since_failure_count",
    "since_failure_s",
    "since_execution_s",
    "age_s",
    "flip_rate_last_20",
    "executions_7d",
    "failures_7d",
    "mean_duration_s",
    "last_duration_s",
    "duration_deviation_s",
)


def history_features(runs: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """`KEYS` and `FEATURES` (float64) of each merged result, in no promised order."""
    executions = _executions(_runs(runs), results)
    state = _states(executions).sort_values("known_us", kind="stable")
    queries = executions[[*KEYS, "series", "started_us"]].sort_values("started_us", kind="stable")
    found = _before(queries, "started_us", state)
    queries = queries.assign(week_us=queries["started_us"] - WEEK_US)
    earlier = _before(queries, "week_us", state[["series", "known_us", "n", "failures"]])
    return _features(found, earlier)


def _runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Attempts merged: a run starts with its first and is known with its last."""
    known = runs["finished_at"].fillna(runs["started_at"])
    table = pd.DataFrame({"run_id": runs["run_id"], "started_us": _us(runs["started_at"]), "known_us": _us(known)})
    merged = table.groupby("run_id", as_index=False).agg({"started_us": "min", "known_us": "max"})
    merged = merged.sort_values(["started_us", "run_id"], ignore_index=True)
    return merged.assign(run_no=np.arange(len(merged)))


def _us(moments: pd.Series) -> pd.Series:
    return moments.dt.as_unit("us").astype("int64")


def _executions(runs: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """One row per (run, variant, test) that was not skipped, in the order in which each series became known."""
    done = results.loc[results["outcome"] != "skipped", [*KEYS, "duration_s"]].copy()
    done["failed"] = results["outcome"].isin(["failed", "error"]).loc[done.index].astype("int64")
    merged = done.groupby(KEYS, as_index=False, sort=False).agg({"failed": "max", "duration_s": "max"})
    merged["series"] = merged.groupby(["variant", "test_id"], sort=False).ngroup()
    merged["duration_ms"] = (merged["duration_s"] * 1000).round()
    merged = merged.merge(runs, on="run_id")
    return merged.sort_values(["series", "known_us", "run_no"], ignore_index=True)


def _states(executions: pd.DataFrame) -> pd.DataFrame:
    series = executions["series"]
    failed = executions["failed"]
    by = executions.groupby("series", sort=False)
    n = by.cumcount() + 1
    state = executions[["series", "known_us", "failed", "duration_ms"]].assign(n=n, failures=by["failed"].cumsum())
    for window in (5, 10, 30):
        state[f"rate_{window}"] = _window_mean(failed, series, n, window)
    before = by["failed"].shift()
    flips = (failed != before).where(before.notna()).astype("float64")
    state["flip_rate_20"] = _window_mean(flips.fillna(0), series, n, 20) * n.clip(upper=20) / (n - 1).clip(0, 20)
    state["first_us"] = by["known_us"].transform("first")
    is_failure = failed == 1
    for name, values in (("failure_us", executions["known_us"]), ("failure_n", n), ("pass_n", n)):
        wanted = ~is_failure if name == "pass_n" else is_failure
        state[name] = values.where(wanted).groupby(series, sort=False).ffill()
    known = executions["duration_ms"].notna()
    totals = executions["duration_ms"].fillna(0).groupby(series, sort=False).cumsum()
    state["mean_ms"] = totals / known.groupby(series, sort=False).cumsum()
    for name, keep in (("ewma", 0.8), ("slow_ewma", 0.95)):
        state[name] = _average(failed.astype("float64"), series, n, keep)
    return state


def _window_mean(values: pd.Series, series: pd.Series, n: pd.Series, window: int) -> pd.Series:
    """Mean of the last `window` values of each series, by differences of cumulative sums: exact for whole numbers."""
    total = values.groupby(series, sort=False).cumsum()
    left = total.groupby(series, sort=False).shift(window).fillna(0)
    return (total - left) / n.clip(upper=window)


def _average(failed: pd.Series, series: pd.Series, n: pd.Series, keep: float) -> pd.Series:
    """s <- keep s + (1 - keep) failed from s = 0; pandas starts from the first value, which is taken off again."""
    smooth = failed.groupby(series, sort=False).ewm(alpha=1 - keep, adjust=False).mean()
    first = failed.groupby(series, sort=False).transform("first")
    return smooth.droplevel(0).reindex(failed.index) - first * np.power(keep, n)


def _before(queries: pd.DataFrame, at: str, state: pd.DataFrame) -> pd.DataFrame:
    return pd.merge_asof(
        queries, state, left_on=at, right_on="known_us", by="series", direction="backward", allow_exact_matches=False
    )


def _features(found: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    at, n = found["started_us"], found["n"]
    values = {
        "executions_count": n.fillna(0),
        "failures_count": found["failures"].fillna(0),
        "failure_rate": found["failures"] / n,
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
        "executions_7d": n.fillna(0) - earlier["n"].fillna(0),
        "failures_7d": found["failures"].fillna(0) - earlier["failures"].fillna(0),
        "mean_duration_s": found["mean_ms"] / 1e3,
        "last_duration_s": found["duration_ms"] / 1e3,
        "duration_deviation_s": (found["duration_ms"] - found["mean_ms"]) / 1e3,
    }
    return pd.concat([found[KEYS], pd.DataFrame(values).astype("float64")], axis=1)
