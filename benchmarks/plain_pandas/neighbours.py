"""How the surroundings of a test behaved before: in every variant, in its package, its variant, with its author."""

import pandas as pd

from benchmarks.plain_pandas.asof import latest_before
from benchmarks.plain_pandas.changes import failures_before
from benchmarks.plain_pandas.facts import Facts
from ml.features.names import segments

PRIOR_RUNS = 2


def neighbour_features(asked: pd.DataFrame, facts: Facts, states: pd.DataFrame, per_run: pd.DataFrame) -> pd.DataFrame:
    """The features of each row asked for, in its order."""
    package = pd.Series(pd.factorize(facts.tests.map(lambda test: "/".join(segments(test)[:-1])))[0])
    keys = {
        "test": (states["line_test"], asked["line_test"]),
        "package": (states["test"].map(package), asked["test"].map(package)),
        "variant": (states["variant_no"], asked["variant_no"]),
    }
    before = {name: _before(asked, states, *key) for name, key in keys.items()}
    found = {}
    for name, group in before.items():
        found[f"{name}_last_failure_rate"] = group["failures"] / group["results"]
        found[f"{name}_failure_rate_last_10_runs"] = group["failures_10"] / group["results_10"]
    found["variants_count"] = before["test"]["results"]
    found["package_new_failures_count"] = before["package"]["new_failures"]
    found["variant_new_failures_count"] = before["variant"]["new_failures"]
    found["variant_recoveries_count"] = before["variant"]["recoveries"]
    runs = asked["run_no"].map(per_run["author_runs_count"])
    among = facts.runs.index[~facts.runs["is_outage"].astype(bool)]
    found["author_cofailure_rate"] = failures_before(asked, facts, "author", among) / (runs + PRIOR_RUNS)
    return pd.DataFrame(found)


def _before(asked: pd.DataFrame, states: pd.DataFrame, known: pd.Series, wanted: pd.Series) -> pd.DataFrame:
    """Counts of the group's latest run, and of its latest ten, as each row may know them."""
    table = states[["run_no", "known_us", "failed", "new_failure", "recovery"]].assign(group=known)
    groups = table.groupby(["group", "known_us", "run_no"], as_index=False).agg(
        results=("failed", "size"),
        failures=("failed", "sum"),
        new_failures=("new_failure", "sum"),
        recoveries=("recovery", "sum"),
    )
    sums = groups.groupby("group")[["results", "failures"]].cumsum()
    groups[["results_10", "failures_10"]] = sums - sums.groupby(groups["group"]).shift(10, fill_value=0)
    queries = asked[["run_no"]].assign(at_us=asked["started_us"], group=wanted)
    distinct = queries.drop_duplicates(["run_no", "group"])
    found = latest_before(distinct, groups.drop(columns="run_no"), "group")
    return queries[["run_no", "group"]].merge(found, on=["run_no", "group"], how="left")
