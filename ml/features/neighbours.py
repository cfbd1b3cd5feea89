"""How the surroundings of a test behaved before: the test in every variant, its package, its variant, its author.

A board or machine that breaks, or a package that is being rewritten, shows in many tests at once; each test alone has
too short a history to tell. Every state is summed over whole runs: a run of the group is one fact, known at once.
All features are null until the group has a known run.
"""

from ml.features.assembly import Part
from ml.features.queries import Engine
from ml.features.test_history import store_failures_by

PRIOR_RUNS = 2
GROUPS = {"test": "lineage_test_no", "package": "package_no", "variant": "variant_no"}


def _part(name: str, key: str, **more: str) -> Part:
    rates = {
        f"{name}_last_failure_rate": "n.failures / CAST(n.results AS DOUBLE)",
        f"{name}_failure_rate_last_10_runs": "n.failures_10 / CAST(n.results_10 AS DOUBLE)",
    }
    return Part(key=key, source=f"{name}_before AS n", at="n", columns={**rates, **more})


PARTS = (
    _part("test", "lineage_test_no", variants_count="n.results"),
    _part("package", "package_no", package_new_failures_count="n.new_failures"),
    _part(
        "variant", "variant_no", variant_new_failures_count="n.new_failures", variant_recoveries_count="n.recoveries"
    ),
    Part(
        key="series_no",
        source="author_failure_before AS n JOIN run_context AS c ON c.query_no = n.query_no",
        at="n",
        columns={"author_cofailure_rate": f"n.failures / CAST(c.author_runs_count + {PRIOR_RUNS} AS DOUBLE)"},
        absent="CASE WHEN c.author_runs_count IS NOT NULL THEN 0 END",
    ),
)


def prepare(engine: Engine) -> None:
    """Create the tables that `PARTS` name."""
    engine.store(
        "placed",
        """
        SELECT n.run_no, n.known_us, t.test_no AS lineage_test_no, s.variant_no, g.package_no, n.failed,
            COALESCE(n.new_failure, 0) AS new_failure, COALESCE(n.recovery, 0) AS recovery
        FROM numbered AS n JOIN series AS s ON s.series_no = n.series_no JOIN series AS t ON t.series_no = n.lineage_no
        JOIN test_package AS g ON g.test_no = s.test_no
        """,
    )
    for name, key in GROUPS.items():
        _store_group(engine, name, key)
    store_failures_by(engine, "author", "author_id", among="NOT r.is_outage")


def _store_group(engine: Engine, name: str, key: str) -> None:
    """``<name>_before``: results, failures, new failures and recoveries of the group in its latest runs."""
    order = f"PARTITION BY {key} ORDER BY known_us, run_no"
    last_10 = f"({order} ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)"
    engine.store(
        "group_run",
        f"""
        SELECT * FROM (
            SELECT *, SUM(results) OVER {last_10} AS results_10, SUM(failures) OVER {last_10} AS failures_10,
                COALESCE(LEAD(known_us) OVER ({order}) > known_us, TRUE) AS is_latest
            FROM (SELECT {key}, run_no, known_us, COUNT(*) AS results, SUM(failed) AS failures,
                      SUM(new_failure) AS new_failures, SUM(recovery) AS recoveries
                  FROM placed GROUP BY {key}, run_no, known_us))
        WHERE is_latest
        """,
    )
    asked = {"test": "t.test_no AS lineage_test_no", "package": "g.package_no", "variant": "q.variant_no"}[name]
    engine.store(
        "group_key",
        f"SELECT DISTINCT q.query_no, q.at_us, {asked} FROM query AS q "
        "JOIN series AS t ON t.series_no = q.lineage_no JOIN test_package AS g ON g.test_no = q.test_no",
    )
    engine.store(
        f"{name}_before",
        f"SELECT q.query_no, q.{key}, f.results, f.failures, f.new_failures, f.recoveries, f.results_10, f.failures_10 "
        f"FROM {engine.latest_before('group_run', 'group_key', [key])}",
    )
