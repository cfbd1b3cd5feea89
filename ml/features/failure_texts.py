"""What the texts of failures tell: whether they read alike, by their fingerprints, and whether they blame surroundings.

A test that fails with the same text again and again is broken or has one weakness; one text in many tests of a run has
one cause for all of them. Reports tell texts, outcomes alone do not: every feature is null where none is told.
Attempts of a run are merged; of several texts of a test the one that sorts last counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ml.features.assembly import Named, Part, Rows
from ml.features.queries import Engine
from ml.features.sequences import Facts, Moments, Values

# Kinds of failures that speak of what surrounds a test.
SURROUNDINGS = ("timeout", "network", "resource")

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


@dataclass(frozen=True)
class Told:
    """Failures with a text, those of a lineage together and in the order of becoming known.

    Attributes:
        facts: The failures, by lineage.
        states: repeated_failure_rate, environment_failure_rate and last_failure_alike_count right after each, and NaN
            after the last.
    """

    facts: Facts
    states: Mapping[str, Values]

    def features(self, rows: Rows) -> Named:
        """Name and value of each row asked for, NaN where no text is told of its test."""
        found = self.facts.latest(rows["lineage_no"], rows["before"])
        for name, values in self.states.items():
            yield name, values[found]


def told(engine: Engine, texts: pa.Table, moments: Moments) -> Told:
    """What failures told: `texts` of `ml.features.results`. The tables of `facts` and ``failure_place`` are there."""
    _store_told(engine, texts)
    running = "OVER (PARTITION BY lineage_no ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    found = engine.fetch(
        f"""
        SELECT lineage_no, run_no, alike AS last_failure_alike_count,
            SUM(is_repeat) {running} / CAST(COUNT(*) {running} AS DOUBLE) AS repeated_failure_rate,
            SUM(environment) {running} / CAST(COUNT(*) {running} AS DOUBLE) AS environment_failure_rate
        FROM (SELECT *, CASE WHEN ROW_NUMBER() OVER (PARTITION BY lineage_no, text_no ORDER BY n) > 1
                  THEN 1 ELSE 0 END AS is_repeat FROM told)
        ORDER BY lineage_no, n
        """
    )
    codes = moments.codes(found.pop("lineage_no").to_numpy(), moments.place[found.pop("run_no").to_numpy(np.int64) - 1])
    states = {str(name): np.append(found[name].to_numpy(np.float64), np.nan) for name in found}
    return Told(Facts.of(moments, codes), states)


def prepare_own(engine: Engine, texts: pa.Table) -> None:
    """Create the table that `OWN_PARTS` name, for failures that are asked about when their run is known."""
    _store_told(engine, texts)
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


def _store_told(engine: Engine, texts: pa.Table) -> None:
    """``told``: failures with a text: its number, the test's next execution, other tests of the run that read alike.

    The numbers of texts depend on all of them; only whether two are equal counts.
    """
    engine.register_frame("result_text", texts)
    engine.store(
        "failure_text",
        f"""
        SELECT t.series_no, s.test_no, t.run_no, MAX(t.fingerprint) AS fingerprint,
            MAX(CASE WHEN t.kind IN {SURROUNDINGS} THEN 1 ELSE 0 END) AS environment
        FROM result_text AS t JOIN series AS s ON s.series_no = t.series_no
        GROUP BY t.series_no, s.test_no, t.run_no
        """,
    )
    engine.store(
        "told",
        """
        SELECT n.lineage_no, n.series_no, n.run_no, n.known_us, n.n, n.next_failed, n.next_us,
            f.environment, a.text_no, a.tests - 1 AS alike
        FROM failure_text AS f
        JOIN (SELECT run_no, fingerprint, COUNT(DISTINCT test_no) AS tests,
                  CAST(DENSE_RANK() OVER (ORDER BY fingerprint) AS INTEGER) AS text_no
              FROM failure_text GROUP BY run_no, fingerprint) AS a
            ON a.run_no = f.run_no AND a.fingerprint = f.fingerprint
        JOIN failure_place AS n ON n.series_no = f.series_no AND n.run_no = f.run_no
        """,
    )
