import hashlib
from collections.abc import Iterator

import psycopg2
import pytest

from ml.errors import WarehouseError
from ml.warehouse import Warehouse
from tests.postgres import Postgres


@pytest.fixture
def warehouse(postgres: Postgres) -> Iterator[Warehouse]:
    with Warehouse(postgres.pipeline_dsn) as opened:
        yield opened


def query(dsn: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def test_a_token_is_found_by_its_text_and_only_its_hash_is_stored(warehouse: Warehouse, postgres: Postgres) -> None:
    token = warehouse.create_push_token("shop-ci", "acme/shop", "someone")
    found = warehouse.find_push_token(token)
    assert found is not None
    assert (found.name, found.project, found.revoked_at) == ("shop-ci", "acme/shop", None)
    stored = query(postgres.admin_dsn, "SELECT push_token::text FROM fourgate.push_token")
    audited = query(postgres.admin_dsn, "SELECT audit_log::text FROM fourgate.audit_log")
    assert token not in str(stored) + str(audited)
    assert hashlib.sha256(token.encode()).hexdigest() in str(stored)
    assert found.sha256 not in repr(found)


def test_any_other_text_finds_none(warehouse: Warehouse) -> None:
    token = warehouse.create_push_token("shop-ci", "acme/shop", "someone")
    for text in ("", token[:-1], token + "x", "\ud800", hashlib.sha256(token.encode()).hexdigest()):
        assert warehouse.find_push_token(text) is None


def test_two_tokens_differ_and_have_32_random_bytes(warehouse: Warehouse) -> None:
    first, second = (warehouse.create_push_token(name, "shop", "someone") for name in ("a", "b"))
    assert first != second
    assert len(first.removeprefix("fgp_")) == 43


def test_a_revoked_token_is_useless_and_its_name_free(warehouse: Warehouse, postgres: Postgres) -> None:
    old = warehouse.create_push_token("ci", "shop", "ann")
    warehouse.revoke_push_token("ci", "bob")
    assert warehouse.find_push_token(old) is None
    with pytest.raises(WarehouseError, match="no token called 'ci' is in use"):
        warehouse.revoke_push_token("ci", "bob")
    new = warehouse.create_push_token("ci", "shop", "ann")
    assert warehouse.find_push_token(new) is not None
    assert [token.revoked_at is None for token in warehouse.push_tokens()] == [False, True]
    acts = query(postgres.admin_dsn, "SELECT actor, action, subject FROM fourgate.audit_log ORDER BY audit_id")
    assert acts == [
        ("ann", "create_push_token", "ci"),
        ("bob", "revoke_push_token", "ci"),
        ("ann", "create_push_token", "ci"),
    ]


def test_a_name_that_is_in_use_is_refused_and_nothing_is_audited(warehouse: Warehouse, postgres: Postgres) -> None:
    warehouse.create_push_token("ci", "shop", "ann")
    with pytest.raises(WarehouseError, match="a token called 'ci' is in use"):
        warehouse.create_push_token("ci", "other", "ann")
    assert query(postgres.admin_dsn, "SELECT count(*) FROM fourgate.audit_log") == [(1,)]


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "a\nb", "x" * 101])
def test_a_name_that_is_none_is_refused(warehouse: Warehouse, name: str) -> None:
    with pytest.raises(WarehouseError, match="1 to 100 printable characters"):
        warehouse.create_push_token(name, "shop", "ann")


@pytest.mark.parametrize(
    "statement",
    ["SELECT * FROM fourgate.push_token", "DELETE FROM fourgate.push_token"],
)
def test_readers_have_no_right(postgres: Postgres, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(postgres.reader_dsn, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM fourgate.push_token",
        "UPDATE fourgate.push_token SET project = 'other'",
        "UPDATE fourgate.push_token SET sha256 = repeat('0', 64)",
    ],
)
def test_the_pipeline_cannot_change_what_a_token_is_for(postgres: Postgres, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(postgres.pipeline_dsn, statement)
