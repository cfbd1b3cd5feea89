"""How a test relates to the change: its own file, shared words and packages, and failing together before.

Tables hold only pairs that have something in common; a row of results is never multiplied by the files of its run.
Features of files are null where no changed file is known, those of the title where none is, and 0 where nothing is
shared.
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.features import names
from ml.features.assembly import Named, Part, Rows
from ml.features.queries import Engine
from ml.features.sequences import Numbers

SIMILAR = 0.25

# A known change without a row shares nothing; a change without known files, or without a title, says nothing.
NOTHING = "CASE WHEN s.query_no IS NOT NULL THEN 0 END"
UNTOLD = "CASE WHEN c.change_title IS NOT NULL THEN 0 END"


def _pairs(table: str, key: str, absent: str = NOTHING, of: str = "query_no", **columns: str) -> Part:
    return Part(key=key, source=f"{table} AS p", at="p", columns=columns, absent=absent, of=of)


NAME_PARTS = (
    _pairs(
        "pair_file",
        "test_no",
        of="change_no",
        has_own_file="p.is_own",
        has_subject_file="p.is_subject",
        name_similarity_rate="p.similarity",
    ),
    _pairs("pair_module", "test_no", of="change_no", module_overlap_rate="p.overlap"),
    _pairs("pair_package", "package_no", of="change_no", package_depth="p.depth"),
    _pairs(
        "pair_package",
        "package_no",
        "(SELECT MIN(d.depths) FROM change_depth AS d WHERE d.query_no = c.query_no)",
        of="change_no",
        package_lead="p.lead",
    ),
)
# what `tree_features` are made of, and no feature itself
OF_THE_TREE = ("package_depth", "package_lead")
PARTS = (
    *NAME_PARTS,
    _pairs("title_names", "test_no", UNTOLD, title_names_test="p.is_named"),
)


def tree_features(rows: Rows) -> Named:
    """How far a test's package, `depths` folders deep, is from the change, of what `NAME_PARTS` tell."""
    yield "tree_distance_count", rows["depths"] + rows["package_lead"]
    yield "package_overlap_rate", rows["package_depth"] / rows["depths"]


def register_paths(engine: Engine, given: pd.DataFrame | None) -> None:
    """Create ``path_part`` and the word and prefix tables of every path in ``changed`` or in the `given` files."""
    paths = engine.fetch("SELECT DISTINCT path FROM changed")["path"]
    parts = names.path_parts([*paths, *([] if given is None else given["path"])])
    engine.register_frame("path_part", parts)
    numbered = dict(zip(parts["path_no"].to_pylist(), parts["path"].to_pylist(), strict=True))
    engine.register_frame("path_word", names.word_table("path_no", numbered))
    engine.register_frame(
        "stem_word", names.word_table("path_no", {no: names.stem_of(p) for no, p in numbered.items()})
    )
    engine.register_frame(
        "path_prefix", names.prefix_table("path_no", {no: names.package_of(p) for no, p in numbered.items()})
    )
    modules = dict(zip(parts["module_no"].to_pylist(), map(names.module_of, numbered.values()), strict=True))
    engine.register_frame(
        "module_word", names.word_table("module_no", {no: m.rpartition("/")[2] for no, m in modules.items()})
    )


def register_titles(engine: Engine) -> None:
    """Create ``change_word`` and ``change_name``: the words and the identifiers of the title of each run asked for."""
    titles = engine.fetch("SELECT query_no, change_title FROM query_run WHERE change_title IS NOT NULL")
    numbered = dict(zip(titles["query_no"].tolist(), titles["change_title"], strict=True))
    engine.register_frame("change_word", names.word_table("query_no", numbered))
    found = [(number, name) for number, title in numbered.items() for name in names.identifiers(title)]
    columns = zip(*found, strict=True) if found else ([], [])
    arrays = [pa.array(column, kind) for column, kind in zip(columns, (pa.int32(), pa.string()), strict=True)]
    engine.register_frame("change_name", pa.table(arrays, names=["query_no", "name"]))


def register_tests(engine: Engine) -> None:
    """Create the word, name and package tables of every test that has a result."""
    tests = engine.fetch("SELECT DISTINCT test_no, test_id FROM series ORDER BY test_no")
    numbered = dict(zip(tests["test_no"].tolist(), tests["test_id"], strict=True))
    parts = {number: names.segments(test_id) for number, test_id in numbered.items()}
    engine.register_frame("test_word", names.word_table("test_no", numbered))
    engine.register_frame("title_word", names.word_table("test_no", {no: names.title_of(p) for no, p in parts.items()}))
    engine.register_frame("test_name", names.name_table(parts))
    packages = {number: "/".join(found[:-1]) for number, found in parts.items()}
    package_no = {package: number for number, package in enumerate(sorted(set(packages.values())))}
    engine.register_frame("package_prefix", names.prefix_table("package_no", {no: p for p, no in package_no.items()}))
    rows = [(number, package_no[package], package.count("/") + 1) for number, package in packages.items()]
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    arrays = [pa.array(column, pa.int32()) for column in columns]
    engine.register_frame("test_package", pa.table(arrays, names=["test_no", "package_no", "depths"]))


def prepare_names(engine: Engine) -> None:
    """Create ``path_pair`` and ``module_pair``: what the names of paths and tests have in common."""
    _store_path_pairs(engine)
    _store_module_pairs(engine)


def prepare(engine: Engine) -> None:
    """Create the tables that `PARTS` name; what `prepare_names` makes is there."""
    prepare_pairs(engine)
    _store_named_tests(engine)


def prepare_pairs(engine: Engine) -> None:
    """Create the tables that `NAME_PARTS` name: what names tell, without any history.

    It depends on nothing but which files changed, and is told once for all runs of the same files.
    """
    _register_changes(engine)
    _store_file_pairs(engine)
    _store_folder_pairs(engine)


def changes_of(engine: Engine, count: int) -> Numbers:
    """change_no of each of `count` runs asked for, 0 where no changed file is known; `prepare_pairs` went before."""
    found = engine.fetch("SELECT query_no, change_no FROM change_set")
    change_no = np.zeros(count, np.int64)
    change_no[found["query_no"].to_numpy(np.int64) - 1] = found["change_no"]
    return change_no


def _register_changes(engine: Engine) -> None:
    """``change_set``: the set of changed files of each run, equal ones with one number; ``set_file``: its files."""
    found = engine.fetch("SELECT query_no, path_no FROM touched_file ORDER BY query_no, path_no")
    query_no, path_no = found["query_no"].to_numpy(np.int64), found["path_no"].to_numpy(np.int64)
    start = np.flatnonzero(np.diff(query_no, prepend=-1))
    sets = np.split(path_no, start[1:])
    numbers = np.array(names.numbers(files.tobytes() for files in sets if len(files)), np.int64)
    columns = {"query_no": pa.array(query_no[start], pa.int32()), "change_no": pa.array(numbers + 1, pa.int32())}
    engine.register_frame("change_set", pa.table(columns))
    engine.store(
        "set_file",
        """
        SELECT c.change_no, t.path_no, t.module_no
        FROM (SELECT change_no, MIN(query_no) AS query_no FROM change_set GROUP BY change_no) AS c
        JOIN touched_file AS t ON t.query_no = c.query_no
        """,
    )


def _store_path_pairs(engine: Engine) -> None:
    """``path_pair``: the file is the test's own, its subject's, or has a name of the same words (Jaccard index)."""
    engine.store(
        "path_pair",
        f"""
        SELECT test_no, path_no, MAX(is_own) AS is_own, MAX(is_subject) AS is_subject, MAX(similarity) AS similarity
        FROM (
            SELECT t.test_no, p.path_no, 1 AS is_own, 0 AS is_subject, 0.0 AS similarity
            FROM test_name AS t JOIN path_part AS p ON p.stem = t.name
            UNION ALL
            SELECT t.test_no, p.path_no, 0, 1, 0.0
            FROM test_name AS t JOIN path_part AS p ON p.subject = t.subject AND p.stem <> t.name
            UNION ALL
            SELECT test_no, path_no, 0, 0, similarity FROM (
                SELECT t.test_no, p.path_no,
                    COUNT(*) / CAST(MAX(t.words) + MAX(p.words) - COUNT(*) AS DOUBLE) AS similarity
                FROM title_word AS t JOIN stem_word AS p ON p.word = t.word GROUP BY t.test_no, p.path_no)
            WHERE similarity >= {SIMILAR})
        GROUP BY test_no, path_no
        """,
    )


def _store_module_pairs(engine: Engine) -> None:
    """``module_pair``: share of the words of a module's name."""
    engine.store(
        "module_pair",
        """
        SELECT m.module_no, t.test_no, COUNT(*) / CAST(MAX(m.words) AS DOUBLE) AS overlap
        FROM module_word AS m JOIN test_word AS t ON t.word = m.word GROUP BY m.module_no, t.test_no
        """,
    )


def _store_file_pairs(engine: Engine) -> None:
    """``pair_file``: ``path_pair`` of any file of the change."""
    engine.store(
        "pair_file",
        """
        SELECT f.change_no, p.test_no, MAX(p.is_own) AS is_own, MAX(p.is_subject) AS is_subject,
            MAX(p.similarity) AS similarity
        FROM set_file AS f JOIN path_pair AS p ON p.path_no = f.path_no GROUP BY f.change_no, p.test_no
        """,
    )


def _store_named_tests(engine: Engine) -> None:
    """``title_names``: tests that an identifier in the title names, or the names of what they test."""
    engine.store(
        "title_names",
        """
        SELECT DISTINCT n.query_no, t.test_no, 1 AS is_named
        FROM change_name AS n
        JOIN (SELECT test_no, name FROM test_name UNION SELECT test_no, subject FROM test_name) AS t ON t.name = n.name
        """,
    )


def _store_folder_pairs(engine: Engine) -> None:
    """``pair_package``: deepest shared package, and the way to it; ``pair_module``: share of the module's words.

    The way from one package to another leads up to what they share and down again; lead is its length less the depth
    of the test's package, over the nearest changed file that shares anything; ``change_depth`` is that of one that
    shares nothing.
    """
    engine.store(
        "set_depth",
        """
        SELECT f.change_no, MIN(COALESCE(x.depths, 0)) AS depths
        FROM set_file AS f LEFT JOIN path_prefix AS x ON x.path_no = f.path_no AND x.depth = 1
        GROUP BY f.change_no
        """,
    )
    engine.store(
        "change_depth",
        "SELECT c.query_no, d.depths FROM change_set AS c JOIN set_depth AS d ON d.change_no = c.change_no",
    )
    engine.store(
        "pair_package",
        """
        SELECT q.change_no, p.package_no, MAX(p.depth) AS depth,
            LEAST(MIN(q.depths - 2 * p.depth), MIN(c.depths)) AS lead
        FROM (SELECT f.change_no, x.prefix, MIN(x.depths) AS depths
              FROM set_file AS f JOIN path_prefix AS x ON x.path_no = f.path_no GROUP BY f.change_no, x.prefix) AS q
        JOIN package_prefix AS p ON p.prefix = q.prefix
        JOIN set_depth AS c ON c.change_no = q.change_no
        GROUP BY q.change_no, p.package_no
        """,
    )
    engine.store(
        "pair_module",
        """
        SELECT q.change_no, p.test_no, MAX(p.overlap) AS overlap
        FROM (SELECT DISTINCT change_no, module_no FROM set_file) AS q
        JOIN module_pair AS p ON p.module_no = q.module_no GROUP BY q.change_no, p.test_no
        """,
    )
