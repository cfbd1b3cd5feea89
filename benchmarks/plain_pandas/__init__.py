"""All features once more, as a careful pandas programmer writes them: vectorised, point-in-time, no loops over rows.

Names become numbers before anything is joined. Each fact leaves a state (group-wise cumulative sums, windows, `ewm`);
each query takes, by one `merge_asof`, the state after the latest fact known strictly before it. What words, kinds and
packages the names of files and tests have is said by `ml.features.names`, for both sides.
"""

import pandas as pd

from benchmarks.plain_pandas.changes import change_features, run_features
from benchmarks.plain_pandas.facts import Facts, read
from benchmarks.plain_pandas.history import history_features, history_states
from benchmarks.plain_pandas.neighbours import neighbour_features
from benchmarks.plain_pandas.pairs import pair_features
from benchmarks.plain_pandas.texts import text_features
from ml.schemas import FEATURES

KEYS = ["run_id", "variant", "test_id"]


def features(runs: pd.DataFrame, results: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """`KEYS` and `FEATURES` (float64) of each merged result, ordered by the run's start, run_id, variant, test_id."""
    facts = read(runs, results, files)
    states = history_states(facts.executions)
    asked = facts.executions[["run_no", "series", "asked_line", "asked_line_test", "test", "variant_no", "started_us"]]
    asked = asked.rename(columns={"asked_line": "line", "asked_line_test": "line_test"})
    asked = asked.sort_values(["run_no", "series"], ignore_index=True)
    per_run = run_features(facts)
    parts = [
        history_features(asked, states),
        text_features(asked, facts),
        neighbour_features(asked, facts, states, per_run),
        change_features(asked, facts, per_run),
        per_run.reindex(asked["run_no"]).reset_index(drop=True),
        pair_features(asked, facts),
    ]
    found = pd.concat(parts, axis=1)[list(FEATURES)].astype("float64")
    return pd.concat([_named(asked, facts), found], axis=1)


def _named(asked: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    names = facts.series.take(asked["series"]).reset_index(drop=True)
    run_id = facts.runs["run_id"].take(asked["run_no"]).reset_index(drop=True)
    return pd.DataFrame({"run_id": run_id, "variant": names["variant"], "test_id": names["test_id"]})
