"""What the texts of failures tell: whether they read alike, by their fingerprints, and whether they blame surroundings.

A test that fails with the same text again and again is broken or has one weakness; one text in many tests of a run has
one cause for all of them. Reports tell texts, outcomes alone do not: every feature is null where none is told.
Attempts of a run are merged; of several texts of a test the one that sorts last counts.
"""

from ml.features.assembly import Part
from ml.features.queries import Engine

# Kinds of failures that speak of what surrounds a test.
SURROUNDINGS = ("timeout", "network", "resource")

PARTS = (
    Part(
        key="series_no",
        source="told_before AS t",
        at="t",
        columns={
            "repeated_failure_rate": "t.repeats / CAST(t.n AS DOUBLE)",
            "environment_failure_rate": "t.environment / CAST(t.n AS DOUBLE)",
            "last_failure_alike_count": "t.alike",
        },
    ),
)
OWN_PARTS = (
    Part(
        key="series_no",
        source="own_told AS t",
        at="t",
        columns={
            "same_failures_count": "COALESCE(t.failures, 0)",
            "same_failure_recovery_rate": "t.recoveries / CAST(NULLIF(t.answers, 0) AS DOUBLE)",
            "alike_failures_count": "t.alike",
            "is_environment_failure": "t.environment",
        },
    ),
)


def prepare(engine: Engine) -> None:
    """Create the table that `PARTS` name; those of `facts` and `test_history` are there."""
    _store_told(engine)
    running = "OVER (PARTITION BY lineage_no ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    engine.store(
        "told_state",
        f"""
        SELECT lineage_no, known_us, told AS n, repeats, environment, alike
        FROM (SELECT lineage_no, known_us, alike, COUNT(*) {running} AS told, SUM(is_repeat) {running} AS repeats,
                  SUM(environment) {running} AS environment,
                  COALESCE(LEAD(known_us) OVER (PARTITION BY lineage_no ORDER BY n) > known_us, TRUE) AS is_latest
              FROM (SELECT *, CASE WHEN ROW_NUMBER() OVER (PARTITION BY lineage_no, text_no ORDER BY n) > 1
                        THEN 1 ELSE 0 END AS is_repeat FROM told))
        WHERE is_latest
        """,
    )
    engine.store(
        "told_query",
        "SELECT q.query_no, q.series_no, q.lineage_no, q.at_us FROM query AS q "
        "JOIN (SELECT DISTINCT lineage_no FROM told_state) AS k ON k.lineage_no = q.lineage_no",
    )
    engine.store(
        "told_before",
        "SELECT q.query_no, q.series_no, f.n, f.repeats, f.environment, f.alike "
        f"FROM {engine.latest_before('told_state', 'told_query', ['lineage_no'])} WHERE f.n IS NOT NULL",
    )


def prepare_own(engine: Engine) -> None:
    """Create the table that `OWN_PARTS` name, for failures that are asked about when their run is known."""
    _store_told(engine)
    engine.store(
        "own_text",
        """
        SELECT q.query_no, q.at_us, q.series_no, q.lineage_no, t.text_no, t.environment, t.alike
        FROM query AS q JOIN query_run AS r ON r.query_no = q.query_no
        JOIN told AS t ON t.run_no = r.run_no AND t.series_no = q.series_no
        """,
    )
    running = "OVER (PARTITION BY lineage_no, text_no ORDER BY known_us"
    running += " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    for name, known, values in (
        ("same_text", "known_us", "COUNT(*) AS failures"),
        ("answer", "next_us", "COUNT(*) AS answers, SUM(1 - next_failed) AS recoveries"),
    ):
        counts = [value.split(" AS ")[1] for value in values.split(", ")]
        sums = ", ".join(f"SUM({count}) {running} AS {count}" for count in counts)
        engine.store(
            name,
            f"""
            SELECT lineage_no, text_no, known_us, {sums}
            FROM (SELECT lineage_no, text_no, {known} AS known_us, {values} FROM told
                  WHERE {known} IS NOT NULL GROUP BY lineage_no, text_no, {known})
            """,
        )
    keys = ["lineage_no", "text_no"]
    engine.store("own_seen", f"SELECT q.*, f.failures FROM {engine.latest_before('same_text', 'own_text', keys)}")
    engine.store(
        "own_told", f"SELECT q.*, f.answers, f.recoveries FROM {engine.latest_before('answer', 'own_seen', keys)}"
    )


def _store_told(engine: Engine) -> None:
    """``told``: failures with a text: its number, the test's next execution, other tests of the run that read alike.

    The numbers of texts depend on all of them; only whether two are equal counts.
    """
    engine.store(
        "failure_text",
        f"""
        SELECT s.series_no, s.test_no, r.run_no, MAX(t.failure_fingerprint) AS fingerprint,
            MAX(CASE WHEN t.failure_kind IN {SURROUNDINGS} THEN 1 ELSE 0 END) AS environment
        FROM test_results AS t
        JOIN run AS r ON r.run_id = t.run_id
        JOIN series AS s ON s.variant = t.variant AND s.test_id = t.test_id
        WHERE t.failure_fingerprint IS NOT NULL AND t.outcome IN ('failed', 'error')
        GROUP BY s.series_no, s.test_no, r.run_no
        """,
    )
    engine.store(
        "told",
        """
        SELECT n.lineage_no, n.series_no, n.run_no, n.known_us, n.n, x.failed AS next_failed, x.known_us AS next_us,
            f.environment, a.text_no, a.tests - 1 AS alike
        FROM failure_text AS f
        JOIN (SELECT run_no, fingerprint, COUNT(DISTINCT test_no) AS tests,
                  CAST(DENSE_RANK() OVER (ORDER BY fingerprint) AS INTEGER) AS text_no
              FROM failure_text GROUP BY run_no, fingerprint) AS a
            ON a.run_no = f.run_no AND a.fingerprint = f.fingerprint
        JOIN numbered AS n ON n.series_no = f.series_no AND n.run_no = f.run_no
        LEFT JOIN numbered AS x ON x.lineage_no = n.lineage_no AND x.n = n.n + 1
        """,
    )
