"""When the state of a test changed, and why: what it was called at one look after the other."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pandas as pd

from ml.flakiness.assessment import assess, count
from ml.spec import MERGED_RESULT

TEST = ["variant", "test_id"]
TOLD = ("state", "probability", "rate", "reason", "executions")


def changes(looks: Iterable[tuple[datetime, pd.DataFrame, pd.DataFrame]]) -> list[dict[str, Any]]:
    """The looks at which a (variant, test) was called something else than at its look before.

    Args:
        looks: Moments in time order; each with the executions and the labels of the tests in question as they were
            known then, as `ml.flakiness.count` takes them (labels with `evidence`).

    Returns:
        One entry per change, by variant, test_id and time: variant, test_id, at, was (the state before, None at the
        first look that knows an execution), state, probability, rate, reason, executions, and the newest failure known
        then: failed_in (its run_id), held_for (state of its label) and evidence, None where nothing failed.
    """
    found: list[dict[str, Any]] = []
    before: dict[tuple[str, str], str] = {}
    for at, executions, labels in looks:
        if executions.empty:
            continue
        counts = count(executions, labels)
        told = assess(counts).assign(executions=counts["executions"].astype(int)).reset_index()
        for row in told.to_dict("records"):
            key = (row["variant"], row["test_id"])
            was, before[key] = before.get(key), row["state"]
            if was != row["state"]:
                about = {"variant": key[0], "test_id": key[1], "at": at, "was": was}
                found.append({**about, **{name: row[name] for name in TOLD}, **_newest(key, executions, labels)})
    return sorted(found, key=lambda change: (change["variant"], change["test_id"], change["at"]))


def _newest(key: tuple[str, str], executions: pd.DataFrame, labels: pd.DataFrame) -> dict[str, Any]:
    """What the newest failure of a test is held for."""
    is_meant = (executions["variant"] == key[0]) & (executions["test_id"] == key[1]) & executions["failed"]
    newest = executions[is_meant].tail(1).merge(labels, on=MERGED_RESULT)
    if newest.empty:
        return dict.fromkeys(("failed_in", "held_for", "evidence"))
    row = newest.iloc[0]
    return {"failed_in": row["run_id"], "held_for": row["state"], "evidence": row["evidence"]}
