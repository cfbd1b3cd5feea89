"""Which new failures are still found late: every one by its kind, and what each kind costs.

APFD of a run is one less the mean place of its failures, ``(rank - 1/2) / tests``. So the loss of APFD is a sum over
failures, and what is left to the optimum can be told by kind.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from experiments.rows import Row, number
from experiments.selection_points import counted, places
from ml.spec import MERGED_RESULT

MANY = 10
LATELY = 30
EARLY = 0.1
KINDS = {
    "new_test": "the test never ran before on this variant",
    "mass": f"more than {MANY} tests fail anew in the run",
    "first_ever": "the test never failed before on this variant",
    "lately": f"it failed within its last {LATELY} executions",
    "long_ago": "it failed before that only",
}


def kinds(failures: pd.DataFrame) -> pd.Series:
    """Kind of each new failure, the first of `KINDS` that fits."""
    together = failures.groupby("run_id")["test_id"].transform("size")
    tests = [
        failures["executions_count"] == 0,
        together > MANY,
        failures["failures_count"] == 0,
        failures["executions_since_failure_count"] < LATELY,
    ]
    found = np.select([test.to_numpy(bool) for test in tests], list(KINDS)[:-1], list(KINDS)[-1])
    return pd.Series(found, index=failures.index)


def misses(table: pd.DataFrame, method: str, rival: str, optimal: str) -> Iterator[Row]:
    """Rows per kind: failures, runs, mean places of method and rival, and what of the APFD each kind takes.

    `table` has the label of each failure as ``state``, of which each row has the counts.
    `lost` is the mean APFD over runs that the method loses against the optimum through failures of that kind, and
    `rival_lost` the rival's; over all kinds they sum up to the distance to the optimum.
    """
    rows = counted(table, "new")
    if rows.empty:
        return
    found = rows.loc[rows["failed"].astype(bool), MERGED_RESULT]
    for role, name in {"place": method, "rival_place": rival, "least_place": optimal}.items():
        found = found.merge(_place(rows, name, role), on=MERGED_RESULT, validate="one_to_one")
    found = found.merge(rows, on=MERGED_RESULT, validate="one_to_one")
    found = found.assign(kind=kinds(found), weight=1 / found.groupby("run_id")["test_id"].transform("size"))
    for kind in KINDS:
        yield {"kind": kind, "against": rival, **_summary(found[found["kind"] == kind], found["run_id"].nunique())}


def _place(rows: pd.DataFrame, name: str, role: str) -> pd.DataFrame:
    found = places(rows[[*MERGED_RESULT, "failed", "duration_s", name]], name)
    found = found.loc[found["failed"].astype(bool)]
    tests = found["rank"] / found["tests"]
    return found[MERGED_RESULT].assign(**{role: (found["rank"] - 0.5) / tests})


def _summary(some: pd.DataFrame, runs: int) -> Row:
    weight, least = some["weight"], some["least_place"]
    lost, rival_lost = (float((weight * (some[role] - least)).sum()) / runs for role in ("place", "rival_place"))
    return {
        "failures": len(some),
        "runs": int(some["run_id"].nunique()),
        "place": number(some["place"].mean()),
        "rival_place": number(some["rival_place"].mean()),
        "early": number((some["place"] <= EARLY).mean()),
        "rival_early": number((some["rival_place"] <= EARLY).mean()),
        "states": {str(state): int(count) for state, count in some["state"].value_counts().sort_index().items()},
        "lost": number(lost),
        "rival_lost": number(rival_lost),
    }
