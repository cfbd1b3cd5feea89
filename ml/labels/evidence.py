"""What is known at a moment about each failure: one row of numbers per merged failed result.

Whatever became known after the moment is left out before anything else is computed, so no later fact can leak in.
Kinds of outcome (failed or error) and durations are no evidence: producers disagree on the first, and the second is
often missing.

Tables made here, beside those of `ml.labels.known` (times are microseconds since 1970 UTC):

- ``suspect``: one row per (variant, test_id) that ever failed: suspect_no, container.
- ``trial``: one row per (suspect, run): passes and fails of its attempts, failed (0/1).
- ``failing``: one row per failure with its neighbours in time; the grain of everything that is joined to it.
"""

from datetime import datetime

import pandas as pd

from ml.labels import known
from ml.labels.known import Engine

MAX_FILES = 200  # larger changes tell nothing about single files
OUTAGE_SHARE = 0.5
NEARBY = 5  # executions before and after, on any line


def collect(engine: Engine, as_of: datetime) -> pd.DataFrame:
    """Collect the evidence about every failure that is known at a moment.

    Args:
        engine: With views ``runs``, ``test_results`` and ``changed_files`` of one project (columns of `ml.schemas`).
        as_of: Facts with a later known_at (finish of the attempt, or its start if unknown) do not count.

    Returns:
        One row per failure, ordered by start of the run, run_id, variant, test_id: those three names and the columns
        of `COLUMNS`, numbers, NaN where nothing is known. Empty without failures.
    """
    known.store(engine, as_of)
    _store_trials(engine)
    _store_failing(engine)
    _store_crowds(engine)
    _store_same_code(engine)
    _store_changes(engine)
    _store_past(engine)
    columns = ", ".join(f"CAST({text} AS DOUBLE) AS {name}" for name, text in COLUMNS.items())
    return engine.fetch(
        f"SELECT r.run_id, s.variant, s.test_id, {columns} FROM failing AS f {JOINS} "
        "ORDER BY f.run_no, s.variant, s.test_id"
    )


COLUMNS = {
    "same_code_passes": "COALESCE(c.passes, f.passes)",
    "same_code_fails": "COALESCE(c.fails, f.fails)",
    "previous_on_line": "f.line_previous",
    "next_on_line": "f.line_next",
    "line_streak": "l.streak",
    "previous_anywhere": "f.previous",
    "next_anywhere": "f.next",
    "fails_nearby": "f.nearby",
    "executions_before": "f.before",
    "failure_rate_before": "f.failures_before / NULLIF(f.before, 0)",
    "lone_failures_elsewhere": "p.singles - CASE WHEN o.run_no IS NULL THEN 0 ELSE 1 END",
    "flips_elsewhere": "p.flips - CASE WHEN COALESCE(c.passes, f.passes) > 0 THEN 1 ELSE 0 END",
    "executions": "p.executions",
    "share_of_run": "a.share",
    "results_of_run": "a.results",
    "new_share_of_run": "w.new_share",
    "new_failures_of_run": "w.new_failures",
    "containers_of_run": "w.containers",
    "fails_in_container": "w.fails_in_container",
    "other_variants_failed": "v.failed_share",
    "is_related": "n.is_related",
    "has_files": "n.has_files",
    "change_passes_untouched": "t.is_untouched",
    "line_passes_touched": "t.is_touched",
    "line_passes_unrelated": "t.is_unrelated",
}
JOINS = """
    JOIN known_run AS r ON r.run_no = f.run_no
    JOIN suspect AS s ON s.suspect_no = f.suspect_no
    JOIN past AS p ON p.suspect_no = f.suspect_no
    JOIN line_streak AS l ON l.suspect_no = f.suspect_no AND l.line = f.line AND l.passes_before = f.line_passes
    JOIN crowd AS a ON a.suspect_no = f.suspect_no AND a.run_no = f.run_no
    JOIN company AS w ON w.suspect_no = f.suspect_no AND w.run_no = f.run_no
    JOIN other_variants AS v ON v.suspect_no = f.suspect_no AND v.run_no = f.run_no
    JOIN relation AS n ON n.suspect_no = f.suspect_no AND n.run_no = f.run_no
    JOIN repair AS t ON t.suspect_no = f.suspect_no AND t.run_no = f.run_no
    LEFT JOIN lone AS o ON o.suspect_no = f.suspect_no AND o.run_no = f.run_no
    LEFT JOIN same_code AS c ON c.suspect_no = f.suspect_no AND c.commit_sha = r.commit_sha
"""


def _store_trials(engine: Engine) -> None:
    """Executions of the tests that ever failed: no other test has a failure to explain."""
    engine.store(
        "suspect",
        """
        SELECT variant, test_id, CAST(ROW_NUMBER() OVER (ORDER BY variant, test_id) AS INTEGER) AS suspect_no,
            REGEXP_REPLACE(test_id, '[.:/#][^.:/#]*$', '') AS container
        FROM (SELECT DISTINCT variant, test_id FROM known_result WHERE failed = 1)
        """,
    )
    engine.store(
        "trial",
        """
        SELECT s.suspect_no, t.run_no, SUM(1 - t.failed) AS passes, SUM(t.failed) AS fails, MAX(t.failed) AS failed
        FROM known_result AS t JOIN suspect AS s ON s.variant = t.variant AND s.test_id = t.test_id
        GROUP BY s.suspect_no, t.run_no
        """,
    )


def _store_failing(engine: Engine) -> None:
    order = "PARTITION BY e.suspect_no ORDER BY e.run_no"
    line = "PARTITION BY e.suspect_no, r.line ORDER BY e.run_no"
    change = "PARTITION BY e.suspect_no, r.change_key ORDER BY e.run_no"
    after = "ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"
    engine.store(
        "placed",
        f"""
        SELECT e.*, r.line, r.change_key,
            LAG(e.failed) OVER ({order}) AS previous, LEAD(e.failed) OVER ({order}) AS next,
            LAG(e.failed) OVER ({line}) AS line_previous, LEAD(e.failed) OVER ({line}) AS line_next,
            AVG(e.failed) OVER ({order} ROWS BETWEEN {NEARBY} PRECEDING AND {NEARBY} FOLLOWING) AS nearby,
            ROW_NUMBER() OVER ({order}) - 1 AS before,
            SUM(e.failed) OVER ({order} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - e.failed AS failures_before,
            SUM(1 - e.failed) OVER ({line} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS line_passes,
            MIN(CASE WHEN e.failed = 0 THEN e.run_no END) OVER ({line} {after}) AS line_pass_no,
            MIN(CASE WHEN e.failed = 0 THEN e.run_no END) OVER ({change} {after}) AS change_pass_no
        FROM trial AS e JOIN known_run AS r ON r.run_no = e.run_no
        """,
    )
    engine.store("failing", "SELECT * FROM placed WHERE failed = 1")
    engine.store(
        "line_streak",
        "SELECT suspect_no, line, line_passes AS passes_before, COUNT(*) AS streak, MIN(run_no) AS first_no "
        "FROM failing GROUP BY suspect_no, line, line_passes",
    )


def _store_crowds(engine: Engine) -> None:
    """``crowd``: the worst attempt in which the test failed; ``company``: what else failed in the run.

    Shares are of the results of a whole run: an attempt that repeats only what had failed is no outage.
    """
    engine.store(
        "attempt_size",
        "SELECT run_no, variant, attempt, COUNT(*) AS results, SUM(failed) AS failures "
        "FROM known_result GROUP BY run_no, variant, attempt",
    )
    engine.store(
        "run_size", "SELECT run_no, variant, MAX(results) AS results FROM attempt_size GROUP BY run_no, variant"
    )
    engine.store(
        "crowd",
        """
        SELECT s.suspect_no, t.run_no, MAX(a.failures) / MAX(z.results) AS share, MAX(z.results) AS results
        FROM known_result AS t
        JOIN suspect AS s ON s.variant = t.variant AND s.test_id = t.test_id
        JOIN attempt_size AS a ON a.run_no = t.run_no AND a.variant = t.variant AND a.attempt = t.attempt
        JOIN run_size AS z ON z.run_no = t.run_no AND z.variant = t.variant
        WHERE t.failed = 1 GROUP BY s.suspect_no, t.run_no
        """,
    )
    engine.store(
        "variant_failures",
        """
        SELECT f.run_no, s.variant, COUNT(DISTINCT s.container) AS containers,
            SUM(CASE WHEN COALESCE(f.previous, 0) = 0 THEN 1 ELSE 0 END) AS new_failures
        FROM failing AS f JOIN suspect AS s ON s.suspect_no = f.suspect_no GROUP BY f.run_no, s.variant
        """,
    )
    engine.store(
        "company",
        """
        SELECT f.suspect_no, f.run_no, m.containers, m.new_failures, m.new_failures / z.results AS new_share,
            COUNT(*) OVER (PARTITION BY f.run_no, s.variant, s.container) - 1 AS fails_in_container
        FROM failing AS f
        JOIN suspect AS s ON s.suspect_no = f.suspect_no
        JOIN run_size AS z ON z.run_no = f.run_no AND z.variant = s.variant
        JOIN variant_failures AS m ON m.run_no = f.run_no AND m.variant = s.variant
        """,
    )
    engine.store(
        "other_variants",
        """
        SELECT f.suspect_no, f.run_no, AVG(o.failed) AS failed_share
        FROM failing AS f
        JOIN suspect AS s ON s.suspect_no = f.suspect_no
        LEFT JOIN (SELECT run_no, variant, test_id, MAX(failed) AS failed FROM known_result
                   WHERE test_id IN (SELECT test_id FROM suspect) GROUP BY run_no, variant, test_id) AS o
            ON o.run_no = f.run_no AND o.test_id = s.test_id AND o.variant <> s.variant
        GROUP BY f.suspect_no, f.run_no
        """,
    )


def _store_same_code(engine: Engine) -> None:
    engine.store(
        "same_code",
        """
        SELECT e.suspect_no, r.commit_sha, SUM(e.passes) AS passes, SUM(e.fails) AS fails
        FROM trial AS e JOIN known_run AS r ON r.run_no = e.run_no
        WHERE r.commit_sha IS NOT NULL GROUP BY e.suspect_no, r.commit_sha
        """,
    )


def _store_changes(engine: Engine) -> None:
    """``relation``: does the run's change name the test; ``repair``: what the next pass had changed."""
    engine.store(
        "file",
        r"""
        SELECT r.run_no, c.path, MAX(c.added) AS added, MAX(c.deleted) AS deleted,
            LOWER(REGEXP_EXTRACT(c.path, '([^/.]+)[^/]*$', 1)) AS stem
        FROM changed_files AS c JOIN known_run AS r ON r.run_id = c.run_id GROUP BY r.run_no, c.path
        """,
    )
    engine.store(
        "content",
        "SELECT run_no, COUNT(*) AS files, COALESCE(SUM(added), 0) AS added, COALESCE(SUM(deleted), 0) AS deleted "
        f"FROM file GROUP BY run_no HAVING COUNT(*) <= {MAX_FILES}",
    )
    engine.store("small_file", "SELECT f.* FROM file AS f JOIN content AS c ON c.run_no = f.run_no")
    engine.store("relation", _relation("failing", "run_no"))
    # The first run of a streak brought the fault; later ones fail with it, whatever they change.
    engine.store(
        "ended",
        """
        SELECT f.suspect_no, f.run_no, f.line_pass_no AS pass_no, l.first_no
        FROM failing AS f
        JOIN line_streak AS l ON l.suspect_no = f.suspect_no AND l.line = f.line AND l.passes_before = f.line_passes
        WHERE f.line_pass_no IS NOT NULL
        """,
    )
    engine.store("pass_relation", _relation("ended", "pass_no"))
    engine.store(
        "shared",
        """
        SELECT p.first_no, p.pass_no, COUNT(*) AS files
        FROM (SELECT DISTINCT first_no, pass_no FROM ended) AS p
        JOIN small_file AS a ON a.run_no = p.first_no
        JOIN small_file AS b ON b.run_no = p.pass_no AND b.path = a.path
        GROUP BY p.first_no, p.pass_no
        """,
    )
    _store_repairs(engine)


def _relation(table: str, run: str) -> str:
    """Whether the change of run `run` has a file that the test's name contains; null where no files are known."""
    return f"""
        SELECT f.suspect_no, f.run_no, CASE WHEN MAX(c.run_no) IS NULL THEN 0 ELSE 1 END AS has_files,
            MAX(CASE WHEN LENGTH(c.stem) > 3 AND STRPOS(LOWER(s.test_id), c.stem) > 0 THEN 1
                WHEN c.run_no IS NOT NULL THEN 0 END) AS is_related
        FROM {table} AS f
        JOIN suspect AS s ON s.suspect_no = f.suspect_no
        LEFT JOIN small_file AS c ON c.run_no = f.{run}
        GROUP BY f.suspect_no, f.run_no
        """


def _store_repairs(engine: Engine) -> None:
    """A pass of the same change again repairs nothing, whatever its files are.

    A change that kept its size was not touched: one more commit on it would add or delete lines.
    """
    engine.store(
        "other_content",
        """
        SELECT p.first_no, p.pass_no, CASE WHEN a.files = b.files AND a.added = b.added AND a.deleted = b.deleted
            AND o.files = a.files THEN 0 ELSE 1 END AS is_other
        FROM (SELECT DISTINCT first_no, pass_no FROM ended) AS p
        JOIN content AS b ON b.run_no = p.pass_no
        LEFT JOIN content AS a ON a.run_no = p.first_no
        LEFT JOIN shared AS o ON o.first_no = p.first_no AND o.pass_no = p.pass_no
        """,
    )
    engine.store(
        "repair",
        """
        SELECT f.suspect_no, f.run_no,
            CASE WHEN own.files = later.files AND own.added = later.added AND own.deleted = later.deleted THEN 1
                WHEN own.run_no IS NOT NULL AND later.run_no IS NOT NULL THEN 0 END AS is_untouched,
            CASE WHEN q.has_files = 1 AND x.is_other = 1 AND (o.files > 0 OR q.is_related = 1) THEN 1
                WHEN q.has_files = 1 THEN 0 END AS is_touched,
            CASE WHEN q.has_files = 1 AND (x.is_other = 0 OR (o.files IS NULL AND q.is_related = 0)) THEN 1
                WHEN q.has_files = 1 THEN 0 END AS is_unrelated
        FROM failing AS f
        LEFT JOIN content AS own ON own.run_no = f.run_no
        LEFT JOIN content AS later ON later.run_no = f.change_pass_no
        LEFT JOIN ended AS g ON g.suspect_no = f.suspect_no AND g.run_no = f.run_no
        LEFT JOIN other_content AS x ON x.first_no = g.first_no AND x.pass_no = g.pass_no
        LEFT JOIN shared AS o ON o.first_no = g.first_no AND o.pass_no = g.pass_no
        LEFT JOIN pass_relation AS q ON q.suspect_no = f.suspect_no AND q.run_no = f.run_no
        """,
    )


def _store_past(engine: Engine) -> None:
    """``past``: how often a test failed for no visible reason, and on how many commits (or runs) it did both.

    No visible reason: once between two passes, in no outage, and no change to blame before it or after it.
    """
    engine.store(
        "lone",
        f"""
        SELECT f.suspect_no, f.run_no
        FROM failing AS f
        JOIN crowd AS a ON a.suspect_no = f.suspect_no AND a.run_no = f.run_no
        JOIN relation AS n ON n.suspect_no = f.suspect_no AND n.run_no = f.run_no
        JOIN repair AS t ON t.suspect_no = f.suspect_no AND t.run_no = f.run_no
        WHERE f.previous = 0 AND f.next = 0 AND a.share <= {OUTAGE_SHARE} AND COALESCE(n.is_related, 0) = 0
            AND COALESCE(t.is_untouched, 1) = 1 AND COALESCE(t.is_touched, 0) = 0
        """,
    )
    engine.store(
        "past",
        """
        SELECT p.suspect_no, p.executions, p.singles, COALESCE(c.flips, 0) + p.own_flips AS flips
        FROM (
            SELECT e.suspect_no, COUNT(*) AS executions, COUNT(o.run_no) AS singles,
                SUM(CASE WHEN r.commit_sha IS NULL AND e.passes > 0 AND e.fails > 0 THEN 1 ELSE 0 END) AS own_flips
            FROM trial AS e
            JOIN known_run AS r ON r.run_no = e.run_no
            LEFT JOIN lone AS o ON o.suspect_no = e.suspect_no AND o.run_no = e.run_no
            GROUP BY e.suspect_no) AS p
        LEFT JOIN (SELECT suspect_no, COUNT(*) AS flips FROM same_code WHERE passes > 0 AND fails > 0
                   GROUP BY suspect_no) AS c ON c.suspect_no = p.suspect_no
        """,
    )
