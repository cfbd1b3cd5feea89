"""What was run again, and which failures turned a run red, as known at a moment.

Both read the tables of `ml.labels.known`, which `label` and `executions` make: call one of them first.
The attempt of a result is that of its run, and 100 more for each rerun before in the same process.
"""

import pandas as pd

from ml.labels.known import Engine


def red_failures(engine: Engine) -> pd.DataFrame:
    """Failures that no rerun within the same attempt of the run turned into a pass: run_id, variant, test_id."""
    return engine.fetch(
        """
        SELECT DISTINCT r.run_id, a.variant, a.test_id
        FROM (
            SELECT t.run_no, t.variant, t.test_id, t.attempt % 100 AS run_attempt, MIN(t.failed) AS failed
            FROM known_result AS t
            JOIN (SELECT DISTINCT run_no, variant, test_id FROM known_result WHERE failed = 1) AS f
                ON f.run_no = t.run_no AND f.variant = t.variant AND f.test_id = t.test_id
            GROUP BY t.run_no, t.variant, t.test_id, t.attempt % 100) AS a
        JOIN known_run AS r ON r.run_no = a.run_no
        WHERE a.failed = 1 ORDER BY r.run_id, a.variant, a.test_id
        """
    )


def repeated(engine: Engine) -> pd.DataFrame:
    """Executions beyond the first of a test in a run: run_id and their seconds, NaN where no duration is known."""
    return engine.fetch(
        """
        SELECT r.run_id, SUM(e.duration_s) AS seconds
        FROM (
            SELECT t.run_no, t.duration_s,
                ROW_NUMBER() OVER (PARTITION BY t.run_no, t.variant, t.test_id ORDER BY t.attempt) AS turn
            FROM known_result AS t
            JOIN (SELECT run_no FROM known_result GROUP BY run_no HAVING MIN(attempt) < MAX(attempt)) AS m
                ON m.run_no = t.run_no) AS e
        JOIN known_run AS r ON r.run_no = e.run_no
        WHERE e.turn > 1 GROUP BY r.run_id ORDER BY r.run_id
        """
    )
