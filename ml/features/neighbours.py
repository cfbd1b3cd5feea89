"""How the surroundings of a test behaved before: the test in every variant, its package, its variant, its author.

A board or machine that breaks, or a package that is being rewritten, shows in many tests at once; each test alone has
too short a history to tell. Every state is summed over whole runs: a run of the group is one fact, known at once.
All features are null until the group has a known run.
"""

from ml.features.queries import Engine
from ml.features.test_history import store_failures_by

PRIOR_RUNS = 2
GROUPS = {"test": "test_no", "package": "package_no", "variant": "variant_no"}


def _rates(name: str) -> dict[str, str]:
    at = f"n_{name}"
    return {
        f"{name}_last_failure_rate": f"{at}.failures / CAST({at}.results AS DOUBLE)",
        f"{name}_failure_rate_last_10_runs": f"{at}.failures_10 / CAST({at}.results_10 AS DOUBLE)",
    }


COLUMNS = {
    **_rates("test"),
    **_rates("package"),
    **_rates("variant"),
    "variants_count": "n_test.results",
    "package_new_failures_count": "n_package.new_failures",
    "variant_new_failures_count": "n_variant.new_failures",
    "variant_recoveries_count": "n_variant.recoveries",
    "author_cofailure_rate": "CASE WHEN c.author_runs_count IS NOT NULL THEN "
    f"COALESCE(n_author.failures, 0) / CAST(c.author_runs_count + {PRIOR_RUNS} AS DOUBLE) END",
}
JOINS = "\n".join(
    [
        "LEFT JOIN test_package AS g ON g.test_no = h.test_no",
        *(
            f"LEFT JOIN {name}_before AS n_{name} ON n_{name}.query_no = h.query_no AND n_{name}.{key} = "
            + ("g" if name == "package" else "h")
            + f".{key}"
            for name, key in GROUPS.items()
        ),
        "LEFT JOIN author_failure_before AS n_author "
        "ON n_author.query_no = h.query_no AND n_author.series_no = h.series_no",
    ]
)


def prepare(engine: Engine) -> None:
    """Create the tables that `JOINS` names."""
    engine.store(
        "placed",
        """
        SELECT n.run_no, n.known_us, s.test_no, s.variant_no, g.package_no, n.failed,
            COALESCE(n.new_failure, 0) AS new_failure, COALESCE(n.recovery, 0) AS recovery
        FROM numbered AS n JOIN series AS s ON s.series_no = n.series_no JOIN test_package AS g ON g.test_no = s.test_no
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
    engine.store(
        "group_key",
        f"SELECT DISTINCT q.query_no, q.at_us, {'g' if name == 'package' else 'q'}.{key} "
        "FROM query AS q JOIN test_package AS g ON g.test_no = q.test_no",
    )
    engine.store(
        f"{name}_before",
        f"SELECT q.query_no, q.{key}, f.results, f.failures, f.new_failures, f.recoveries, f.results_10, f.failures_10 "
        f"FROM {engine.latest_before('group_run', 'group_key', [key])}",
    )
