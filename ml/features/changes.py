"""What is under test: size and kind of the change, its earlier runs, its author, and the state of the CI itself.

A change without files known has null size features and has_change = 0.
"""

from ml.features import lineage
from ml.features.assembly import Part
from ml.features.queries import Context, Engine
from ml.spec import PULL_REQUESTS

DAY_US = 86_400_000_000

PARTS = (
    Part(
        key="lineage_no",
        source="(SELECT c.query_no, f.lineage_no FROM run_context AS c "
        "JOIN failure_place AS f ON f.run_no = c.change_run_no) AS f",
        at="f",
        columns={"is_failing_in_change": "1"},
        absent="CASE WHEN c.change_run_no IS NOT NULL THEN 0 END",
    ),
)
RUN_COLUMNS = {
    "last_run_failure_rate": "c.last_run_failure_rate",
    "last_5_runs_failure_rate": "c.last_5_runs_failure_rate",
    "last_run_results_count": "c.last_run_results_count",
    "since_last_run_s": "c.since_last_run_s",
    "is_pull_request": "c.is_pull_request",
    "change_runs_count": "c.change_runs_count",
    "author_runs_count": "c.author_runs_count",
    "author_failure_rate": "c.author_failure_rate",
    "has_change": "CASE WHEN s.query_no IS NULL THEN 0 ELSE 1 END",
    "files_count": "s.files",
    "lines_added_count": "s.added",
    "lines_deleted_count": "s.deleted",
    "source_files_rate": "s.source_files / CAST(s.files AS DOUBLE)",
    "test_files_rate": "s.test_files / CAST(s.files AS DOUBLE)",
    "build_files_rate": "s.build_files / CAST(s.files AS DOUBLE)",
    "docs_files_rate": "s.docs_files / CAST(s.files AS DOUBLE)",
    "has_build_file": "CASE WHEN s.build_files > 0 THEN 1 WHEN s.files > 0 THEN 0 END",
    "folders_count": "s.folders",
    "modules_count": "s.modules",
    "mean_churn_30d": "s.churn_sum / CAST(s.files AS DOUBLE)",
    "max_churn_30d": "s.churn_max",
}
RUN_JOINS = "run_context AS c LEFT JOIN change_size AS s ON s.query_no = c.query_no"


def prepare_history(engine: Engine, context: Context) -> None:
    """Create what is known of runs and files, whatever is asked; facts, paths and their lineage are there."""
    _store_touches(engine, context)
    for name, key in (("any_run", "everything"), ("change_run", "change_key"), ("author_run", "author_id")):
        engine.store(name, _run_state(key))


def prepare(engine: Engine) -> None:
    """Create the tables that `RUN_JOINS` names: what is the same for all tests of a run. `PARTS` need no others.

    The runs asked for, and what `prepare_history` makes, are there.
    """
    _store_size(engine)
    _store_run_context(engine)


def _store_touches(engine: Engine, context: Context) -> None:
    """``touched``: running count, per file, of known runs that touched it (all, and those that tell something)."""
    engine.store(
        "run_file",
        f"""
        SELECT c.run_no, c.known_us, COALESCE(l.lineage_no, c.path_no) AS file_no, c.folder_no, c.suffix_no,
            COUNT(*) OVER (PARTITION BY c.run_no) <= {context.max_files} AND NOT COALESCE(o.is_outage, TRUE)
                AS is_telling
        FROM change_file AS c
        LEFT JOIN run_result AS o ON o.run_no = c.run_no
        {lineage.joined("file_lineage", "path_no", "c.path_no", "c.known_us")}
        """,
    )
    engine.store(
        "touched",
        """
        SELECT file_no, known_us,
            SUM(touches) OVER (PARTITION BY file_no ORDER BY known_us
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n
        FROM (SELECT file_no, known_us, COUNT(DISTINCT run_no) AS touches FROM run_file GROUP BY file_no, known_us)
        """,
    )


def _store_size(engine: Engine) -> None:
    engine.store(
        "touched_file",
        f"""
        SELECT q.query_no, r.at_us, p.path_no, COALESCE(l.lineage_no, p.path_no) AS file_no, p.folder_no, p.suffix_no,
            p.module_no, p.kind, q.added, q.deleted
        FROM query_file AS q JOIN query_run AS r ON r.query_no = q.query_no JOIN path_part AS p ON p.path = q.path
        {lineage.joined_before("file_lineage", "path_no", "p.path_no", "r.at_us")}
        """,
    )
    for name, back in (("churn_now", 0), ("churn_then", 30 * DAY_US)):
        engine.store("file_key", f"SELECT query_no, path_no, file_no, at_us - {back} AS at_us FROM touched_file")
        engine.store(
            name,
            "SELECT q.query_no, q.path_no, COALESCE(f.n, 0) AS n "
            f"FROM {engine.latest_before('touched', 'file_key', ['file_no'])}",
        )
    engine.store(
        "change_size",
        """
        SELECT t.query_no, COUNT(*) AS files, SUM(t.added) AS added, SUM(t.deleted) AS deleted,
            COUNT(CASE WHEN t.kind = 'source' THEN 1 END) AS source_files,
            COUNT(CASE WHEN t.kind = 'test' THEN 1 END) AS test_files,
            COUNT(CASE WHEN t.kind = 'build' THEN 1 END) AS build_files,
            COUNT(CASE WHEN t.kind = 'docs' THEN 1 END) AS docs_files,
            COUNT(DISTINCT t.folder_no) AS folders, COUNT(DISTINCT t.module_no) AS modules,
            SUM(a.n - b.n) AS churn_sum, MAX(a.n - b.n) AS churn_max
        FROM touched_file AS t
        JOIN churn_now AS a ON a.query_no = t.query_no AND a.path_no = t.path_no
        JOIN churn_then AS b ON b.query_no = t.query_no AND b.path_no = t.path_no
        GROUP BY t.query_no
        """,
    )


def _run_state(key: str) -> str:
    """Running counts over runs in the order they became known, per `key`; the latest of runs known together is kept."""
    order = f"PARTITION BY {key} ORDER BY known_us, run_no"
    running = f"({order} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    last_5 = f"({order} ROWS BETWEEN 4 PRECEDING AND CURRENT ROW)"
    return f"""
        SELECT * FROM (
            SELECT {key}, run_no, known_us, results, failures,
                COALESCE(LEAD(known_us) OVER ({order}) > known_us, TRUE) AS is_latest,
                COUNT(*) OVER {running} AS runs,
                SUM(CASE WHEN failures > 0 THEN 1 ELSE 0 END) OVER {running} AS failed_runs,
                SUM(results) OVER {last_5} AS results_5, SUM(failures) OVER {last_5} AS failures_5
            FROM (SELECT *, 0 AS everything FROM run_result) WHERE {key} IS NOT NULL)
        WHERE is_latest
        """


def _store_run_context(engine: Engine) -> None:
    engine.store(
        "run_key",
        "SELECT query_no, at_us, event, change_key, change_title, author_id, 0 AS everything FROM query_run",
    )
    engine.store(
        "before_any",
        "SELECT q.query_no, q.at_us, q.event, q.change_key, q.change_title, q.author_id, f.results, f.failures, "
        f"f.results_5, f.failures_5, f.known_us FROM {engine.latest_before('any_run', 'run_key', ['everything'])}",
    )
    engine.store(
        "before_change",
        f"SELECT q.query_no, f.run_no, f.runs FROM {engine.latest_before('change_run', 'run_key', ['change_key'])}",
    )
    engine.store(
        "before_author",
        f"SELECT q.query_no, f.runs, f.failed_runs FROM {engine.latest_before('author_run', 'run_key', ['author_id'])}",
    )
    engine.store(
        "run_context",
        f"""
        SELECT a.query_no, a.change_key, a.change_title, a.at_us,
            a.failures / CAST(a.results AS DOUBLE) AS last_run_failure_rate,
            a.failures_5 / CAST(a.results_5 AS DOUBLE) AS last_5_runs_failure_rate,
            a.results AS last_run_results_count, (a.at_us - a.known_us) / 1e6 AS since_last_run_s,
            CASE WHEN LOWER(a.event) IN {PULL_REQUESTS} THEN 1 WHEN a.event IS NOT NULL THEN 0 END AS is_pull_request,
            COALESCE(c.runs, 0) AS change_runs_count, c.run_no AS change_run_no,
            CASE WHEN a.author_id IS NOT NULL THEN COALESCE(u.runs, 0) END AS author_runs_count,
            u.failed_runs / CAST(u.runs AS DOUBLE) AS author_failure_rate
        FROM before_any AS a
        JOIN before_change AS c ON c.query_no = a.query_no
        JOIN before_author AS u ON u.query_no = a.query_no
        """,
    )
