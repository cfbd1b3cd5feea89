"""How a test behaved before: counts, rates, decays, streaks, age and durations per (variant, test_id).

Form: one running state per execution, numbered by when it became known; each query takes the state after the
latest execution known strictly before it. Everything that is summed is an integer, so that no result depends on
the order or on the number of later rows.
"""

from ml.features.queries import Engine

DAY_US = 86_400_000_000
BLOCK = {"ewma": 128, "slow_ewma": 512}
KEEP = {"ewma": 0.8, "slow_ewma": 0.95}
SCALE = 2.0**60

COLUMNS = {
    "executions_count": "COALESCE(h.n, 0)",
    "failures_count": "COALESCE(h.failures, 0)",
    "failure_rate": "h.failure_rate",
    "failure_rate_last_5": "h.failure_rate_5",
    "failure_rate_last_10": "h.failure_rate_10",
    "failure_rate_last_30": "h.failure_rate_30",
    "ewma_failure_rate": "h.ewma",
    "slow_ewma_failure_rate": "h.slow_ewma",
    "is_failing": "h.failed",
    "failures_in_a_row_count": "CASE WHEN h.failed = 1 THEN h.streak ELSE 0 END",
    "executions_since_failure_count": "h.n - h.failure_n",
    "since_failure_s": "(h.at_us - h.failure_us) / 1e6",
    "since_execution_s": "(h.at_us - h.known_us) / 1e6",
    "age_s": "(h.at_us - h.first_us) / 1e6",
    "flip_rate_last_20": "h.flip_rate_20",
    "new_failure_rate": "h.new_failure_rate",
    "new_failure_rate_last_30": "h.new_failure_rate_30",
    "recovery_rate": "h.recovery_rate",
    "executions_since_new_failure_count": "h.n - h.failure_n + h.streak - 1",
    "executions_7d": "COALESCE(h.n, 0) - COALESCE(h.n_before_7d, 0)",
    "failures_7d": "COALESCE(h.failures, 0) - COALESCE(h.failures_before_7d, 0)",
    "mean_duration_s": "h.mean_duration_ms / 1e3",
    "last_duration_s": "h.duration_ms / 1e3",
    "duration_deviation_s": "(h.duration_ms - h.mean_duration_ms) / 1e3",
}


def prepare(engine: Engine) -> None:
    """Create ``history`` (a row per query, with the state it may see) and ``failure`` (a row per failed execution)."""
    _store_states(engine)
    _store_failures(engine)
    _store_history(engine)


def _store_states(engine: Engine) -> None:
    """``state``: what each execution leaves behind, numbered n = 1, 2, ... in the order of becoming known.

    A running AVG over 0/1 is an exact integer divided by an exact count, whatever rows follow.
    """
    order = "PARTITION BY series_no ORDER BY known_us, run_no"
    engine.store(
        "numbered",
        f"""
        SELECT series_no, known_us, failed, duration_ms, run_no, CAST(ROW_NUMBER() OVER ({order}) AS INTEGER) AS n,
            CASE WHEN failed <> LAG(failed) OVER ({order}) THEN 1 WHEN LAG(failed) OVER ({order}) IS NOT NULL THEN 0 END
                AS flip,
            CASE WHEN LAG(failed) OVER ({order}) = 0 THEN failed END AS new_failure,
            CASE WHEN LAG(failed) OVER ({order}) = 1 THEN 1 - failed END AS recovery,
            COALESCE(LEAD(known_us) OVER ({order}) > known_us, TRUE) AS is_latest,
            FIRST_VALUE(known_us) OVER ({order}) AS first_us
        FROM execution
        """,
    )
    windows = {
        "failure_rate": ("failed", "UNBOUNDED"),
        "failure_rate_5": ("failed", 4),
        "failure_rate_10": ("failed", 9),
        "failure_rate_30": ("failed", 29),
        "flip_rate_20": ("flip", 19),
        "new_failure_rate": ("new_failure", "UNBOUNDED"),
        "new_failure_rate_30": ("new_failure", 29),
        "recovery_rate": ("recovery", "UNBOUNDED"),
        "mean_duration_ms": ("duration_ms", "UNBOUNDED"),
    }
    means = ", ".join(
        f"AVG({value}) OVER (PARTITION BY series_no ORDER BY n ROWS BETWEEN {back} PRECEDING AND CURRENT ROW) AS {name}"
        for name, (value, back) in windows.items()
    )
    engine.store(
        "state",
        f"SELECT *, CAST(ROUND(failure_rate * n) AS INTEGER) AS failures FROM (SELECT *, {means} FROM numbered)",
    )


def _store_history(engine: Engine) -> None:
    engine.store("query_7d", f"SELECT query_no, series_no, at_us - {7 * DAY_US} AS at_us FROM query")
    counts = "(SELECT series_no, known_us, n, failures FROM state WHERE is_latest)"
    engine.store(
        "before_7d",
        "SELECT q.query_no, q.series_no, f.n, f.failures "
        f"FROM {engine.latest_before(counts, 'query_7d', ['series_no'])} WHERE f.n IS NOT NULL",
    )
    state = "(SELECT * FROM state WHERE is_latest)"
    averages = ", ".join(f"COALESCE(l.{name} * POWER({keep}, h.n - l.n), 0) AS {name}" for name, keep in KEEP.items())
    engine.store(
        "history",
        f"""
        SELECT h.*, b.n AS n_before_7d, b.failures AS failures_before_7d, l.n AS failure_n, l.known_us AS failure_us,
            l.streak, {averages}
        FROM (
            SELECT q.query_no, q.series_no, q.variant_no, q.test_no, q.at_us, q.failed AS outcome, q.duration_s,
                f.known_us, f.failed, f.duration_ms, f.n, f.first_us, f.failures, f.failure_rate, f.failure_rate_5,
                f.failure_rate_10, f.failure_rate_30, f.flip_rate_20, f.new_failure_rate, f.new_failure_rate_30,
                f.recovery_rate, f.mean_duration_ms
            FROM {engine.latest_before(state, "query", ["series_no"])}) AS h
        LEFT JOIN before_7d AS b ON b.query_no = h.query_no AND b.series_no = h.series_no
        LEFT JOIN failure AS l ON l.series_no = h.series_no AND l.nth = h.failures
        """,
    )


def _store_failures(engine: Engine) -> None:
    """Failed executions with their streak and both moving averages right after them.

    An average s <- keep s + (1 - keep) failed only decays between failures, so it is kept at failures alone. Powers of
    keep overflow over long histories: sums are taken inside blocks of executions, in fixed point, plus what the
    block before leaves; what older blocks leave is below 1e-11.
    """
    engine.store(
        "failure_place",
        "SELECT series_no, run_no, known_us, n, failures AS nth, "
        "ROW_NUMBER() OVER (PARTITION BY series_no, n - failures ORDER BY n) AS streak FROM state WHERE failed = 1",
    )
    for name in KEEP:
        engine.store(f"failure_{name}", _block_sums(name))
        engine.store(
            f"block_{name}",
            f"SELECT series_no, block, MAX(total) AS total FROM failure_{name} GROUP BY series_no, block",
        )
    engine.store(
        "failure",
        f"""
        SELECT p.*, {", ".join(_average(name, f"f_{name}", f"b_{name}") for name in KEEP)}
        FROM failure_place AS p {" ".join(_average_joins(name) for name in KEEP)}
        """,
    )


def _block_sums(name: str) -> str:
    place = f"MOD(n - 1, {BLOCK[name]})"
    weight = f"CAST(FLOOR(POWER({1 / KEEP[name]!r}, place) * {SCALE!r}) AS DECIMAL(38, 0))"
    return f"""
        SELECT series_no, n, block, place, SUM({weight})
            OVER (PARTITION BY series_no, block ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS total
        FROM (SELECT series_no, n, {place} AS place, (n - 1 - {place}) / {BLOCK[name]} AS block FROM failure_place)
        """


def _average_joins(name: str) -> str:
    return (
        f"JOIN failure_{name} AS f_{name} ON f_{name}.series_no = p.series_no AND f_{name}.n = p.n "
        f"LEFT JOIN block_{name} AS b_{name} ON b_{name}.series_no = p.series_no "
        f"AND b_{name}.block = f_{name}.block - 1 "
    )


def _average(name: str, own: str, before: str) -> str:
    keep, scale = KEEP[name], (1 - KEEP[name]) / SCALE
    return (
        f"{scale!r} * (POWER({keep}, {own}.place) * CAST({own}.total AS DOUBLE) + "
        f"COALESCE(POWER({keep}, {own}.place + {BLOCK[name]}) * CAST({before}.total AS DOUBLE), 0)) AS {name}"
    )


def store_failures_by(engine: Engine, name: str, key: str, among: str = "TRUE") -> None:
    """``<name>_failure_before``: failures of a test in known runs with the same `key`; only where there are some.

    Args:
        engine: With the tables of `facts` and of this module.
        name: What the key stands for; leads the names of the tables.
        key: Column of ``run_result`` and ``query_run``; runs without one are left out.
        among: Condition on the runs ``r`` (``run_result``) whose failures count.
    """
    engine.store(
        f"{name}_failure",
        f"""
        SELECT {key}, series_no, known_us, SUM(failures) OVER (PARTITION BY {key}, series_no ORDER BY known_us
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS failures
        FROM (SELECT r.{key}, p.series_no, p.known_us, COUNT(*) AS failures
              FROM failure_place AS p JOIN run_result AS r ON r.run_no = p.run_no
              WHERE r.{key} IS NOT NULL AND {among} GROUP BY r.{key}, p.series_no, p.known_us)
        """,
    )
    engine.store(
        f"{name}_query",
        f"""
        SELECT q.query_no, q.at_us, q.series_no, r.{key}
        FROM query AS q JOIN query_run AS r ON r.query_no = q.query_no
        JOIN (SELECT DISTINCT {key}, series_no FROM {name}_failure) AS k
            ON k.{key} = r.{key} AND k.series_no = q.series_no
        """,
    )
    engine.store(
        f"{name}_failure_before",
        "SELECT q.query_no, q.series_no, f.failures "
        f"FROM {engine.latest_before(f'{name}_failure', f'{name}_query', [key, 'series_no'])} "
        "WHERE f.failures IS NOT NULL",
    )
