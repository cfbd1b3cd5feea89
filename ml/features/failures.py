"""What a failure looks like when its run is over: its company in the run, and earlier failures that told nothing.

An earlier failure counts as flaky from the moment at which its test had also passed on the same commit, or in another
attempt of the same run: both outcomes on one code are flaky by definition, and the definition has a time. Labels would
say more, but only from the day on which somebody began to label. A lone failure is one between two passes.

The failures asked for are all failures of their runs, so the company is counted in ``query``. Whether a failure itself
passed in another attempt, or on the same commit, is what is to be predicted, and no feature.
"""

import pyarrow as pa

from ml.features.assembly import Block, Part, Rows
from ml.features.changes import RUN_JOINS as CHANGE_JOINS
from ml.features.lineage import joined
from ml.features.queries import Engine


def _share_of_failures(name: str, state: str) -> Part:
    counts = {
        f"{name}_failures_count": "COALESCE(f.n, 0)",
        f"{name}_failure_rate": "COALESCE(f.n, 0) / NULLIF(h.failures_count, 0)",
    }
    joined = f"{state} AS f JOIN history AS h ON h.query_no = f.query_no AND h.series_no = f.series_no"
    return Part(key="series_no", source=joined, at="f", columns=counts)


PARTS = (
    _share_of_failures("flaky", "flaky_before"),
    _share_of_failures("lone", "lone_before"),
    Part(
        key="lineage_test_no",
        source="test_flaky_before AS f",
        at="f",
        columns={"test_flaky_failures_count": "COALESCE(f.n, 0)"},
    ),
    Part(
        key="test_no",
        source="test_company AS m",
        at="m",
        columns={"failed_variants_count": "m.failures", "passed_variants_count": "m.results - m.failures"},
    ),
    Part(key="package_no", source="package_company AS m", at="m", columns={"package_failures_count": "m.failures"}),
    Part(
        key="series_no",
        source="query AS p JOIN history AS h ON h.query_no = p.query_no AND h.series_no = p.series_no",
        at="p",
        columns={"duration_ratio": "p.duration_s / NULLIF(h.mean_duration_s, 0)"},
    ),
)
RUN_COLUMNS = {
    "run_failure_rate": "w.failures / CAST(w.results AS DOUBLE)",
    "run_failures_count": "w.failures",
    "run_new_failures_count": "w.new_failures",
    "run_packages_count": "w.packages",
    "is_docs_only": "CASE WHEN s.docs_files = s.files THEN 1 WHEN s.files > 0 THEN 0 END",
}
RUN_JOINS = f"{CHANGE_JOINS} JOIN run_company AS w ON w.query_no = c.query_no"


def register_history(engine: Engine, rows: Rows, told: Block) -> None:
    """Create ``history``: what `ml.features.test_history` told of the rows asked for, by query_no and series_no."""
    columns = {name: pa.array(rows[name], pa.int32()) for name in ("query_no", "series_no")}
    for name in ("failures_count", "is_failing", "mean_duration_s"):
        columns[name] = pa.array(told[name], pa.float64(), from_pandas=True)
    engine.register_frame("history", pa.table(columns))


def prepare(engine: Engine) -> None:
    """Create the tables that `PARTS` and `RUN_JOINS` name; ``history`` and those of `facts` and `pairs` are there."""
    _store_flaky(engine)
    _store_lone(engine)
    _store_company(engine)


def _store_flaky(engine: Engine) -> None:
    """``flaky``: earlier failures with the moment at which their test had shown both outcomes on the same code."""
    engine.store(
        "lineage_test_key",
        "SELECT DISTINCT q.query_no, q.at_us, s.test_no AS lineage_test_no "
        "FROM query AS q JOIN series AS s ON s.series_no = q.lineage_no",
    )
    engine.store(
        "shown",
        f"""
        SELECT s.series_no, COALESCE(l.lineage_no, s.series_no) AS lineage_no, r.run_no, r.known_us, c.commit_sha,
            MAX(CASE WHEN t.outcome IN ('failed', 'error') THEN 1 ELSE 0 END) AS failed,
            MAX(CASE WHEN t.outcome = 'passed' THEN 1 ELSE 0 END) AS passed
        FROM test_results AS t
        JOIN series AS s ON s.variant = t.variant AND s.test_id = t.test_id
        JOIN run AS r ON r.run_id = t.run_id
        JOIN (SELECT run_id, MAX(commit_sha) AS commit_sha FROM runs GROUP BY run_id) AS c ON c.run_id = t.run_id
        {joined("test_lineage", "series_no", "s.series_no", "r.known_us")}
        WHERE t.outcome <> 'skipped' AND (s.test_no IN (SELECT lineage_test_no FROM lineage_test_key)
            OR s.series_no IN (SELECT series_no FROM test_lineage))
        GROUP BY s.series_no, l.lineage_no, r.run_no, r.known_us, c.commit_sha
        """,
    )
    engine.store(
        "flaky",
        """
        SELECT f.lineage_no, t.test_no AS lineage_test_no,
            CASE WHEN f.passed = 1 OR p.known_us < f.known_us THEN f.known_us ELSE p.known_us END AS known_us
        FROM shown AS f
        JOIN series AS t ON t.series_no = f.lineage_no
        LEFT JOIN (SELECT series_no, commit_sha, MIN(known_us) AS known_us FROM shown
                   WHERE passed = 1 GROUP BY series_no, commit_sha) AS p
            ON p.series_no = f.series_no AND p.commit_sha = f.commit_sha
        WHERE f.failed = 1 AND (f.passed = 1 OR p.known_us IS NOT NULL)
        """,
    )
    _store_count(engine, "flaky_before", "flaky", ("query", "lineage_no"))
    _store_count(engine, "test_flaky_before", "flaky", ("lineage_test_key", "lineage_test_no"))


def _store_lone(engine: Engine) -> None:
    engine.store(
        "lone_failure",
        "SELECT lineage_no, next_us AS known_us FROM failure_place WHERE previous = 0 AND next_failed = 0",
    )
    _store_count(engine, "lone_before", "lone_failure", ("query", "lineage_no"))


def _store_count(engine: Engine, name: str, facts: str, asked: tuple[str, str]) -> None:
    """`name`: n, how many `facts` were known before each query; `asked` names the table of queries and its key."""
    queries, key = asked
    engine.store(
        "counted",
        f"""
        SELECT {key}, known_us, SUM(n) OVER (PARTITION BY {key} ORDER BY known_us
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n
        FROM (SELECT {key}, known_us, COUNT(*) AS n FROM {facts} GROUP BY {key}, known_us)
        """,
    )
    engine.store(name, f"SELECT q.*, f.n FROM {engine.latest_before('counted', queries, [key])}")


def _store_company(engine: Engine) -> None:
    """What else failed in the run: the test in other variants, tests of its package, and all of them."""
    engine.store("test_key", "SELECT DISTINCT query_no, at_us, test_no FROM query")
    engine.store(
        "test_company",
        """
        SELECT k.query_no, k.test_no, COUNT(*) AS results, SUM(e.failed) AS failures
        FROM test_key AS k
        JOIN query_run AS r ON r.query_no = k.query_no
        JOIN series AS s ON s.test_no = k.test_no
        JOIN execution AS e ON e.run_no = r.run_no AND e.series_no = s.series_no
        GROUP BY k.query_no, k.test_no
        """,
    )
    engine.store(
        "package_company",
        "SELECT q.query_no, g.package_no, COUNT(*) AS failures "
        "FROM query AS q JOIN test_package AS g ON g.test_no = q.test_no GROUP BY q.query_no, g.package_no",
    )
    engine.store(
        "run_company",
        """
        SELECT r.query_no, MAX(o.results) AS results, COUNT(*) AS failures, COUNT(DISTINCT g.package_no) AS packages,
            SUM(CASE WHEN h.is_failing = 1 THEN 0 ELSE 1 END) AS new_failures
        FROM query_run AS r
        JOIN run_result AS o ON o.run_no = r.run_no
        JOIN query AS q ON q.query_no = r.query_no
        JOIN test_package AS g ON g.test_no = q.test_no
        JOIN history AS h ON h.query_no = q.query_no AND h.series_no = q.series_no
        GROUP BY r.query_no
        """,
    )
