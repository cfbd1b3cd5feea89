"""What the texts of earlier failures tell: whether they read alike, here and in other tests, and what they blame."""

import pandas as pd

from benchmarks.plain_pandas.asof import latest_before
from benchmarks.plain_pandas.facts import Facts


def text_features(asked: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    """The features of each row asked for, in its order; null before the first failure with a text."""
    executions = facts.executions[["line", "run_no", "series", "test", "known_us"]]
    told = executions.merge(facts.texts, on=["run_no", "series"])  # in the order of becoming known, line by line
    told["alike"] = told.groupby(["run_no", "text"])["test"].transform("nunique") - 1
    by = told.groupby("line", sort=False)
    states = told[["line", "known_us", "alike"]].assign(
        n=by.cumcount() + 1,
        repeats=told.duplicated(["line", "text"]).groupby(told["line"], sort=False).cumsum(),
        environment=by["environment"].cumsum(),
    )
    found = latest_before(asked[["line"]].assign(at_us=asked["started_us"]), states, "line")
    return pd.DataFrame(
        {
            "repeated_failure_rate": found["repeats"] / found["n"],
            "environment_failure_rate": found["environment"] / found["n"],
            "last_failure_alike_count": found["alike"],
        }
    )
