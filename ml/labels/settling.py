"""When a label has settled: both outcomes were seen on one code, or enough happened since the failure."""

import pandas as pd

from ml.labels.evidence import NEARBY
from ml.labels.known import Engine

NEVER = 9_223_372_036_854_775_807


def moments(engine: Engine) -> pd.DataFrame:
    """When each failure became known, and when its label had settled; unsettled ones are left out.

    A label settles with the first pass on the same commit, or in another attempt of the same run (flaky by definition),
    or with the `NEARBY`-th later execution of the test on its variant, the last that evidence about neighbours in time
    looks at.

    Args:
        engine: With the tables that `ml.labels.evidence.collect` left there; what it did not know does not count.

    Returns:
        run_id, variant, test_id, known_us and settled_us: microseconds since 1970 UTC.
    """
    engine.store(
        "run_moment",
        "SELECT r.run_no, r.run_id, r.commit_sha, MAX(k.known_us) AS known_us "
        "FROM known_run AS r JOIN known_attempt AS k ON k.run_id = r.run_id GROUP BY r.run_no, r.run_id, r.commit_sha",
    )
    later = f"OVER (PARTITION BY t.suspect_no ORDER BY t.run_no ROWS BETWEEN 1 FOLLOWING AND {NEARBY} FOLLOWING)"
    engine.store(
        "followed",
        f"""
        SELECT t.suspect_no, t.failed, t.passes, m.run_id, m.commit_sha, m.known_us,
            COUNT(*) {later} AS laters, MAX(m.known_us) {later} AS later_us
        FROM trial AS t JOIN run_moment AS m ON m.run_no = t.run_no
        """,
    )
    return engine.fetch(
        f"""
        SELECT * FROM (
            SELECT f.run_id, s.variant, s.test_id, f.known_us, GREATEST(f.known_us, LEAST(
                CASE WHEN f.passes > 0 THEN f.known_us ELSE {NEVER} END,
                CASE WHEN f.laters = {NEARBY} THEN f.later_us ELSE {NEVER} END,
                COALESCE(p.known_us, {NEVER}))) AS settled_us
            FROM followed AS f
            JOIN suspect AS s ON s.suspect_no = f.suspect_no
            LEFT JOIN (SELECT suspect_no, commit_sha, MIN(known_us) AS known_us FROM followed
                       WHERE passes > 0 AND commit_sha IS NOT NULL GROUP BY suspect_no, commit_sha) AS p
                ON p.suspect_no = f.suspect_no AND p.commit_sha = f.commit_sha
            WHERE f.failed = 1)
        WHERE settled_us < {NEVER}
        """
    )
