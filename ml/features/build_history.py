"""How runs ended before: of the project, and of the same branch, workflow, change and author; and in the same files.

A run is taken as failed for a reason of its own: a test failed in every attempt that executed it, or the CI system
says failed without any failed test (it did not compile, a check refused it). A test that passed in another attempt is
no such reason, and an outage says nothing: it has no outcome here.

Form: as in `test_history`, one state per run with an outcome, in the order of becoming known; each query takes the
latest state known strictly before it. Averages with decay go back a bounded number of runs, so that no sum grows.
"""

from ml.features.queries import Context, Engine

FAILED_STATUS = ("failed", "failure", "error")
PASSED_STATUS = ("passed", "success")
KEEP = {"ewma": (0.8, 30), "fast_ewma": (0.5, 10)}
PRIOR_TOUCHES = 2
LEVELS = {"branch": "branch", "workflow": "workflow", "change": "change_key", "author": "author_id"}

COLUMNS = {
    "runs_count": "COALESCE(r.n, 0)",
    "failed_rate": "r.failed_rate",
    "failed_rate_last_10": "r.failed_rate_10",
    "failed_rate_last_50": "r.failed_rate_50",
    "ewma_failed_rate": "r.ewma",
    "fast_ewma_failed_rate": "r.fast_ewma",
    "is_last_failed": "r.failed",
    "failed_in_a_row_count": "r.n - COALESCE(r.passed_n, 0)",
    "runs_since_failed_count": "r.n - r.failed_n",
    "since_failed_s": "(q.at_us - r.failed_us) / 1e6",
    "flip_rate_last_20_runs": "r.flip_rate_20",
    **{
        f"{level}_{name}": text.format(level)
        for level in LEVELS
        for name, text in {
            "ewma_failed_rate": "{}.ewma",
            "is_last_failed": "{}.failed",
            "failed_in_a_row_count": "{0}.n - COALESCE({0}.passed_n, 0)",
        }.items()
    },
    "file_failed_rate": "x.failed_rate",
    "file_mean_failed_rate": "x.mean_failed_rate",
    "folder_failed_rate": "y.failed_rate",
    "new_files_rate": "z.new_files / CAST(z.files AS DOUBLE)",
    "own_touches_rate": "CASE WHEN q.author_id IS NOT NULL THEN z.own / CAST(NULLIF(z.touches, 0) AS DOUBLE) END",
    "file_authors_count": "CASE WHEN q.author_id IS NOT NULL THEN z.authors / CAST(z.files AS DOUBLE) END",
}
JOINS = """
    query_run AS q
    LEFT JOIN build AS o ON o.run_no = q.run_no
    LEFT JOIN before_runs AS r ON r.query_no = q.query_no
    LEFT JOIN path_failures AS x ON x.query_no = q.query_no
    LEFT JOIN folder_failures AS y ON y.query_no = q.query_no
    LEFT JOIN ownership AS z ON z.query_no = q.query_no
    JOIN run_context AS c ON c.query_no = q.query_no
    LEFT JOIN change_size AS s ON s.query_no = q.query_no
""" + "\n".join(f"LEFT JOIN before_{level} AS {level} ON {level}.query_no = q.query_no" for level in LEVELS)
OUTCOMES = """
    SELECT r.run_id, r.started_us, r.known_us, b.failed
    FROM build AS b JOIN run AS r ON r.run_no = b.run_no JOIN published AS p ON p.run_id = r.run_id
"""


def prepare(engine: Engine, context: Context) -> None:
    """Create the tables that `JOINS` names; those of `facts` and `changes` are there."""
    store_outcomes(engine)
    _store_states(engine)
    for name, key in (("path", "file_no"), ("folder", "folder_no")):
        _store_failures(engine, context, name, key)
    _store_ownership(engine)


def store_outcomes(engine: Engine) -> None:
    """``build``: a row per run whose outcome is known: failed (0/1) for a reason of its own."""
    failed = "outcome IN ('failed', 'error')"
    engine.store(
        "own_failure",
        f"""
        SELECT run_id, SUM(own) AS own
        FROM (SELECT run_id, variant, test_id, MIN(CASE WHEN {failed} THEN 1 ELSE 0 END) AS own
              FROM test_results
              WHERE outcome <> 'skipped' AND run_id IN (SELECT run_id FROM test_results WHERE {failed})
              GROUP BY run_id, variant, test_id)
        GROUP BY run_id
        """,
    )
    engine.store(
        "last_status",
        "SELECT run_id, LOWER(status) AS status FROM (SELECT run_id, status, "
        "ROW_NUMBER() OVER (PARTITION BY run_id ORDER BY attempt DESC) AS back FROM runs) WHERE back = 1",
    )
    engine.store(
        "build",
        f"""
        SELECT * FROM (
            SELECT r.run_no, r.known_us, r.branch, r.workflow, r.change_key, r.author_id, 0 AS everything,
                CASE WHEN f.own > 0 THEN 1 WHEN c.failures > 0 THEN 0 WHEN s.status IN {FAILED_STATUS} THEN 1
                    WHEN s.status IN {PASSED_STATUS} OR c.results > 0 THEN 0 END AS failed
            FROM run AS r
            LEFT JOIN run_result AS c ON c.run_no = r.run_no
            LEFT JOIN own_failure AS f ON f.run_id = r.run_id
            LEFT JOIN last_status AS s ON s.run_id = r.run_id
            WHERE NOT COALESCE(c.is_outage, FALSE))
        WHERE failed IS NOT NULL
        """,
    )


def _store_states(engine: Engine) -> None:
    engine.store("build_key", f"SELECT query_no, at_us, {', '.join(LEVELS.values())}, 0 AS everything FROM query_run")
    for level, key in {"runs": "everything", **LEVELS}.items():
        engine.store("build_state", _state(key))
        engine.store(
            f"before_{level}", f"SELECT q.query_no, f.* FROM {engine.latest_before('build_state', 'build_key', [key])}"
        )


def _state(key: str) -> str:
    """What the runs of one branch, author, ... leave behind, numbered in the order of becoming known."""
    order = f"PARTITION BY {key} ORDER BY known_us, run_no"
    numbered = f"""
        SELECT {key}, run_no, known_us, failed, CAST(ROW_NUMBER() OVER ({order}) AS INTEGER) AS n,
            CASE WHEN failed <> LAG(failed) OVER ({order}) THEN 1 WHEN LAG(failed) OVER ({order}) IS NOT NULL THEN 0 END
                AS flip,
            COALESCE(LEAD(known_us) OVER ({order}) > known_us, TRUE) AS is_latest,
            {", ".join(f"{_decayed(keep, back, order)} AS {name}_sum" for name, (keep, back) in KEEP.items())}
        FROM build WHERE {key} IS NOT NULL
        """
    averages = ", ".join(
        f"{name}_sum / ((1 - POWER({keep!r}e0, LEAST(n, {back}))) / {1 - keep!r}e0) AS {name}"
        for name, (keep, back) in KEEP.items()
    )
    return f"""
        SELECT * FROM (
            SELECT {key}, known_us, failed, n, is_latest, {averages},
                {_over(key, "AVG(failed)", "UNBOUNDED")} AS failed_rate,
                {_over(key, "AVG(failed)", 9)} AS failed_rate_10,
                {_over(key, "AVG(failed)", 49)} AS failed_rate_50, {_over(key, "AVG(flip)", 19)} AS flip_rate_20,
                {_over(key, "MAX(CASE WHEN failed = 1 THEN n END)", "UNBOUNDED")} AS failed_n,
                {_over(key, "MAX(CASE WHEN failed = 0 THEN n END)", "UNBOUNDED")} AS passed_n,
                {_over(key, "MAX(CASE WHEN failed = 1 THEN known_us END)", "UNBOUNDED")} AS failed_us
            FROM ({numbered}))
        WHERE is_latest
        """


def _over(key: str, value: str, back: int | str) -> str:
    return f"{value} OVER (PARTITION BY {key} ORDER BY n ROWS BETWEEN {back} PRECEDING AND CURRENT ROW)"


def _decayed(keep: float, back: int, order: str) -> str:
    terms = [f"{keep**i!r}e0 * COALESCE(LAG(failed, {i}) OVER ({order}), 0)" for i in range(1, back)]
    return f"({' + '.join(['failed', *terms])})"


def _store_failures(engine: Engine, context: Context, name: str, key: str) -> None:
    """``<name>_failures``: how often known runs failed that touched the changed files (or folders).

    rate: failed runs / (runs + `PRIOR_TOUCHES`); very large changes are left out.
    """
    running = f"PARTITION BY {key} ORDER BY known_us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    engine.store(
        "place_state",
        f"""
        SELECT {key}, known_us, SUM(runs) OVER ({running}) AS runs, SUM(failed) OVER ({running}) AS failed
        FROM (
            SELECT f.{key}, f.known_us, COUNT(*) AS runs, SUM(b.failed) AS failed
            FROM (SELECT DISTINCT run_no, known_us, {key} FROM run_file) AS f
            JOIN (SELECT run_no FROM run_file GROUP BY run_no HAVING COUNT(*) <= {context.max_files}) AS m
                ON m.run_no = f.run_no
            JOIN build AS b ON b.run_no = f.run_no
            GROUP BY f.{key}, f.known_us)
        """,
    )
    engine.store("place_key", f"SELECT DISTINCT query_no, at_us, {key} FROM touched_file")
    engine.store(
        f"{name}_failures",
        f"""
        SELECT query_no, MAX(rate) AS failed_rate, SUM(failed) / CAST(SUM(runs) + {PRIOR_TOUCHES} AS DOUBLE)
            AS mean_failed_rate
        FROM (SELECT q.query_no, COALESCE(f.failed, 0) AS failed, COALESCE(f.runs, 0) AS runs,
                COALESCE(f.failed, 0) / CAST(COALESCE(f.runs, 0) + {PRIOR_TOUCHES} AS DOUBLE) AS rate
              FROM {engine.latest_before("place_state", "place_key", [key])})
        GROUP BY query_no
        """,
    )


def _store_ownership(engine: Engine) -> None:
    """``ownership``: who touched the changed files before: runs of the same author, and distinct authors per file."""
    running = "ORDER BY known_us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    engine.store(
        "author_touch",
        "SELECT DISTINCT f.file_no, f.run_no, f.known_us, r.author_id "
        "FROM run_file AS f JOIN run AS r ON r.run_no = f.run_no WHERE r.author_id IS NOT NULL",
    )
    engine.store(
        "author_state",
        f"""
        SELECT file_no, author_id, known_us, SUM(n) OVER (PARTITION BY file_no, author_id {running}) AS n
        FROM (SELECT file_no, author_id, known_us, COUNT(*) AS n
              FROM author_touch GROUP BY file_no, author_id, known_us)
        """,
    )
    engine.store(
        "authors_state",
        f"""
        SELECT file_no, known_us, SUM(n) OVER (PARTITION BY file_no {running}) AS n
        FROM (SELECT file_no, known_us, COUNT(*) AS n
              FROM (SELECT file_no, author_id, MIN(known_us) AS known_us FROM author_touch GROUP BY file_no, author_id)
              GROUP BY file_no, known_us)
        """,
    )
    engine.store(
        "author_key",
        "SELECT t.query_no, t.at_us, t.path_no, t.file_no, q.author_id FROM touched_file AS t "
        "JOIN query_run AS q ON q.query_no = t.query_no",
    )
    own = engine.latest_before("author_state", "author_key", ["file_no", "author_id"])
    engine.store("own_touch", f"SELECT q.query_no, q.path_no, COALESCE(f.n, 0) AS n FROM {own}")
    authors = engine.latest_before("authors_state", "author_key", ["file_no"])
    engine.store("file_author", f"SELECT q.query_no, q.path_no, COALESCE(f.n, 0) AS n FROM {authors}")
    engine.store(
        "ownership",
        """
        SELECT t.query_no, COUNT(*) AS files, SUM(t.n) AS touches, SUM(o.n) AS own, SUM(a.n) AS authors,
            COUNT(CASE WHEN t.n = 0 THEN 1 END) AS new_files
        FROM churn_now AS t
        JOIN own_touch AS o ON o.query_no = t.query_no AND o.path_no = t.path_no
        JOIN file_author AS a ON a.query_no = t.query_no AND a.path_no = t.path_no
        GROUP BY t.query_no
        """,
    )
