"""How a test behaved before: counts, rates, decays, streaks, age and durations per (variant, test_id).

A renamed test keeps its history: all is counted per lineage (`ml.features.lineage`).

Form: one running state per execution, numbered by when it became known; each query takes the state after the
latest execution known strictly before it. Everything that is summed is an integer, so that no result depends on
the order or on the number of later rows.
"""

from ml.features.assembly import Part
from ml.features.lineage import joined
from ml.features.queries import Engine

DAY_US = 86_400_000_000
BLOCK = {"ewma": 128, "slow_ewma": 512}
KEEP = {"ewma": 0.8, "slow_ewma": 0.95}
SCALE = 2.0**60

PARTS = (
    Part(
        key="series_no",
        source="history AS h",
        at="h",
        columns={
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
        },
    ),
)


def prepare(engine: Engine) -> None:
    """Create ``history`` (a row per query, with the state it may see) and ``failure`` (a row per failed execution)."""
    _store_states(engine)
    _store_failures(engine)
    _store_history(engine)


def _store_states(engine: Engine) -> None:
    """``state``: what each execution leaves behind, numbered n = 1, 2, ... in the order of becoming known.

    Counts without a running sum: a row's number among the rows of its series with the same outcome, which only needs
    a sort. ``failures`` and ``flips`` (changes of outcome) are counted so, windows are differences of them, and as
    flips take turns, new failures less recoveries are the last outcome less the first.
    """
    order = "PARTITION BY lineage_no ORDER BY known_us, run_no, series_no"
    engine.store(
        "numbered",
        f"""
        SELECT *, CASE WHEN previous = 0 THEN failed END AS new_failure,
            CASE WHEN previous = 1 THEN 1 - failed END AS recovery,
            CASE WHEN failed = 1 THEN nth ELSE n - nth END AS failures
        FROM (
            SELECT lineage_no, series_no, run_no, known_us, failed, duration_ms,
                CAST(ROW_NUMBER() OVER ({order}) AS INTEGER) AS n,
                CAST(ROW_NUMBER() OVER (PARTITION BY lineage_no, failed ORDER BY known_us, run_no, series_no)
                    AS INTEGER) AS nth,
                LAG(failed) OVER ({order}) AS previous,
                COALESCE(LEAD(known_us) OVER ({order}) > known_us, TRUE) AS is_latest,
                FIRST_VALUE(known_us) OVER ({order}) AS first_us, FIRST_VALUE(failed) OVER ({order}) AS first_failed,
                AVG(duration_ms) OVER ({order} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS mean_duration_ms
            FROM (SELECT e.*, COALESCE(l.lineage_no, e.series_no) AS lineage_no
                  FROM execution AS e {joined("test_lineage", "series_no", "e.series_no", "e.known_us")}))
        """,
    )
    flip = "CASE WHEN failed <> previous THEN 1 ELSE 0 END"
    engine.store(
        "flipped",
        f"""
        SELECT lineage_no, n, failed, failures, first_failed, CASE WHEN is_flip = 1 THEN nth ELSE n - nth END AS flips
        FROM (SELECT *, CAST(ROW_NUMBER() OVER (PARTITION BY lineage_no, is_flip ORDER BY n) AS INTEGER) AS nth
              FROM (SELECT lineage_no, n, failed, failures, first_failed, {flip} AS is_flip FROM numbered))
        """,
    )
    ago = "OVER (PARTITION BY lineage_no ORDER BY n)"
    engine.store(
        "rates",
        f"""
        SELECT lineage_no, n, {_rate("failures", "n")} AS failure_rate,
            {_rate("failures - failures_5", "LEAST(n, 5)")} AS failure_rate_5,
            {_rate("failures - failures_10", "LEAST(n, 10)")} AS failure_rate_10,
            {_rate("failures - failures_30", "LEAST(n, 30)")} AS failure_rate_30,
            {_rate("flips - flips_20", "LEAST(n - 1, 20)")} AS flip_rate_20,
            {_rate("new_failures", "passes")} AS new_failure_rate,
            {_rate("new_failures - new_failures_30", "passes - passes_30")} AS new_failure_rate_30,
            {_rate("flips - new_failures", "failures - failed")} AS recovery_rate
        FROM (
            SELECT *, {_new_failures("flips", "failed")} AS new_failures, n - 1 - failures + failed AS passes,
                CASE WHEN n > 30 THEN {_new_failures("flips_30", "failed_30")} ELSE 0 END AS new_failures_30,
                CASE WHEN n > 30 THEN n - 31 - failures_30 + failed_30 ELSE 0 END AS passes_30
            FROM (
                SELECT *, LAG(failures, 5, 0) {ago} AS failures_5, LAG(failures, 10, 0) {ago} AS failures_10,
                    LAG(failures, 30, 0) {ago} AS failures_30, LAG(flips, 20, 0) {ago} AS flips_20,
                    LAG(flips, 30, 0) {ago} AS flips_30, LAG(failed, 30, 0) {ago} AS failed_30
                FROM flipped))
        """,
    )


def _rate(part: str, whole: str) -> str:
    return f"({part}) / CAST(NULLIF({whole}, 0) AS DOUBLE)"


def _new_failures(flips: str, failed: str) -> str:
    """How many of the flips so far were failures; the sum is even, so halving it is exact."""
    return f"CAST(({flips} + {failed} - first_failed) / 2 AS INTEGER)"


def _store_history(engine: Engine) -> None:
    """Which state a query may see is found with numbers alone; only then the state is joined."""
    latest = "(SELECT lineage_no, known_us, n FROM numbered WHERE is_latest)"
    engine.store("query_7d", f"SELECT query_no, series_no, lineage_no, at_us - {7 * DAY_US} AS at_us FROM query")
    for name, queries in (("before", "query"), ("before_7d", "query_7d")):
        engine.store(
            name,
            "SELECT q.query_no, q.series_no, q.lineage_no, f.n "
            f"FROM {engine.latest_before(latest, queries, ['lineage_no'])}",
        )
    averages = ", ".join(f"COALESCE(l.{name} * POWER({keep}, s.n - l.n), 0) AS {name}" for name, keep in KEEP.items())
    engine.store(
        "history",
        f"""
        SELECT b.query_no, b.series_no, q.at_us, s.known_us, s.failed, s.duration_ms, s.n, s.first_us, s.failures,
            s.mean_duration_ms, r.failure_rate, r.failure_rate_5, r.failure_rate_10, r.failure_rate_30,
            r.flip_rate_20, r.new_failure_rate, r.new_failure_rate_30, r.recovery_rate, w.n AS n_before_7d,
            w.failures AS failures_before_7d, l.n AS failure_n, l.known_us AS failure_us, l.streak, {averages}
        FROM before AS b
        JOIN query_run AS q ON q.query_no = b.query_no
        LEFT JOIN numbered AS s ON s.lineage_no = b.lineage_no AND s.n = b.n
        LEFT JOIN rates AS r ON r.lineage_no = b.lineage_no AND r.n = b.n
        JOIN before_7d AS d ON d.query_no = b.query_no AND d.series_no = b.series_no
        LEFT JOIN numbered AS w ON w.lineage_no = d.lineage_no AND w.n = d.n
        LEFT JOIN failure AS l ON l.lineage_no = s.lineage_no AND l.nth = s.failures
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
        "SELECT lineage_no, run_no, known_us, n, failures AS nth, "
        "ROW_NUMBER() OVER (PARTITION BY lineage_no, n - failures ORDER BY n) AS streak FROM numbered WHERE failed = 1",
    )
    for name in KEEP:
        engine.store(f"failure_{name}", _block_sums(name))
        engine.store(
            f"block_{name}",
            f"SELECT lineage_no, block, MAX(total) AS total FROM failure_{name} GROUP BY lineage_no, block",
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
    weight = f"CAST(POWER({1 / KEEP[name]!r}, place) * {SCALE!r} AS DECIMAL(38, 0))"
    return f"""
        SELECT lineage_no, n, block, place, SUM({weight})
            OVER (PARTITION BY lineage_no, block ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS total
        FROM (SELECT lineage_no, n, {place} AS place, (n - 1 - {place}) / {BLOCK[name]} AS block FROM failure_place)
        """


def _average_joins(name: str) -> str:
    return (
        f"JOIN failure_{name} AS f_{name} ON f_{name}.lineage_no = p.lineage_no AND f_{name}.n = p.n "
        f"LEFT JOIN block_{name} AS b_{name} ON b_{name}.lineage_no = p.lineage_no "
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
        SELECT {key}, lineage_no, known_us, SUM(failures) OVER (PARTITION BY {key}, lineage_no ORDER BY known_us
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS failures
        FROM (SELECT r.{key}, p.lineage_no, p.known_us, COUNT(*) AS failures
              FROM failure_place AS p JOIN run_result AS r ON r.run_no = p.run_no
              WHERE r.{key} IS NOT NULL AND {among} GROUP BY r.{key}, p.lineage_no, p.known_us)
        """,
    )
    engine.store(
        f"{name}_query",
        f"""
        SELECT q.query_no, q.at_us, q.series_no, q.lineage_no, r.{key}
        FROM query AS q JOIN query_run AS r ON r.query_no = q.query_no
        JOIN (SELECT DISTINCT {key}, lineage_no FROM {name}_failure) AS k
            ON k.{key} = r.{key} AND k.lineage_no = q.lineage_no
        """,
    )
    engine.store(
        f"{name}_failure_before",
        "SELECT q.query_no, q.series_no, f.failures "
        f"FROM {engine.latest_before(f'{name}_failure', f'{name}_query', [key, 'lineage_no'])} "
        "WHERE f.failures IS NOT NULL",
    )
