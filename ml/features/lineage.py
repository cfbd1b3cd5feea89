"""Which names are one test, and which paths one file: what was renamed or moved keeps its history.

A lineage is what stays one test (or file) under changing names; it has the number of its first name. Tables made here,
for names that have a predecessor only: ``test_lineage`` (series_no, lineage_no) and ``file_lineage`` (path_no,
lineage_no), each with the moments ``from_us`` and ``until_us`` between which the name stands for that lineage; else it
stands for itself. A fact belongs to what its name stood for when it became known, for good; a question belongs to what
its name stands for by what was known strictly before. So later runs change no earlier row.

A test inherits in the first run that executed it, from the only test that
(1) ran in the last `RECENT_RUNS` runs of its variant, and in no run together with the new one;
(2) has the same title in another package of the same variant; or is the same test on another variant, which took part
in that run without it (moved to another job); and
(3) left its history to nobody before. Once both run in one run they are two tests, and the new one starts over.

A file inherits in the first run that touched its path, from the only path of the same file name which the change
deletes (or renames: its lines are null), and which left its history to nobody before.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.features import names
from ml.features.merged import Merged
from ml.features.queries import Engine
from ml.features.sequences import Facts, Moments, Numbers

RECENT_RUNS = 5
ALWAYS = 2**62  # microseconds: no moment comes later
Piece = tuple[int, int, int]
# Only one candidate, and the only one to claim it: the first claim counts, and two at once are none.
ONLY_CLAIM = """
    SELECT heir, before, since_us, until_us FROM (
        SELECT *, MIN(since_us) OVER (PARTITION BY before) AS first_us,
            COUNT(*) OVER (PARTITION BY before, since_us) AS claims
        FROM (SELECT *, COUNT(*) OVER (PARTITION BY heir) AS candidates FROM {candidates}) AS c
        WHERE candidates = 1) AS d
    WHERE since_us = first_us AND claims = 1
    """


@dataclass(frozen=True)
class Lines:
    """What the names of tests stood for, from one place in the order of becoming known to before another.

    Attributes:
        facts: The spans, by name and first place.
        until: Place.
        lineage_no: Of each span.
    """

    facts: Facts
    until: Numbers
    lineage_no: Numbers

    @classmethod
    def read(cls, engine: Engine, moments: Moments) -> "Lines":
        """Those of ``test_lineage``."""
        spans = engine.fetch("SELECT series_no, from_us, until_us, lineage_no FROM test_lineage")
        name, since, until, line = (spans[column].to_numpy(np.int64) for column in spans)
        codes = moments.codes(name, moments.before(since))
        order = np.argsort(codes)
        return cls(Facts.of(moments, codes[order]), moments.before(until)[order], line[order])

    def of(self, names: Numbers, place: Numbers) -> Numbers:
        """What each name (series_no) stood for when the run of that place became known; `names` if all for themselves.

        A question, which sees what was known strictly before it, is asked with the place of the last run it may see.
        """
        if not len(self.until):
            return names
        found = names.copy()
        at = self.facts.latest(names, place + 1)
        heirs = np.flatnonzero(at >= 0)
        found[heirs] = np.where(place[heirs] < self.until[at[heirs]], self.lineage_no[at[heirs]], names[heirs])
        return found


def store_tests(engine: Engine, merged: Merged) -> None:
    """Create ``test_lineage``; the facts are there, and ``variant_run``."""
    _store_kin(engine)
    kin = engine.fetch("SELECT series_no FROM kin UNION SELECT before_no AS series_no FROM kin")
    merged.register(engine, "kin_execution", kin["series_no"].to_numpy())
    _store_candidates(engine)
    engine.register_frame(
        "test_lineage", lineage_table("series_no", engine.fetch(ONLY_CLAIM.format(candidates="test_candidate")))
    )


def store_files(engine: Engine) -> None:
    """Create ``file_lineage``, and ``change_file``: each path of each run; the facts and ``path_part`` are there."""
    engine.store(
        "change_file",
        """
        SELECT c.run_no, c.known_us, p.path_no, p.stem, p.suffix_no, p.folder_no, c.added, c.deleted
        FROM (SELECT r.run_no, r.known_us, c.path, MAX(c.added) AS added, MAX(c.deleted) AS deleted
              FROM changed AS c JOIN run AS r ON r.run_id = c.run_id GROUP BY r.run_no, r.known_us, c.path) AS c
        JOIN path_part AS p ON p.path = c.path
        """,
    )
    first = "SELECT *, MIN(known_us) OVER (PARTITION BY path_no) AS first_us FROM change_file"
    engine.store(
        "file_candidate",
        f"""
        SELECT DISTINCT n.path_no AS heir, o.path_no AS before, n.known_us AS since_us,
            {ALWAYS} AS until_us
        FROM ({first}) AS n
        JOIN ({first}) AS o ON o.run_no = n.run_no AND o.stem = n.stem AND o.suffix_no = n.suffix_no
        WHERE n.known_us = n.first_us AND o.first_us < n.first_us
            AND (o.added IS NULL AND o.deleted IS NULL OR o.added = 0 AND o.deleted > 0 AND n.deleted = 0)
        """,
    )
    engine.register_frame(
        "file_lineage", lineage_table("path_no", engine.fetch(ONLY_CLAIM.format(candidates="file_candidate")))
    )


def joined(table: str, key: str, fact: str, moment: str) -> str:
    """LEFT JOIN of the lineage ``l`` that a fact's name stood for when it became known."""
    return f"LEFT JOIN {table} AS l ON l.{key} = {fact} AND l.from_us <= {moment} AND {moment} < l.until_us"


def joined_before(table: str, key: str, asked: str, moment: str) -> str:
    """LEFT JOIN of the lineage ``l`` that a name stands for, by facts known strictly before the question."""
    return f"LEFT JOIN {table} AS l ON l.{key} = {asked} AND l.from_us < {moment} AND {moment} <= l.until_us"


def lineage_table(key: str, links: pd.DataFrame) -> pa.Table:
    """Columns `key`, lineage_no, from_us, until_us, out of links: heir, before, since_us, until_us.

    A predecessor may have one of its own; what it stood for, piece by piece, is what its heir stands for.
    """
    pieces: dict[int, list[Piece]] = {}
    ordered = links.sort_values("since_us", kind="stable")
    values = (ordered[name].astype("int64").tolist() for name in ("heir", "before", "since_us", "until_us"))
    for heir, before, since, until in zip(*values, strict=True):
        pieces[heir] = _inherited(pieces.get(before, []), before, since, until)
    rows = [(name, line, start, end) for name, found in pieces.items() for start, end, line in found]
    numbers, moments = (key, "lineage_no"), ("from_us", "until_us")
    types = pa.schema([*((name, pa.int32()) for name in numbers), *((name, pa.int64()) for name in moments)])
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, types.types, strict=True)], schema=types)


def _inherited(pieces: list[Piece], before: int, since: int, until: int) -> list[Piece]:
    """What `before` stands for from `since` until `until`: its pieces, and itself between and after them."""
    found = []
    at = since
    for start, end, line in pieces:
        if end > at and start < until:
            found += [(at, start, before)] if start > at else []
            found.append((max(start, at), min(end, until), line))
            at = min(end, until)
    return [*found, (at, until, before)] if at < until else found


def _store_kin(engine: Engine) -> None:
    """``kin``: new tests with those that they may have been before, by their names, and when their runs were."""
    tests = engine.fetch("SELECT DISTINCT test_no, test_id FROM series ORDER BY test_no")
    titles = [names.title_of(names.segments(test_id)) for test_id in tests["test_id"]]
    numbers = pa.array(names.numbers(titles), pa.int32())
    engine.register_frame(
        "test_title", pa.table({"test_no": pa.array(tests["test_no"], pa.int32()), "title_no": numbers})
    )
    engine.store(
        "born",
        """
        SELECT s.series_no, s.variant_no, s.test_no, t.title_no, e.first_us
        FROM (SELECT DISTINCT series_no, first_us FROM series_first) AS e
        JOIN series AS s ON s.series_no = e.series_no JOIN test_title AS t ON t.test_no = s.test_no
        """,
    )
    # The first run that is known bears all of its tests, and none of them had a name before.
    engine.store(
        "birth",
        """
        SELECT DISTINCT b.series_no, b.test_no, b.first_us, v.variant_no
        FROM born AS b
        JOIN series_first AS e ON e.series_no = b.series_no
        JOIN variant_run AS v ON v.run_no = e.run_no AND v.variant_no <> b.variant_no
        WHERE b.first_us > (SELECT MIN(first_us) FROM born)
        """,
    )
    engine.store(
        "kin",
        """
        SELECT n.series_no, n.first_us, o.series_no AS before_no, o.variant_no
        FROM born AS n JOIN born AS o ON o.variant_no = n.variant_no AND o.title_no = n.title_no
        WHERE o.first_us < n.first_us
        UNION ALL
        SELECT n.series_no, n.first_us, o.series_no AS before_no, o.variant_no
        FROM birth AS n JOIN born AS o ON o.variant_no = n.variant_no AND o.test_no = n.test_no
        WHERE o.first_us < n.first_us
        """,
    )


def _store_candidates(engine: Engine) -> None:
    """``test_candidate``: kin that ran lately and never together with the new test, up to its first run."""
    order = "PARTITION BY variant_no ORDER BY n"
    engine.store(
        "variant_recent",
        f"""
        SELECT variant_no, known_us, COALESCE(recent_us, first_us) AS recent_us
        FROM (SELECT *, LAG(known_us, {RECENT_RUNS - 1}) OVER ({order}) AS recent_us,
                  FIRST_VALUE(known_us) OVER ({order}) AS first_us,
                  COALESCE(LEAD(known_us) OVER ({order}) > known_us, TRUE) AS is_latest FROM variant_run)
        WHERE is_latest
        """,
    )
    engine.store("kin_key", "SELECT DISTINCT variant_no, first_us AS at_us FROM kin")
    engine.store(
        "kin_recent",
        f"""
        SELECT DISTINCT k.series_no, k.before_no, k.first_us
        FROM kin AS k
        JOIN (SELECT q.variant_no, q.at_us, f.recent_us
              FROM {engine.latest_before("variant_recent", "kin_key", ["variant_no"])}) AS v
            ON v.variant_no = k.variant_no AND v.at_us = k.first_us
        JOIN kin_execution AS e ON e.series_no = k.before_no AND e.known_us >= v.recent_us AND e.known_us < k.first_us
        """,
    )
    engine.store(
        "test_candidate",
        f"""
        SELECT k.series_no AS heir, k.before_no AS before, k.first_us AS since_us,
            COALESCE(t.together_us, {ALWAYS}) AS until_us
        FROM kin_recent AS k
        LEFT JOIN (
            SELECT k.series_no, k.before_no, MIN(e.known_us) AS together_us
            FROM kin_recent AS k
            JOIN kin_execution AS e ON e.series_no = k.series_no
            JOIN kin_execution AS o ON o.series_no = k.before_no AND o.run_no = e.run_no
            GROUP BY k.series_no, k.before_no) AS t ON t.series_no = k.series_no AND t.before_no = k.before_no
        WHERE t.together_us IS NULL OR t.together_us > k.first_us
        """,
    )
