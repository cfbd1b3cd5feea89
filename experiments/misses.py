"""Which new failures are still found late, run by run and by their kind, and what each costs.

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


def missed(table: pd.DataFrame, method: str, rival: str, optimal: str) -> pd.DataFrame:
    """Every new failure of the runs that count, with its kind and where each order put it.

    Args:
        table: judged rows with a score per order and, as ``state``, the label of each failure.
        method: order that is looked at.
        rival: order beside it.
        optimal: order that nothing can beat.

    Returns:
        the rows of failures with ``kind`` (of `KINDS`), ``place``, ``rival_place`` and ``least_place`` (0..1, share of
        the run's tests that stand before it), ``tests`` of its run, and ``lost`` and ``rival_lost``: what of the run's
        APFD goes through this failure. Over the failures of a run they sum up to its distance to the optimum.
    """
    rows = counted(table, "new")
    found = rows.loc[rows["failed"].astype(bool)]
    for role, name in {"place": method, "rival_place": rival, "least_place": optimal}.items():
        found = with_places(found, rows, name, role)
    run = found["run_id"]
    share = 1 / run.groupby(run).transform("size")
    return found.assign(
        kind=kinds(found),
        tests=run.map(rows["run_id"].value_counts()),
        lost=share * (found["place"] - found["least_place"]),
        rival_lost=share * (found["rival_place"] - found["least_place"]),
    )


def with_places(
    failures: pd.DataFrame, rows: pd.DataFrame, order: str, role: str, share: str = "tests"
) -> pd.DataFrame:
    """Failures with column `role`: the share of the run's tests, or of its duration, that is over half-way through it.

    Args:
        failures: some of the failed rows.
        rows: all rows that are ordered.
        order: column of scores.
        role: name of the new column.
        share: tests or duration.
    """
    found = places(rows[[*MERGED_RESULT, "failed", "duration_s", order]], order)
    before = found.groupby("run_id", sort=False)[share].shift(fill_value=0.0)
    middle = found[MERGED_RESULT].assign(**{role: (before + found[share]) / 2}).loc[found["failed"].astype(bool)]
    return failures.merge(middle, on=MERGED_RESULT, validate="one_to_one")


def by_kind(found: pd.DataFrame) -> Iterator[Row]:
    """A row per kind of what `missed` found: failures, runs, mean places, and what of the mean APFD the kind takes."""
    runs = found["run_id"].nunique()
    if runs == 0:
        return
    for kind in KINDS:
        some = found[found["kind"] == kind]
        yield {
            "kind": kind,
            "failures": len(some),
            "runs": int(some["run_id"].nunique()),
            "place": number(some["place"].mean()),
            "rival_place": number(some["rival_place"].mean()),
            "early": number((some["place"] <= EARLY).mean()),
            "rival_early": number((some["rival_place"] <= EARLY).mean()),
            "states": _counts(some["state"]),
            "lost": number(float(some["lost"].sum()) / runs),
            "rival_lost": number(float(some["rival_lost"].sum()) / runs),
        }


def by_run(found: pd.DataFrame) -> Iterator[Row]:
    """A row per run of what `missed` found, the run that loses most first.

    ``run`` is its place in time among them, from 1. ``kind`` and ``state`` are those of the failures through which it
    loses most, and ``executions``, ``failed_before`` and ``since_failure`` the history of the single failure that costs
    it most: how often its test ran and failed before, and how many executions ago (None: never).
    """
    ordered = found.sort_values(["started_at", "run_id"], kind="stable")
    for number_in_time, (_, some) in enumerate(ordered.groupby("run_id", sort=False), start=1):
        yield _of_run(number_in_time, some)


def _of_run(run: int, some: pd.DataFrame) -> Row:
    kind, state = some.fillna({"state": "unknown"}).groupby(["kind", "state"])["lost"].sum().idxmax()
    worst = some.loc[some["lost"].idxmax()]
    since = worst["executions_since_failure_count"]
    return {
        "run": run,
        "day": f"{worst['started_at']:%Y-%m-%d}",
        "tests": int(worst["tests"]),
        "failures": len(some),
        "kinds": _counts(some["kind"]),
        "states": _counts(some["state"]),
        "kind": kind,
        "state": state,
        "first": number(some["place"].min()),
        "place": number(worst["place"]),
        "rival_place": number(worst["rival_place"]),
        "executions": int(worst["executions_count"]),
        "failed_before": int(worst["failures_count"]),
        "since_failure": None if pd.isna(since) else int(since),
        "lost": number(some["lost"].sum()),
        "rival_lost": number(some["rival_lost"].sum()),
    }


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().sort_index().items()}
