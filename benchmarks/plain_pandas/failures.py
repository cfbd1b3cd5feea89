"""The evidence about each failure that outcomes alone give, as `ml.labels` collects it, in vectorised pandas.

Left out is what changed files add: it is a fifth of the evidence, and none in a history that names no files.
"""

import numpy as np
import pandas as pd

TRUNKS = ("main", "master", "trunk", "develop")
PULL_REQUESTS = ("pull_request", "pull_request_target", "pr", "merge_request", "merge_request_event")
NEARBY = 5
KEYS = ["run_id", "variant", "test_id"]
EVIDENCE = [
    "same_code_passes",
    "same_code_fails",
    "previous_on_line",
    "next_on_line",
    "line_streak",
    "previous_anywhere",
    "next_anywhere",
    "fails_nearby",
    "executions_before",
    "failure_rate_before",
    "executions",
    "share_of_run",
    "results_of_run",
    "new_share_of_run",
    "new_failures_of_run",
    "containers_of_run",
    "fails_in_container",
    "other_variants_failed",
]


def failures(runs: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """A row per failed (run, variant, test): `KEYS` and `EVIDENCE`, ordered by start of the run, variant, test.

    Args:
        runs: run_id, started_at, event, branch, change_id, commit_sha; a row per attempt.
        results: run_id, attempt, variant, test_id, outcome.
    """
    run, (done, variants, tests) = _runs(runs), _done(runs, results)
    trials = _trials(done, run)
    failing = trials[trials["failed"] == 1].reset_index(drop=True)
    container = pd.Series(tests).str.replace(r"[.:/#][^.:/#]*$", "", regex=True)
    failing["container"] = pd.factorize(container)[0][failing["test"]]
    failing = _with_company(_with_streak(failing), done)
    failing = failing.assign(
        run_id=run["run_id"].to_numpy()[failing["run_no"]],
        variant=variants[failing["variant"]],
        test_id=tests[failing["test"]],
        order=failing["run_no"] * (len(variants) * len(tests)) + failing["series"],
    )
    return failing.sort_values("order", ignore_index=True)[[*KEYS, *EVIDENCE]]


def _runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Attempts merged, in the order of their start, with numbers for line and commit (-1: unknown)."""
    named = {name: (name, "max") for name in ("event", "branch", "change_id", "commit_sha")}
    texts = runs.assign(**{name: runs[name].fillna("") for name in named})
    merged = texts.groupby("run_id", as_index=False).agg(started_at=("started_at", "min"), **named)
    merged = merged.sort_values(["started_at", "run_id"], ignore_index=True)
    merged = merged.assign(**{name: merged[name].where(merged[name] != "", None) for name in named})
    is_trunk = merged["branch"].str.lower().isin(TRUNKS) & ~merged["event"].isin(PULL_REQUESTS)
    other = merged["change_id"].fillna(merged["branch"]).fillna(merged["event"]).fillna("")
    merged["line"] = pd.factorize(merged["branch"].where(is_trunk, other))[0]
    merged["commit"] = pd.factorize(merged["commit_sha"])[0]
    return merged


def _done(runs: pd.DataFrame, results: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Executed results by numbers, and the names of variants and tests."""
    order = runs.groupby("run_id")["started_at"].min().reset_index().sort_values(["started_at", "run_id"])
    number = pd.Series(np.arange(len(order)), index=order["run_id"])
    done = results[results["outcome"] != "skipped"]
    variant, variants = pd.factorize(done["variant"], sort=True)
    test, tests = pd.factorize(done["test_id"], sort=True)
    table = {
        "run_no": done["run_id"].map(number).to_numpy(),
        "attempt": done["attempt"].to_numpy(),
        "variant": variant,
        "test": test,
        "series": variant.astype(np.int64) * len(tests) + test,
        "failed": done["outcome"].isin(["failed", "error"]).to_numpy(np.int64),
    }
    return pd.DataFrame(table), np.asarray(variants, object), np.asarray(tests, object)


def _trials(done: pd.DataFrame, run: pd.DataFrame) -> pd.DataFrame:
    """Executions of the tests that ever failed, attempts merged, with their neighbours in time."""
    ever = done.loc[done["failed"] == 1, "series"].unique()
    rows = done[done["series"].isin(ever)]
    grouped = rows.groupby(["series", "run_no"], as_index=False)
    trials = grouped.agg(
        variant=("variant", "first"), test=("test", "first"), n=("failed", "size"), fails=("failed", "sum")
    )
    trials = trials.assign(passes=trials["n"] - trials["fails"], failed=(trials["fails"] > 0).astype(np.int64))
    trials["line"] = run["line"].to_numpy()[trials["run_no"]]
    trials["commit"] = run["commit"].to_numpy()[trials["run_no"]]
    series, failed = trials["series"].to_numpy(), trials["failed"].to_numpy()
    first = np.searchsorted(series, series, side="left")
    last = np.searchsorted(series, series, side="right")
    total, at = np.concatenate([[0], np.cumsum(failed)]), np.arange(len(trials))
    low, high = np.maximum(first, at - NEARBY), np.minimum(last, at + NEARBY + 1)
    before = at - first
    with np.errstate(invalid="ignore"):
        rate = (total[at] - total[first]) / np.where(before > 0, before, np.nan)
    by_series, by_line = trials.groupby("series")["failed"], trials.groupby(["series", "line"])["failed"]
    trials = trials.assign(
        previous_anywhere=by_series.shift(1),
        next_anywhere=by_series.shift(-1),
        previous_on_line=by_line.shift(1),
        next_on_line=by_line.shift(-1),
        line_passes=trials.assign(passed=1 - failed).groupby(["series", "line"])["passed"].cumsum(),
        fails_nearby=(total[high] - total[low]) / (high - low),
        executions_before=before,
        failure_rate_before=rate,
        executions=last - first,
    )
    known = trials[trials["commit"] >= 0].groupby(["series", "commit"])
    for name in ("passes", "fails"):
        trials[f"same_code_{name}"] = known[name].transform("sum").reindex(trials.index).fillna(trials[name])
    return trials


def _with_streak(failing: pd.DataFrame) -> pd.DataFrame:
    streak = failing.groupby(["series", "line", "line_passes"])["run_no"].transform("size")
    return failing.assign(line_streak=streak)


def _with_company(failing: pd.DataFrame, done: pd.DataFrame) -> pd.DataFrame:
    """What else failed in the run: in the worst attempt, the variant, the container and the other variants."""
    attempt = ["run_no", "variant", "attempt"]
    sizes = done.groupby(attempt)["failed"].agg(["size", "sum"]).reset_index()
    results = sizes.groupby(["run_no", "variant"])["size"].max().rename("results_of_run").reset_index()
    worst = done.loc[done["failed"] == 1, [*attempt, "series"]].merge(sizes, on=attempt)
    worst = worst.groupby(["series", "run_no"])["sum"].max().rename("worst").reset_index()
    failing = failing.merge(worst, on=["series", "run_no"]).merge(results, on=["run_no", "variant"])
    is_new = (failing["previous_anywhere"].fillna(0) == 0).astype(np.int64)
    together = failing.assign(is_new=is_new).groupby(["run_no", "variant"])
    fresh = together["is_new"].transform("sum")
    everywhere = done[done["test"].isin(failing["test"].unique())]
    merged = everywhere.groupby(["run_no", "test", "variant"])["failed"].max()
    per_test = merged.groupby(level=["run_no", "test"]).agg(["size", "sum"]).reset_index()
    others = failing[["run_no", "test"]].merge(per_test, on=["run_no", "test"], how="left")
    with np.errstate(invalid="ignore"):
        share = (others["sum"] - 1) / (others["size"] - 1)
    return failing.assign(
        share_of_run=failing["worst"] / failing["results_of_run"],
        new_failures_of_run=fresh,
        new_share_of_run=fresh / failing["results_of_run"],
        containers_of_run=together["container"].transform("nunique"),
        fails_in_container=failing.groupby(["run_no", "variant", "container"])["test"].transform("size") - 1,
        other_variants_failed=share.to_numpy(),
    )
