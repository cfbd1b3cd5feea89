import json
from datetime import UTC, datetime

import numpy as np
import psycopg2
import pytest
from psycopg2 import extensions

from ml.errors import WarehouseError
from ml.spec import Check, Status
from ml.warehouse import Warehouse
from ml.warehouse.session import Session, to_json
from tests.postgres import PIPELINE_PASSWORD, Postgres

SECRET = "s3cret-pass"  # pragma: allowlist secret


def test_an_unreachable_server_is_named_without_the_password() -> None:
    with pytest.raises(WarehouseError, match=r"127\.0\.0\.1:1/ci cannot be reached") as caught:
        Warehouse(f"postgresql://joe:{SECRET}@127.0.0.1:1/ci")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("dsn", [f"host=x {SECRET}", f"postgresql://joe:{SECRET}@[half/ci", f"nonsense://{SECRET}"])
def test_an_unreadable_address_is_not_quoted(dsn: str) -> None:
    with pytest.raises(WarehouseError, match="expected postgresql://user:password@host:port/database") as caught:
        Warehouse(dsn)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_empty_address_names_the_setting() -> None:
    with pytest.raises(WarehouseError, match="FOURGATE_WAREHOUSE_DSN"):
        Warehouse("")


def test_a_wrong_password_is_refused_and_not_shown(postgres: Postgres) -> None:
    wrong = extensions.make_dsn(postgres.pipeline_dsn, password=SECRET)
    with pytest.raises(WarehouseError, match="password authentication failed") as caught:
        Warehouse(wrong)
    assert SECRET not in str(caught.value)


def test_the_password_is_stored_as_a_hash_only(postgres: Postgres) -> None:
    connection = psycopg2.connect(postgres.admin_dsn)
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'fourgate_pipeline'")
        (stored,) = cursor.fetchone() or ("",)
    connection.close()
    assert stored.startswith("SCRAM-SHA-256$")
    assert PIPELINE_PASSWORD not in stored


def test_every_connection_has_limits_and_a_name(postgres: Postgres) -> None:
    with Session(postgres.pipeline_dsn) as session, session.transaction() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('application_name')")
        assert cursor.fetchone() == ("5min", "fourgate")


def test_a_failing_block_undoes_all_its_statements(postgres: Postgres) -> None:
    with Session(postgres.admin_dsn) as session:
        with pytest.raises(WarehouseError, match="division by zero"), session.transaction() as cursor:
            cursor.execute("CREATE TABLE half (a int); SELECT 1 / 0")
        with session.transaction() as cursor:
            cursor.execute("SELECT to_regclass('half')")
            assert cursor.fetchone() == (None,)


def test_a_lost_connection_is_a_warehouse_error(postgres: Postgres) -> None:
    with Session(postgres.pipeline_dsn) as session, Session(postgres.admin_dsn) as owner:
        with owner.transaction() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fourgate_pipeline'")
        for _ in range(2):
            with pytest.raises(WarehouseError, match="was lost"), session.transaction() as cursor:
                cursor.execute("SELECT 1")


def test_json_holds_what_postgresql_accepts() -> None:
    value = {
        "check": Check("auc", float("nan"), float("inf"), True, False, "a\x00b"),
        "status": Status.PASS,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "counts": (np.int64(3), np.float64(0.5), np.bool_(True), None),
    }
    assert json.loads(to_json(value)) == {
        "check": {
            "name": "auc",
            "measured": None,
            "threshold": None,
            "greater_is_better": True,
            "passed": False,
            "detail": "a\ufffdb",
        },
        "status": "pass",
        "at": "2026-01-01T00:00:00+00:00",
        "counts": [3, 0.5, True, None],
    }
