"""What is known of a history at a moment: its runs and executed results, and nothing that became known later.

Tables made here (times are microseconds since 1970 UTC):

- ``known_run``: one row per run: run_no (order of start, then run_id), line, change_key, commit_sha.
- ``known_result``: one row per executed result: run_no, attempt, variant, test_id, failed (0/1), duration_s.
"""

from datetime import datetime, timedelta
from typing import Protocol

import pandas as pd

from ml.spec import EPOCH, PULL_REQUESTS, TRUNKS


class Engine(Protocol):
    """What labels need of a query engine; `ml.engine.Engine` is one."""

    def store(self, name: str, select: str) -> None:
        """Compute `select` into the temporary table `name`."""

    def fetch(self, sql: str) -> pd.DataFrame:
        """Result of `sql`."""


def executions(engine: Engine, as_of: datetime) -> pd.DataFrame:
    """Every execution that is known at a moment, as the failures are, in time order.

    Args:
        engine: With views ``runs`` and ``test_results`` of one project (columns of `ml.schemas`).
        as_of: Facts with a later known_at (finish of the attempt, or its start if unknown) do not count. The
            attempts of a run that are known by then are merged; failed if any of them failed.

    Returns:
        run_id, variant, test_id, failed and duration_s, of the longest attempt that ended like that; NaN if unknown.
    """
    store(engine, as_of)
    return engine.fetch(
        "SELECT r.run_id, t.variant, t.test_id, MAX(t.failed) = 1 AS failed, "
        "COALESCE(MAX(CASE WHEN t.failed = 1 THEN t.duration_s END), "
        "CASE WHEN MAX(t.failed) = 0 THEN MAX(t.duration_s) END) AS duration_s "
        "FROM known_result AS t JOIN known_run AS r ON r.run_no = t.run_no "
        "GROUP BY r.run_no, r.run_id, t.variant, t.test_id ORDER BY r.run_no, t.variant, t.test_id"
    )


def failure_texts(engine: Engine) -> pd.DataFrame:
    """What the texts of the known failures speak of, after `executions` of the same engine.

    Returns:
        run_id, variant, test_id and kind (of `ml.spec.FailureKind`), of the last attempt with a text; failures without
        a text are left out.
    """
    return engine.fetch(
        """
        SELECT run_id, variant, test_id, kind FROM (
            SELECT r.run_id, t.variant, t.test_id, w.failure_kind AS kind,
                ROW_NUMBER() OVER (PARTITION BY r.run_no, t.variant, t.test_id ORDER BY t.attempt DESC) AS back
            FROM known_result AS t
            JOIN known_run AS r ON r.run_no = t.run_no
            JOIN test_results AS w ON w.run_id = r.run_id AND w.attempt = t.attempt AND w.variant = t.variant
                AND w.test_id = t.test_id
            WHERE t.failed = 1 AND w.failure_kind IS NOT NULL)
        WHERE back = 1 ORDER BY run_id, variant, test_id
        """
    )


def neighbours(engine: Engine) -> pd.DataFrame:
    """What ran right before the tests that failed in two runs or more, after `executions` of the same engine.

    Returns:
        run_id, variant, test_id, failed and before (the test that ran right before in the same report, None for the
        first of a report), in time order, one row per attempt of a run whose order is known without doubt.
    """
    engine.store(
        "placed_result",
        """
        SELECT r.run_no, r.run_id, w.attempt, w.variant, w.test_id, w.position,
            CASE WHEN w.outcome IN ('failed', 'error') THEN 1 ELSE 0 END AS failed
        FROM test_results AS w
        JOIN known_attempt AS k ON k.run_id = w.run_id AND k.attempt = w.attempt
        JOIN known_run AS r ON r.run_id = w.run_id
        WHERE w.position IS NOT NULL AND w.outcome <> 'skipped'
        """,
    )
    # Reports of a run that came in two batches share positions: nobody knows which of two came before.
    return engine.fetch(
        """
        SELECT t.run_id, t.variant, t.test_id, t.failed = 1 AS failed, MIN(b.test_id) AS before
        FROM placed_result AS t
        JOIN (SELECT variant, test_id FROM placed_result WHERE failed = 1
            GROUP BY variant, test_id HAVING COUNT(DISTINCT run_no) > 1) AS f
            ON f.variant = t.variant AND f.test_id = t.test_id
        LEFT JOIN placed_result AS b ON b.run_no = t.run_no AND b.attempt = t.attempt AND b.variant = t.variant
            AND b.position = t.position - 1
        GROUP BY t.run_no, t.run_id, t.attempt, t.variant, t.test_id, t.failed HAVING COUNT(*) = 1
        ORDER BY t.run_no, t.attempt, t.variant, t.test_id
        """
    )


def store(engine: Engine, as_of: datetime) -> None:
    """Make the tables of this module, as of a moment."""
    _store_runs(engine, (as_of - EPOCH) // timedelta(microseconds=1))
    _store_results(engine)


def _store_runs(engine: Engine, as_of_us: int) -> None:
    """A line is what follows on each other: a trunk, or the runs of one pull request or branch."""
    engine.store(
        "known_attempt",
        f"""
        SELECT * FROM (
            SELECT run_id, attempt, EPOCH_US(started_at) AS started_us,
                EPOCH_US(COALESCE(finished_at, started_at)) AS known_us, event, branch, change_id, commit_sha
            FROM runs)
        WHERE known_us <= {as_of_us}
        """,
    )
    engine.store(
        "known_run",
        f"""
        SELECT *, CAST(ROW_NUMBER() OVER (ORDER BY started_us, run_id) AS INTEGER) AS run_no,
            COALESCE(change_id, branch) AS change_key,
            CASE WHEN LOWER(branch) IN {TRUNKS} AND COALESCE(event, '') NOT IN {PULL_REQUESTS} THEN branch
                ELSE COALESCE(change_id, branch, event, '') END AS line
        FROM (
            SELECT run_id, MIN(started_us) AS started_us, MAX(event) AS event, MAX(branch) AS branch,
                MAX(change_id) AS change_id, MAX(commit_sha) AS commit_sha
            FROM known_attempt GROUP BY run_id)
        """,
    )


def _store_results(engine: Engine) -> None:
    """In-process reruns are rows of their own attempt number, known with their run where that has one attempt."""
    engine.store(
        "known_result",
        """
        SELECT r.run_no, t.attempt, t.variant, t.test_id,
            CASE WHEN t.outcome IN ('failed', 'error') THEN 1 ELSE 0 END AS failed,
            CASE WHEN ISNAN(t.duration_s) THEN NULL ELSE CAST(t.duration_s AS DOUBLE) END AS duration_s
        FROM test_results AS t
        JOIN known_run AS r ON r.run_id = t.run_id
        LEFT JOIN known_attempt AS k ON k.run_id = t.run_id AND k.attempt = t.attempt
        LEFT JOIN runs AS every ON every.run_id = t.run_id AND every.attempt = t.attempt
        WHERE t.outcome <> 'skipped' AND (k.run_id IS NOT NULL OR every.run_id IS NULL)
        """,
    )


def first_known(engine: Engine) -> datetime | None:
    """The moment from which anything is known; None for a history without runs."""
    found = engine.fetch("SELECT MIN(EPOCH_US(COALESCE(finished_at, started_at))) AS first_us FROM runs")
    first_us = found["first_us"].iloc[0]
    return None if pd.isna(first_us) else EPOCH + timedelta(microseconds=int(first_us))
