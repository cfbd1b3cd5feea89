"""Batches to validate: one good row per table, and short ways to judge variations of them."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from ml import schemas
from ml.spec import Batch
from ml.validation import Validated, validate

AS_OF = datetime(2026, 3, 1, 12, tzinfo=UTC)

BATCH = Batch(batch_id="b1", source="tables", project="shop", folder="landing/b1", payload_count=1)

NOTHING_REFUSED = pd.DataFrame(columns=[name for name in schemas.columns(schemas.RejectedRows) if name != "batch_id"])

RUN = {
    "project": "shop",
    "run_id": "r1",
    "attempt": 1,
    "workflow": "build",
    "event": "push",
    "branch": "main",
    "commit_sha": "abc123",
    "change_id": "pr-7",
    "change_title": "Fix the cart",
    "author_id": "a1",
    "started_at": pd.Timestamp("2026-02-27T10:00:00Z"),
    "finished_at": pd.Timestamp("2026-02-27T10:30:00Z"),
    "status": "failed",
    "is_fork": False,
}

RESULT = {
    "project": "shop",
    "run_id": "r1",
    "attempt": 1,
    "variant": "linux",
    "test_id": "CartTest",
    "outcome": "passed",
    "duration_s": 1.5,
    "imputed": False,
    "failure_kind": None,
    "failure_fingerprint": None,
    "position": 1,
}

FILE = {"project": "shop", "run_id": "r1", "path": "src/cart.py", "added": 3, "deleted": 0, "change_source": "git"}

COMMIT = {
    "project": "shop",
    "commit_sha": "abc123",
    "author_id": "a1",
    "committed_at": pd.Timestamp("2026-02-27T09:00:00Z"),
    "parent_count": 1,
    "subject": "Empty the cart",
    "file_count": 1,
    "added": 3,
    "deleted": 0,
}

GOOD = {"runs": RUN, "test_results": RESULT, "changed_files": FILE, "commits": COMMIT}


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def judge(**frames: pd.DataFrame) -> Validated:
    return validate({"runs": table(RUN), **frames}, NOTHING_REFUSED, BATCH, AS_OF)


def judge_value(name: str, column: str, value: Any) -> Validated:
    frame = table(GOOD[name]).astype(object)
    frame.at[0, column] = value
    return judge(**{name: frame})


def counts(validated: Validated) -> dict[str, int]:
    return {name: len(frame) for name, frame in validated.accepted.items()}
