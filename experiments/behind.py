"""Runs in which a trivial rule orders better than the model, and the failure through which it does."""

import numpy as np
import pandas as pd

from experiments.misses import kinds, with_places
from experiments.rows import Row, number
from experiments.selection_points import counted
from ml import metrics
from ml.spec import MERGED_RESULT

MEASURED = ["run_id", "started_at", "failed", "previous_failed", "duration_s"]
SHARES = {"apfd": "tests", "apfdc": "duration"}
AGAIN = "again"  # the previous execution failed as well
EQUAL = 0.001  # of a run's measure


def behind(table: pd.DataFrame, measure: str, method: str, rival: str) -> tuple[Row, list[Row]]:
    """Where an order stands behind another one, run by run.

    Args:
        table: judged rows with a score per order and, as ``state``, the label of each failure.
        measure: ``<apfd|apfdc>_<all|new>``.
        method: order that is looked at.
        rival: order beside it.

    Returns:
        how often, and how much, it is ahead and behind: runs_ahead, runs_equal (less than `EQUAL` apart), runs_behind,
        won and lost (what runs ahead, and runs behind, add to the mean of all runs);
        a row per run behind, the one that loses most first. ``run`` is its place in time among those that count, from
        1, and ``lost`` how far it is behind. kind, state, duration_s and history are those of the failure that stands
        furthest behind its place in the rival's order; ``place`` and ``rival_place`` (0..1) are the share of the run's
        tests, or of its duration, that is over half-way through it.
    """
    name, _, view = measure.partition("_")
    chosen: metrics.View = "new" if view == "new" else "all"
    ours, theirs = (
        metrics.ranking_by_run(table[[*MEASURED, order]], order, chosen).set_index("run_id")[name]
        for order in (method, rival)
    )
    lead = ours - theirs
    losing = lead[lead <= -EQUAL].sort_values(kind="stable")
    about = {"measure": measure, "method": method, "rival": rival}
    summary = about | {
        "runs_ahead": int((lead >= EQUAL).sum()),
        "runs_equal": int((lead.abs() < EQUAL).sum()),
        "runs_behind": len(losing),
        "won": number(lead.clip(lower=0).mean()),
        "lost": number(-lead.clip(upper=0).mean()),
    }
    worst = _worst(table, chosen, SHARES[name], method, rival)
    in_time = pd.Series(np.arange(1, len(lead) + 1), index=lead.index)
    return summary, [
        {
            "measure": measure,
            "run": int(in_time[run_id]),
            "value": number(ours[run_id]),
            "rival_value": number(theirs[run_id]),
            "lost": number(-lead[run_id]),
            **_told(worst.loc[run_id]),
        }
        for run_id in losing.index
    ]


def _worst(table: pd.DataFrame, view: metrics.View, share: str, method: str, rival: str) -> pd.DataFrame:
    """Of each run the failure that stands furthest behind its place in the rival's order, by run_id."""
    rows = counted(table, view)
    found = rows.loc[rows["failed"].astype(bool)]
    for role, order in {"place": method, "rival_place": rival}.items():
        found = with_places(found, rows, order, role, share)
    again = found["previous_failed"].to_numpy(bool)
    kind = kinds(found.loc[~again]).reindex(found.index).where(~again, AGAIN)
    found = found.assign(
        kind=kind,
        tests=found["run_id"].map(rows["run_id"].value_counts()),
        failures=found.groupby("run_id")["test_id"].transform("size"),
        apart=found["place"] - found["rival_place"],
    )
    ordered = found.sort_values(["apart", *MERGED_RESULT], ascending=[False, True, True, True])
    return ordered.drop_duplicates("run_id").set_index("run_id")


def _told(failure: pd.Series) -> Row:
    since = failure["executions_since_failure_count"]
    return {
        "day": f"{failure['started_at']:%Y-%m-%d}",
        "tests": int(failure["tests"]),
        "failures": int(failure["failures"]),
        "kind": str(failure["kind"]),
        "state": "unknown" if pd.isna(failure["state"]) else str(failure["state"]),
        "duration_s": number(failure["duration_s"]),
        "executions": int(failure["executions_count"]),
        "failed_before": int(failure["failures_count"]),
        "since_failure": None if pd.isna(since) else int(since),
        "place": number(failure["place"]),
        "rival_place": number(failure["rival_place"]),
    }
