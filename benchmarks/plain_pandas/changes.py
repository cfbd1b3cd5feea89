"""What is under test: the run, its change, its author, and the state of the CI; a row per run."""

import numpy as np
import pandas as pd

from benchmarks.plain_pandas.asof import latest_before
from benchmarks.plain_pandas.facts import Facts
from ml.features.names import file_kind, module_of
from ml.spec import PULL_REQUESTS

MONTH_US = 30 * 86_400_000_000


def run_features(facts: Facts) -> pd.DataFrame:
    """Features that all tests of a run share, by run_no; and ``change_run_no``, the change's previous run."""
    runs = facts.runs
    known = runs[runs["results"].notna()].assign(everything=0, run_no=lambda table: table.index)
    known = known.sort_values("known_us", kind="stable")
    queries = runs[["change", "author"]].assign(at_us=runs["started_us"], everything=0)
    any_run = latest_before(queries, _states(known, "everything"), "everything")
    change = latest_before(queries, _states(known, "change"), "change")
    author = latest_before(queries, _states(known, "author"), "author")
    event = runs["event"].str.lower().isin(PULL_REQUESTS).where(runs["event"].notna())
    has_author = runs["author"] >= 0
    found = pd.DataFrame(
        {
            "last_run_failure_rate": any_run["failures"] / any_run["results"],
            "last_5_runs_failure_rate": any_run["failures_5"] / any_run["results_5"],
            "last_run_results_count": any_run["results"],
            "since_last_run_s": (any_run["at_us"] - any_run["known_us"]) / 1e6,
            "is_pull_request": event.astype("float64"),
            "change_runs_count": change["n"].fillna(0),
            "change_run_no": change["run_no"],
            "author_runs_count": author["n"].fillna(0).where(has_author),
            "author_failure_rate": author["failed_runs"] / author["n"],
        }
    )
    return found.join(_sizes(facts)).fillna({"has_change": 0})


def change_features(asked: pd.DataFrame, facts: Facts, per_run: pd.DataFrame) -> pd.DataFrame:
    """What differs between the tests of a change's run, of each row asked for, in its order."""
    previous = asked["run_no"].map(per_run["change_run_no"])
    failed = facts.executions[facts.executions["failed"] == 1]
    size = len(facts.series)
    is_failing = (previous * size + asked["line"]).isin(failed["run_no"] * size + failed["line"])
    count = failures_before(asked, facts, "change", facts.runs.index)
    return pd.DataFrame(
        {"change_failures_count": count, "is_failing_in_change": is_failing.where(previous.notna()).astype("float64")}
    )


def failures_before(asked: pd.DataFrame, facts: Facts, key: str, among: pd.Index) -> pd.Series:
    """Earlier failures of each row's test in those runs `among` that have the same `key`; 0 without one."""
    failed = facts.executions.loc[facts.executions["failed"] == 1, ["line", "run_no", "known_us"]]
    failed = failed[failed["run_no"].isin(among)]
    known = failed.assign(key=facts.runs[key].to_numpy()[failed["run_no"]]).query("key >= 0")
    group = known["key"].to_numpy() * len(facts.series) + known["line"].to_numpy()
    facts_of = pd.DataFrame({"group": group, "known_us": known["known_us"].to_numpy()}).sort_values("known_us")
    facts_of["failures"] = facts_of.groupby("group").cumcount() + 1
    asked_key = facts.runs[key].to_numpy()[asked["run_no"]]
    group_asked = asked_key * len(facts.series) + asked["line"].to_numpy()
    has_any = (asked_key >= 0) & np.isin(group_asked, facts_of["group"].unique())
    queries = pd.DataFrame({"group": group_asked[has_any], "at_us": asked["started_us"].to_numpy()[has_any]})
    counts = np.zeros(len(asked))
    counts[has_any] = latest_before(queries, facts_of, "group")["failures"].fillna(0)
    return pd.Series(counts)


def _states(known: pd.DataFrame, key: str) -> pd.DataFrame:
    """Running counts of the runs of each key, in the order in which they became known."""
    table = known.loc[known[key] >= 0, [key, "known_us", "run_no", "results", "failures"]]
    by = table.groupby(key)
    sums = by[["results", "failures"]].cumsum()
    sums = sums - sums.groupby(table[key]).shift(5, fill_value=0)
    failed_runs = (table["failures"] > 0).astype("int64").groupby(table[key]).cumsum()
    return table.assign(
        n=by.cumcount() + 1, failed_runs=failed_runs, results_5=sums["results"], failures_5=sums["failures"]
    )


def _sizes(facts: Facts) -> pd.DataFrame:
    """Size and kind of each change with known files, by run_no."""
    files, paths = facts.files, facts.paths
    kinds = paths.map(file_kind).to_numpy()[files["path"]]
    folders = pd.factorize(paths.str.rpartition("/")[0])[0] if len(paths) else np.array([], np.int64)
    modules = pd.factorize(paths.map(module_of))[0]
    now, then = (_touches(files, back) for back in (0, MONTH_US))
    table = files[["run_no", "added", "deleted"]].assign(
        churn=now - then, folder=folders[files["path"]], module=modules[files["path"]]
    )
    for kind in ("source", "test", "build", "docs"):
        table[f"{kind}_files_rate"] = (kinds == kind).astype("float64")
    table["has_build_file"] = table["build_files_rate"]
    by = table.groupby("run_no")
    return pd.DataFrame(
        {
            "has_change": by["churn"].size().clip(upper=1),
            "files_count": by["churn"].size(),
            "lines_added_count": by["added"].sum(min_count=1),
            "lines_deleted_count": by["deleted"].sum(min_count=1),
            **{name: by[name].mean() for name in table if str(name).endswith("_files_rate")},
            "has_build_file": by["has_build_file"].max(),
            "folders_count": by["folder"].nunique(),
            "modules_count": by["module"].nunique(),
            "mean_churn_30d": by["churn"].mean(),
            "max_churn_30d": by["churn"].max(),
        }
    )


def _touches(files: pd.DataFrame, back_us: int) -> pd.Series:
    """Known runs that touched the path of each row, `back_us` before its run."""
    touched = files[["line", "run_no", "known_us"]].drop_duplicates().sort_values("known_us")
    touched["n"] = touched.groupby("line").cumcount() + 1
    queries = files[["asked_line"]].set_axis(["line"], axis=1).assign(at_us=files["started_us"] - back_us)
    found = latest_before(queries, touched[["line", "known_us", "n"]], "line")["n"].fillna(0)
    return found.set_axis(files.index)
