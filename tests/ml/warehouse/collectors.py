"""Collectors as processes of their own, to be killed at any moment."""

import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

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


def collect(dsn: str, uri: str, batch_ids: tuple[str, ...], ready: Connection) -> None:
    """Commit the batches in the given order; those that are in already are found and left alone."""
    lake = Lake(uri)
    with Warehouse(dsn) as warehouse:
        ready.send("ready")
        for batch_id in batch_ids:
            commit(warehouse, lake, batch_id, batch(batch_id))


def start(dsn: str, uri: str, batch_ids: tuple[str, ...]) -> ForkServerProcess:
    """A collector that is connected and about to write.

    Forked from a server that imported everything once and never used it: importing takes longer than collecting.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.ml.warehouse.collectors"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=collect, args=(dsn, uri, batch_ids, sender))
    process.start()
    sender.close()
    if not receiver.poll(120) or receiver.recv() != "ready":
        process.kill()
        raise TimeoutError("a collector did not connect within 120 s")
    receiver.close()
    return process
