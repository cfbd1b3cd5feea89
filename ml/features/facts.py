"""What is known, and when: runs, merged results and the rows that features are asked for.

Tables made here (integers stand for names, so that joins are cheap; no number depends on a later fact's content):

- ``changed``: the view changed_files, read once from its many small files.
- ``run``: one row per run: run_no (order of start, then run_id), started_us, known_us, change_key, author_id.
- ``series``: one row per (variant, test_id): series_no, variant_no, test_no.
- ``execution``: one row per (series_no, run_no): failed (0/1), duration_s, known_us. Skipped results are left out. Not
  for a training of tests: counting takes what is in NumPy already.
- ``series_first``: the runs in which each series began, with first_us, the moment when they became known.
- ``variant_run``: the runs of each variant, numbered in the order of becoming known.
- ``run_result``: one row per run with results: results and failures known after it, is_outage.
- ``query_run``: the runs asked for; ``at_us`` is the moment before which facts count.
- ``query``: the rows asked for, where these are not just all executions of the runs.
- ``drawn_run``: run_no and weight, where a bound on the rows leaves only some runs to be asked for.

Times are microseconds since 1970 UTC.
"""

from datetime import datetime, timedelta

import pandas as pd
import pyarrow as pa

from ml.features import lineage
from ml.features.merged import Merged
from ml.features.queries import NEXT_RUN, Context, Engine, Queries
from ml.features.results import Results
from ml.features.sampling import drawn_runs
from ml.features.sequences import Moments
from ml.spec import EPOCH, TRUNKS, Interval

LINE = "COALESCE(l.lineage_no, e.series_no)"
DESCRIPTION = ("event", "branch", "workflow", "change_id", "change_title", "author_id")


def prepare(engine: Engine, queries: Queries, context: Context, merged: Merged) -> bool:
    """Create the runs and rows asked for, and ``variant_run``; the other tables are there.

    Returns:
        whether the rows asked for are those of ``drawn_run`` only.
    """
    merged.register_variants(engine)
    lineage.store_tests(engine, merged)
    if queries.runs is not None:
        merged.register(engine)
        _store_given_runs(engine, queries, context)
        _store_alive_queries(engine, context)
        return False
    is_drawn = _draw_runs(engine, queries)
    _store_training_runs(engine, queries.interval, is_drawn)
    return is_drawn


def prepare_failures(engine: Engine, queries: Queries, context: Context, merged: Merged) -> None:
    """As `prepare`, for the failed results of runs that are over, asked about when the run became known."""
    merged.register(engine)
    merged.register_variants(engine)
    lineage.store_tests(engine, merged)
    _store_finished_runs(engine, queries)
    _store_training_files(engine)
    engine.store(
        "query",
        f"""
        SELECT q.query_no, q.at_us, e.series_no, {LINE} AS lineage_no, s.variant_no, s.test_no,
            CAST(NULL AS INTEGER) AS failed, e.duration_s
        FROM execution AS e
        JOIN query_run AS q ON q.run_no = e.run_no
        JOIN series AS s ON s.series_no = e.series_no
        {lineage.joined_before("test_lineage", "series_no", "e.series_no", "q.at_us")}
        WHERE e.failed = 1
        """,
    )


def prepare_runs(engine: Engine, queries: Queries, context: Context) -> None:
    """As `prepare`, without ``query``: what features of whole runs need."""
    if queries.runs is None:
        _store_training_runs(engine, queries.interval, is_drawn=False)
    else:
        _store_given_runs(engine, queries, context)


def store_changed(engine: Engine) -> None:
    """Create ``changed``, before all others."""
    engine.store("changed", "SELECT run_id, path, added, deleted FROM changed_files")


def store_names(engine: Engine, context: Context) -> Results:
    """Create ``run`` and ``series``: what the views runs and test_results name; and return the results."""
    store_runs(engine, context)
    return Results.of(engine)


def store_results(engine: Engine, context: Context, results: Results) -> Merged:
    """Create ``run_result`` and ``series_first``, and return all executions; `store_names` went before."""
    merged = Merged.of(results, Moments.of(engine))
    merged.register_counts(engine)
    _store_run_results(engine, context)
    return merged


def store_runs(engine: Engine, context: Context) -> None:
    """Create ``run``: a run with several attempts starts with the first and is known with the last."""
    engine.store(
        "run",
        f"""
        SELECT *, CAST(ROW_NUMBER() OVER (ORDER BY started_us, run_id) AS INTEGER) AS run_no,
            {_change_key("branch", "change_id")} AS change_key
        FROM (
            SELECT run_id, MIN(EPOCH_US(started_at)) AS started_us,
                MAX(EPOCH_US(COALESCE(finished_at, started_at))) AS known_us,
                MAX(event) AS event, MAX(branch) AS branch, MAX(change_id) AS change_id, MAX(workflow) AS workflow,
                MAX(change_title) AS change_title,
                {_author("MAX(author_id)", context)} AS author_id
            FROM runs GROUP BY run_id)
        """,
    )


def _author(value: str, context: Context) -> str:
    """Null for everyone where features must not look at authors."""
    return value if context.author_features else "CAST(NULL AS VARCHAR)"


def _change_key(branch: str, change_id: str) -> str:
    return f"COALESCE({change_id}, CASE WHEN LOWER({branch}) NOT IN {TRUNKS} THEN {branch} END)"


def _store_run_results(engine: Engine, context: Context) -> None:
    engine.store(
        "run_result",
        f"""
        SELECT r.run_no, r.known_us, r.change_key, r.author_id, c.results, c.failures,
            c.failures > {context.outage_share} * c.results AS is_outage
        FROM run_count AS c JOIN run AS r ON r.run_no = c.run_no
        """,
    )


def _draw_runs(engine: Engine, queries: Queries) -> bool:
    limits = _within(queries.interval)
    if queries.as_of is not None:
        limits.append(f"r.known_us <= {_us(queries.as_of)}")
    runs = engine.fetch(
        f"""
        SELECT r.run_no, r.run_id, o.results, o.failures > 0 AND NOT o.is_outage AS is_telling
        FROM run AS r JOIN run_result AS o ON o.run_no = r.run_no WHERE {" AND ".join(limits)}
        """
    )
    drawn = drawn_runs(runs, queries.max_rows)
    if drawn is None:
        return False
    engine.register_frame("drawn_run", drawn)
    return True


def _store_training_runs(engine: Engine, interval: Interval, is_drawn: bool) -> None:
    limits = _within(interval) + ["r.run_no IN (SELECT run_no FROM drawn_run)"] * is_drawn
    engine.store(
        "query_run",
        f"""
        SELECT CAST(ROW_NUMBER() OVER (ORDER BY r.run_no) AS INTEGER) AS query_no, r.run_no, r.run_id, r.started_us,
            r.known_us, r.started_us AS at_us, r.event, r.branch, r.workflow, r.change_key, r.change_title, r.author_id
        FROM run AS r WHERE {" AND ".join(limits)}
        """,
    )
    _store_training_files(engine)


def _within(interval: Interval) -> list[str]:
    limits = [f"r.started_us >= {_us(interval.start)}"] if interval.start else []
    limits += [f"r.started_us < {_us(interval.end)}"] if interval.end else []
    return limits or ["TRUE"]


def _store_finished_runs(engine: Engine, queries: Queries) -> None:
    """Runs with a failure, in the order of becoming known: the moment of the question, in place of their start."""
    limits = _within(queries.interval)
    if queries.as_of is not None:
        limits.append(f"r.known_us <= {_us(queries.as_of)}")
    if queries.runs is not None:
        engine.register_frame("given_run", pa.table({"run_id": pa.array(list(queries.runs["run_id"]), pa.string())}))
        limits.append("r.run_id IN (SELECT run_id FROM given_run)")
    engine.store(
        "query_run",
        f"""
        SELECT CAST(ROW_NUMBER() OVER (ORDER BY r.known_us, r.run_id) AS INTEGER) AS query_no, r.run_no, r.run_id,
            r.known_us AS started_us, CAST(NULL AS BIGINT) AS known_us, r.known_us AS at_us, r.event, r.branch,
            r.workflow, r.change_key, r.change_title, r.author_id
        FROM run AS r JOIN run_result AS o ON o.run_no = r.run_no AND o.failures > 0
        WHERE {" AND ".join(limits)}
        """,
    )


def _store_training_files(engine: Engine) -> None:
    engine.store(
        "query_file",
        """
        SELECT q.query_no, c.path, MAX(c.added) AS added, MAX(c.deleted) AS deleted
        FROM changed AS c JOIN query_run AS q ON q.run_id = c.run_id GROUP BY q.query_no, c.path
        """,
    )


def _store_given_runs(engine: Engine, queries: Queries, context: Context) -> None:
    after = _us(queries.as_of or EPOCH) + 1
    engine.register_frame("given_run", _given_runs(queries, after))
    engine.register_frame("given_file", _given_files(queries))
    engine.store(
        "query_run",
        f"""
        SELECT CAST(ROW_NUMBER() OVER (ORDER BY started_us, run_id) AS INTEGER) AS query_no,
            CAST(NULL AS INTEGER) AS run_no, run_id, started_us, CAST(NULL AS BIGINT) AS known_us,
            LEAST(started_us, {after}) AS at_us, event, branch, workflow,
            {_change_key("branch", "change_id")} AS change_key, change_title, author_id
        FROM (
            SELECT g.run_id, g.started_us, COALESCE(g.event, r.event) AS event, COALESCE(g.branch, r.branch) AS branch,
                COALESCE(g.change_id, r.change_id) AS change_id,
                COALESCE(g.workflow, r.workflow) AS workflow,
                COALESCE(g.change_title, r.change_title) AS change_title,
                {_author("COALESCE(g.author_id, r.author_id)", context)} AS author_id
            FROM given_run AS g LEFT JOIN run AS r ON r.run_id = g.run_id)
        """,
    )
    source = "changed" if queries.changed_files is None else "given_file"
    engine.store(
        "query_file",
        f"""
        SELECT q.query_no, c.path, MAX(c.added) AS added, MAX(c.deleted) AS deleted
        FROM {source} AS c JOIN query_run AS q ON q.run_id = c.run_id
        WHERE q.run_id <> '{NEXT_RUN}' GROUP BY q.query_no, c.path
        """,
    )


def _store_alive_queries(engine: Engine, context: Context) -> None:
    """Tests executed in the latest runs of their variant, as known before each given run starts."""
    engine.store(
        "variant_last", "SELECT variant_no, known_us, MAX(n) AS n FROM variant_run GROUP BY variant_no, known_us"
    )
    engine.store(
        "series_last",
        """
        SELECT e.series_no, e.known_us, MAX(v.n) AS n
        FROM execution AS e
        JOIN series AS s ON s.series_no = e.series_no
        JOIN variant_run AS v ON v.variant_no = s.variant_no AND v.run_no = e.run_no
        GROUP BY e.series_no, e.known_us
        """,
    )
    engine.store(
        "asked",
        "SELECT q.query_no, q.at_us, s.series_no, s.variant_no, s.test_no FROM query_run AS q CROSS JOIN series AS s",
    )
    engine.store("asked_variant", "SELECT DISTINCT query_no, at_us, variant_no FROM asked")
    engine.store(
        "query",
        f"""
        SELECT t.query_no, t.at_us, t.series_no, COALESCE(l.lineage_no, t.series_no) AS lineage_no, t.variant_no,
            t.test_no, CAST(NULL AS INTEGER) AS failed, CAST(NULL AS DOUBLE) AS duration_s
        FROM (SELECT q.*, f.n FROM {engine.latest_before("series_last", "asked", ["series_no"])}) AS t
        JOIN (SELECT q.*, f.n FROM {engine.latest_before("variant_last", "asked_variant", ["variant_no"])}) AS v
            ON v.query_no = t.query_no AND v.variant_no = t.variant_no
        {lineage.joined_before("test_lineage", "series_no", "t.series_no", "t.at_us")}
        WHERE v.n - t.n < {context.alive_runs}
        """,
    )


def _given_runs(queries: Queries, after_us: int) -> pa.Table:
    """The given runs and the next one, with null where the caller knows nothing."""
    given = queries.runs if queries.runs is not None else pd.DataFrame({"run_id": [], "started_at": []})
    started = [_us(moment) for moment in given["started_at"]]
    columns = {"run_id": [*given["run_id"], NEXT_RUN], "started_us": [*started, after_us]}
    for name in DESCRIPTION:
        values = list(given[name]) if name in given else [None] * len(given)
        columns[name] = [value if isinstance(value, str) else None for value in values] + [None]
    types = [
        pa.field("started_us", pa.int64()) if name == "started_us" else pa.field(name, pa.string()) for name in columns
    ]
    return pa.table(columns, schema=pa.schema(types))


def _given_files(queries: Queries) -> pa.Table:
    schema = pa.schema([("run_id", pa.string()), ("path", pa.string()), ("added", pa.int64()), ("deleted", pa.int64())])
    if queries.changed_files is None:
        return schema.empty_table()
    return pa.Table.from_pandas(queries.changed_files[schema.names], schema=schema, preserve_index=False)


def _us(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)
