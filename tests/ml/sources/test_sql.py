import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from psycopg2.extensions import parse_dsn
from pydantic import SecretStr

from ml.errors import SettingsError, SourceError
from ml.settings import Settings
from ml.sources import Known, Limits, Surroundings, configured, read_batch
from ml.sources.source import RunAttempt
from ml.sources.sql import Database, Options
from ml.spec import Interval
from ml.stages import collection, fetching
from tests.ml.sources.junit_builders import joined
from tests.postgres import PIPELINE_PASSWORD, Postgres, run_sql

LIMITS = Limits(10_000, "salt")
WORD = "hunter2"  # pragma: allowlist secret
MARCH = Interval(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
RUNS = "SELECT id AS run_id, began AS started_at, branch, 'Ada' AS who FROM builds"
RESULTS = "SELECT run_id, test AS test_id, outcome, seconds AS duration_s FROM cases"
FILES = "SELECT run_id, path, added FROM files"
SCHEMA = """
CREATE TABLE builds (id integer, began timestamptz, branch text);
CREATE TABLE cases (run_id integer, test text, outcome text, seconds numeric);
CREATE TABLE files (run_id integer, path text, added integer);
INSERT INTO builds VALUES (1, '2026-02-01T08:00:00Z', 'main'), (2, '2026-03-01T08:00:00Z', NULL),
  (3, '2026-03-02T08:00:00Z', 'x');
INSERT INTO cases VALUES (1, 'a', 'passed', 1.5), (2, 'a', 'failed', NULL), (2, 'b', 'passed', 0.25),
  (3, 'a', 'error', 2), (9, 'z', 'passed', 1);
INSERT INTO files VALUES (2, 'x.py', 3);
"""


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    file = tmp_path / "ci.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(SCHEMA)
    return file


@pytest.fixture
def tables(postgres: Postgres) -> str:
    """URL, without the password, of a PostgreSQL that holds the tables."""
    run_sql(postgres.admin_dsn, SCHEMA + "GRANT SELECT, DELETE ON builds, cases, files TO fourgate_pipeline")
    named = parse_dsn(postgres.pipeline_dsn)
    return f"postgresql+psycopg2://{named['user']}@/{named['dbname']}?host={quote_plus(named['host'])}"


def options(url: str, **changes: Any) -> Options:
    queries = {"runs": RUNS, "test_results": RESULTS, "changed_files": FILES}
    return Options.model_validate({"kind": "sql", "project": "shop", "url": url, **queries, **changes})


def collect(
    place: Path, told: Options, interval: Interval = MARCH, known: frozenset[RunAttempt] = frozenset(), secret: str = ""
) -> tuple[dict[str, list[list[Any]]], list[list[Any]]]:
    with Database(told, secret, Surroundings(place / "landing", LIMITS, Known(known))) as source:
        batches = list(source.fetch(interval))
    assert {(batch.source, batch.project) for batch in batches} <= {("sql", "shop")}
    parsed = [read_batch(batch, LIMITS) for batch in batches]
    if not parsed:
        return {}, []
    columns = {"runs": ["run_id", "branch"], "test_results": ["run_id", "test_id", "outcome", "duration_s"]}
    found = {}
    for name, wanted in {**columns, "changed_files": ["run_id", "path", "added"]}.items():
        frame = joined([one.frames[name] for one in parsed])[wanted].astype(object)
        found[name] = sorted(frame.where(frame.notna(), None).values.tolist(), key=str)
    return found, joined([one.refused for one in parsed])[["reason", "column", "value", "payload"]].values.tolist()


EXPECTED = {
    "runs": [["2", None], ["3", "x"]],
    "test_results": [["2", "a", "failed", None], ["2", "b", "passed", 0.25], ["3", "a", "error", 2.0]],
    "changed_files": [["2", "x.py", 3]],
}


def test_a_file_of_sqlite_gives_the_runs_of_the_interval_with_their_results(sqlite: Path, tmp_path: Path) -> None:
    assert collect(tmp_path, options(f"sqlite:///{sqlite}")) == (EXPECTED, [])


def test_postgresql_gives_the_same(tables: str, tmp_path: Path) -> None:
    assert collect(tmp_path, options(tables), secret=PIPELINE_PASSWORD) == (EXPECTED, [])


@pytest.mark.parametrize("began", ["began", "began AT TIME ZONE 'UTC'"])
def test_since_and_until_are_bound_where_they_appear(tables: str, tmp_path: Path, began: str) -> None:
    where = f" WHERE {began} >= :since AND {began} < :until"
    asked = options(tables, runs=RUNS.replace("began", began) + where, changed_files="")
    found, _ = collect(
        tmp_path, asked, Interval(MARCH.start, MARCH.start + timedelta(hours=8, seconds=1)), secret=PIPELINE_PASSWORD
    )
    assert found["runs"] == [["2", None]]
    found, _ = collect(tmp_path, asked, Interval(), secret=PIPELINE_PASSWORD)
    assert [row[0] for row in found["runs"]] == ["1", "2", "3"]


def test_since_and_until_compare_with_the_moments_of_sqlite(sqlite: Path, tmp_path: Path) -> None:
    where = " WHERE datetime(began) > :since AND datetime(began) <= :until"
    hour = timedelta(hours=8)
    span = Interval(MARCH.start + hour, MARCH.start + hour + timedelta(days=1, seconds=1))
    found, _ = collect(tmp_path, options(f"sqlite:///{sqlite}", runs=RUNS + where), span)
    assert found["runs"] == [["3", "x"]]


def test_known_attempts_do_not_land_again_and_nothing_new_is_no_batch(sqlite: Path, tmp_path: Path) -> None:
    asked = options(f"sqlite:///{sqlite}", changed_files="")
    found, _ = collect(tmp_path, asked, known=frozenset({("2", 1), ("3", 2)}))
    assert (found["runs"], found["test_results"]) == ([["3", "x"]], [["3", "a", "error", 2.0]])
    assert collect(tmp_path, asked, known=frozenset({("2", 1), ("3", 1), ("1", 1)})) == ({}, [])


def test_rows_that_cannot_be_read_are_refused_and_the_rest_lands(sqlite: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(sqlite)) as connection:
        connection.execute("INSERT INTO builds VALUES (4, 'soon', 'x'), (5, NULL, 'x'), (6, X'ff', 'x')")
        connection.execute("INSERT INTO cases VALUES (2, CAST(X'ff' AS TEXT), 'passed', 1), (2, 'c', 'passed', 'slow')")
        connection.commit()
    found, refused = collect(tmp_path, options(f"sqlite:///{sqlite}"))
    assert found == EXPECTED
    assert sorted(refused, key=str) == [
        ["missing_field", "started_at", None, "query runs"],
        ["not_a_number", "duration_s", "slow", "test_results.parquet"],
        ["not_a_timestamp", "started_at", "?", "query runs"],
        ["not_a_timestamp", "started_at", "soon", "query runs"],
        ["undecodable", "test_id", "(not readable)", "test_results.parquet"],
    ]


def test_a_query_that_changes_something_is_refused(
    tables: str, sqlite: Path, tmp_path: Path, postgres: Postgres
) -> None:
    deletes = "WITH gone AS (DELETE FROM builds RETURNING *) SELECT id AS run_id, began AS started_at FROM gone"
    with pytest.raises(SourceError, match="refuses: "):
        collect(tmp_path, options(tables, runs=deletes), secret=PIPELINE_PASSWORD)
    with pytest.raises(SourceError, match="readonly"):
        collect(tmp_path, options(f"sqlite:///{sqlite}", runs="DELETE FROM builds RETURNING id AS run_id"))
    assert collect(tmp_path, options(tables), secret=PIPELINE_PASSWORD)[0] == EXPECTED
    assert collect(tmp_path, options(f"sqlite:///{sqlite}"))[0] == EXPECTED


def test_a_missing_column_and_no_readable_run_are_told(sqlite: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{sqlite}"
    with pytest.raises(
        SourceError, match="the query 'test_results' needs one column 'outcome'; found: run_id, test_id"
    ):
        collect(tmp_path, options(url, test_results="SELECT run_id, test AS test_id FROM cases"))
    with pytest.raises(SourceError, match=r"no run of .* has a started_at that can be read: 'main'"):
        collect(tmp_path, options(url, runs="SELECT id AS run_id, 'main' AS started_at FROM builds"))


def test_a_wrong_password_or_file_is_told_without_the_password(tables: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="password authentication failed") as refused:
        collect(tmp_path, options(tables), secret="wrong %40 'word")
    assert "wrong" not in str(refused.value)
    with pytest.raises(SourceError, match=r"names no file; right would be sqlite:////folder/file\.db"):
        collect(tmp_path, options("sqlite:///gone.db"))
    assert not Path("gone.db").exists()


def test_an_error_that_quotes_the_password_does_not_show_it(sqlite: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as refused:
        collect(tmp_path, options(f"sqlite:///{sqlite}", runs="SELECT hunter2 AS run_id"), secret=WORD)
    assert "hunter2" not in str(refused.value)
    assert "no such column: ***" in str(refused.value)


def test_a_test_says_what_runs_and_how_much_there_is(tables: str, tmp_path: Path) -> None:
    told = options(tables, test_results="SELECT nothing", changed_files=FILES + ";", runs=RUNS + ";")
    with Database(told, PIPELINE_PASSWORD, Surroundings(tmp_path, LIMITS)) as source:
        findings = [(finding.subject, finding.is_ok, finding.detail) for finding in source.test()]
    assert [(subject, is_ok) for subject, is_ok, _ in findings] == [
        ("connection", True),
        ("query runs", True),
        ("query test_results", False),
        ("query changed_files", True),
        ("history", True),
    ]
    assert findings[1][2] == "gives run_id, started_at, branch"
    assert findings[4][2] == "3 runs from 2026-02-01 08:00:00+00:00 to 2026-03-02 08:00:00+00:00"


def test_a_database_that_cannot_be_reached_is_one_finding(tmp_path: Path) -> None:
    with Database(options(f"sqlite:///{tmp_path}/gone.db"), "", Surroundings(tmp_path, LIMITS)) as source:
        (finding,) = source.test()
    assert (finding.subject, finding.is_ok) == ("access", False)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"url": f"postgresql://ci:{WORD}@db/ci"},
            "url: .*holds a password; right would be",
        ),
        ({"url": f"postgresql://ci@db/ci?password={WORD}"}, "url: .*holds a password"),
        ({"url": "sqlite://db/ci"}, "url: .*is no URL of SQLAlchemy"),
        ({"url": "db/ci"}, "url: .*is no URL of SQLAlchemy"),
        ({"url": "dbase3://db/ci"}, "url: .*names a database or driver that is not installed"),
        ({"runs": "SELECT :from"}, "runs: .*asks for :from; right would be :since and :until"),
    ],
)
def test_options_that_cannot_be_right_are_told_without_the_password(
    tmp_path: Path, changes: dict[str, str], told: str
) -> None:
    table = {
        "kind": "sql",
        "project": "shop",
        "url": "sqlite:///ci.db",
        "runs": RUNS,
        "test_results": RESULTS,
        **changes,
    }
    with pytest.raises(SettingsError, match=told) as refused:
        configured.add(tmp_path / "fourgate.toml", "ci", table)
    assert "hunter2" not in str(refused.value)


def test_a_collection_goes_on_from_the_last_and_brings_nothing_twice(
    postgres: Postgres, sqlite: Path, tmp_path: Path
) -> None:
    file = tmp_path / "fourgate.toml"
    queries = {"runs": f"{RUNS.replace('branch', 'branch, id AS commit_sha')} WHERE datetime(began) >= :since"}
    table = {"kind": "sql", "project": "shop", "url": f"sqlite:///{sqlite}", "test_results": RESULTS, **queries}
    configured.add(file, "ci", {**table, "overlap_days": 1})
    settings = Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn), sources=file)
    assert all(finding.is_ok for finding in fetching.examine(settings, "ci", MARCH.end or datetime.now(UTC)))

    def rows(day: int) -> tuple[int, int]:
        as_of = datetime(2026, 3, day, tzinfo=UTC)
        batches = fetching.fetch(settings, fetching.Request("ci", as_of, Interval()))
        added = collection.append(settings, [collection.validate(settings, batch, as_of) for batch in batches])
        return added["rows"]["runs"], added["rows"]["test_results"]

    assert rows(2) == (2, 3)
    assert rows(3) == (1, 1)
    assert rows(3) == (0, 0)
