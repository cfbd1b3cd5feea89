import threading
from pathlib import Path

import psycopg2
import pytest

from ml.errors import WarehouseError
from ml.warehouse import Warehouse, migrate
from ml.warehouse.migrations import FOLDER
from tests.postgres import PIPELINE_PASSWORD, READER_PASSWORD, Postgres

NAMES = [
    "0001_ledger_and_audit.sql",
    "0002_champions.sql",
    "0003_predictions.sql",
    "0004_reports.sql",
    "0005_decisions.sql",
    "0006_push_tokens.sql",
    "0007_what_a_batch_came_from.sql",
    "0008_forgotten_persons.sql",
    "0009_shared_model.sql",
    "0010_rows_of_predictions.sql",
    "0011_retention_of_predictions.sql",
    "0012_numbers_of_publications.sql",
    "0013_order_by_cost.sql",
]


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()
    finally:
        connection.close()


def migration_folder(folder: Path, **scripts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(script)
    return folder


def test_migrations_are_applied_in_order_and_a_second_time_nothing_happens(empty_database: Postgres) -> None:
    assert migrate(empty_database.admin_dsn, PIPELINE_PASSWORD, READER_PASSWORD) == NAMES
    before = rows(empty_database.admin_dsn, "SELECT * FROM fourgate.schema_migration ORDER BY version")
    assert migrate(empty_database.admin_dsn) == []
    assert rows(empty_database.admin_dsn, "SELECT * FROM fourgate.schema_migration ORDER BY version") == before
    assert [row[1] for row in before] == NAMES


def test_two_migrations_at_once_apply_each_script_once(empty_database: Postgres) -> None:
    applied: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: applied.append(migrate(empty_database.admin_dsn, PIPELINE_PASSWORD)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied, key=len) == [[], NAMES]


def test_a_database_of_an_older_release_gets_only_the_new_migration_and_keeps_its_rows(
    postgres: Postgres, tmp_path: Path
) -> None:
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        warehouse.next_sequence()
    newer = migration_folder(tmp_path / "sql")
    for name in NAMES:
        (newer / name).write_bytes((FOLDER / name).read_bytes())
    migration_folder(newer, m0014_note="ALTER TABLE fourgate.champion ADD COLUMN note text")
    assert migrate(postgres.admin_dsn, folder=newer) == ["0014_note.sql"]
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        assert warehouse.next_sequence() == 2
    with pytest.raises(WarehouseError, match=r"0014_note.sql, which this release does not know: upgrade"):
        migrate(postgres.admin_dsn)


# The shape of the first release: one publication, and a row of it.
FIRST_RELEASE = """
    INSERT INTO fourgate.collection_batch
    VALUES ('b', 1, 's', 'shop', 'history', 1, '{}', '{}', 0, 1, '{}', NULL, NULL, NULL, NULL, 1, '2026-01-01Z');
    INSERT INTO fourgate.publication
    VALUES ('p', 'test_selection', 'shop', '1', 'report', 1, '2026-01-02Z', 1, true, '2026-01-03Z');
    INSERT INTO fourgate.prediction
    VALUES ('p', 'test_selection', 'shop', 'r1', 'linux', 'a', 0.7, 0.6, 1, 'select', '[{"feature": "f"}]', '1',
        'report', 1, '2026-01-01Z')
"""
EVERY_COLUMN = "SELECT to_jsonb(prediction) FROM fourgate.{0} prediction"


def test_a_warehouse_of_the_first_release_keeps_its_predictions_under_the_same_names(
    empty_database: Postgres, tmp_path: Path
) -> None:
    first = migration_folder(tmp_path / "sql")
    for name in NAMES[:4]:
        (first / name).write_bytes((FOLDER / name).read_bytes())
    migrate(empty_database.admin_dsn, PIPELINE_PASSWORD, READER_PASSWORD, first)
    connection = psycopg2.connect(empty_database.admin_dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(FIRST_RELEASE)
        cursor.execute("CREATE VIEW public.mine AS SELECT test_id FROM fourgate.current_prediction")
    connection.close()
    views = ("prediction", "current_prediction")
    ((past,), (current,)) = [rows(empty_database.reader_dsn, EVERY_COLUMN.format(view))[0] for view in views]
    assert past["change_id"] == "r1"
    assert migrate(empty_database.admin_dsn) == NAMES[4:]
    more = {"is_shared": False, "expected_duration_s": None, "rank_by_cost": None}
    assert rows(empty_database.reader_dsn, EVERY_COLUMN.format(views[0])) == [({**past, **more},)]
    assert rows(empty_database.reader_dsn, EVERY_COLUMN.format(views[1])) == [({**current, **more},)]
    assert rows(empty_database.admin_dsn, "SELECT * FROM public.mine") == [("a",)]


def test_a_warehouse_takes_decisions_of_any_model(postgres: Postgres) -> None:
    insert = "INSERT INTO fourgate.prediction_row VALUES (1, 1, 0.7, 0.7, '2026-01-01Z', 'r1', '*', '*', '{0}', '[]')"
    assert rows(postgres.pipeline_dsn, insert.format("risky") + " RETURNING decision") == [("risky",)]


def test_an_edited_migration_is_refused(empty_database: Postgres, tmp_path: Path) -> None:
    folder = migration_folder(tmp_path / "sql", m0001_a="CREATE TABLE fourgate.a (b int)")
    migrate(empty_database.admin_dsn, folder=folder)
    migration_folder(folder, m0001_a="CREATE TABLE fourgate.a (b bigint)")
    with pytest.raises(WarehouseError, match=r"0001_a.sql was edited after it was applied"):
        migrate(empty_database.admin_dsn, folder=folder)


def test_a_failing_migration_is_undone_whole_and_the_ones_before_it_stay(
    empty_database: Postgres, tmp_path: Path
) -> None:
    folder = migration_folder(
        tmp_path / "sql",
        m0001_a="CREATE TABLE fourgate.a (b int)",
        m0002_c="CREATE TABLE fourgate.c (d int); SELECT 1 / 0",
    )
    with pytest.raises(WarehouseError, match=r"0002_c.sql failed and was undone: division by zero"):
        migrate(empty_database.admin_dsn, folder=folder)
    tables = rows(empty_database.admin_dsn, "SELECT to_regclass('fourgate.a'), to_regclass('fourgate.c')")
    assert tables == [("fourgate.a", None)]


@pytest.mark.parametrize("name", ["m0002_gap", "mabc_no_number"])
def test_a_misnumbered_migration_is_refused(empty_database: Postgres, tmp_path: Path, name: str) -> None:
    folder = migration_folder(tmp_path / "sql", **{name: "SELECT 1"})
    with pytest.raises(WarehouseError, match="number"):
        migrate(empty_database.admin_dsn, folder=folder)


def test_a_database_without_migrations_says_so(empty_database: Postgres) -> None:
    with Warehouse(empty_database.admin_dsn) as warehouse, pytest.raises(WarehouseError, match="run its migrations"):
        warehouse.head()


TABLES = [
    "collection_batch",
    "gate_verdict",
    "promotion",
    "champion",
    "publication",
    "drift_report",
    "monitor_report",
]


COLUMN = {"collection_batch": "project"}


def refused(dsn: str, statement: str) -> bool:
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except psycopg2.errors.InsufficientPrivilege:
        return True
    finally:
        connection.close()
    return False


def test_the_reader_reads_every_result_and_changes_none(postgres: Postgres) -> None:
    for table in TABLES:
        assert rows(postgres.reader_dsn, f"SELECT * FROM fourgate.{table}") == []
        assert refused(postgres.reader_dsn, f"DELETE FROM fourgate.{table}")
        assert refused(postgres.reader_dsn, f"INSERT INTO fourgate.{table} DEFAULT VALUES")
        assert refused(postgres.reader_dsn, f"UPDATE fourgate.{table} SET {COLUMN.get(table, 'model')} = ''")
    for view in ("prediction", "current_prediction"):
        assert rows(postgres.reader_dsn, f"SELECT * FROM fourgate.{view}") == []


def test_the_reader_reaches_nothing_else(postgres: Postgres) -> None:
    for statement in (
        "SELECT * FROM fourgate.audit_log",
        "SELECT nextval('fourgate.lake_sequence')",
        "CREATE TABLE fourgate.mine (a int)",
        "CREATE TABLE public.mine (a int)",
        "SELECT * FROM fourgate.prediction_row",
        "DELETE FROM fourgate.prediction_row",
        "INSERT INTO fourgate.prediction_row DEFAULT VALUES",
        "DROP VIEW fourgate.current_prediction",
    ):
        assert refused(postgres.reader_dsn, statement), statement


def test_the_pipeline_role_can_neither_change_the_schema_nor_the_record(postgres: Postgres) -> None:
    for statement in (
        "CREATE TABLE fourgate.mine (a int)",
        "ALTER TABLE fourgate.champion ADD COLUMN mine int",
        "DELETE FROM fourgate.audit_log",
        "UPDATE fourgate.audit_log SET actor = 'nobody'",
        "UPDATE fourgate.promotion SET route = 'first'",
        "DELETE FROM fourgate.collection_batch",
        "UPDATE fourgate.collection_batch SET rejected = 0",
        "INSERT INTO fourgate.schema_migration VALUES (99, 'x', 'y')",
        "CREATE ROLE intruder",
    ):
        assert refused(postgres.pipeline_dsn, statement), statement


def test_not_even_the_owner_edits_the_audit_log_by_accident(postgres: Postgres) -> None:
    for statement in ("DELETE FROM fourgate.audit_log", "TRUNCATE fourgate.audit_log"):
        with pytest.raises(psycopg2.errors.RaiseException, match="audit_log is append-only"):
            rows(postgres.admin_dsn, statement)
