"""A collector of small batches, for a process of its own."""

import pandas as pd

from ml.lake import Lake
from ml.warehouse import Warehouse
from tests.lake_builders import commit, files, results, runs

BATCHES = tuple(f"b{number:03d}" for number in range(200))


def batch(batch_id: str) -> dict[str, pd.DataFrame]:
    """One run with three results and a file; the run's id is the batch's."""
    tests = [(batch_id, test_id, "passed") for test_id in ("a", "b", "c")]
    return {
        "runs": runs((batch_id, f"2026-01-{1 + int(batch_id[1:]) % 3:02d}T00:00:00Z")),
        "test_results": results(*tests),
        "changed_files": files((batch_id, "src/a.py")),
    }


def collect(dsn: str, uri: str, batch_ids: tuple[str, ...]) -> None:
    """Commit the batches in the given order; those that are in already are found and left alone."""
    lake = Lake(uri)
    with Warehouse(dsn) as warehouse:
        for batch_id in batch_ids:
            commit(warehouse, lake, batch_id, batch(batch_id))
