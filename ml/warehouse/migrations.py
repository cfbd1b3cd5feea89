"""Forward-only migrations of the warehouse, and its two least-privilege roles."""

import hashlib
from pathlib import Path

import psycopg2
from psycopg2 import errors, extensions
from psycopg2.sql import SQL, Identifier

from ml.errors import WarehouseError
from ml.warehouse.session import connect

FOLDER = Path(__file__).parent.parent / "sql"
PIPELINE_ROLE = "fourgate_pipeline"
READER_ROLE = "fourgate_reader"
_MIGRATION_LOCK = 0x466F7572_67617465


def migrate(admin_dsn: str, pipeline_password: str = "", reader_password: str = "", folder: Path = FOLDER) -> list[str]:
    """Bring a database to this release: roles, then every migration that is not in `fourgate.schema_migration`.

    Each migration is one transaction. A second run, or a second process at once, changes nothing.

    Args:
        admin_dsn: owner of the schema; may create roles unless both exist.
        pipeline_password: of the role that the pipeline writes with; empty leaves it as it is.
        reader_password: of the role that users read with; empty leaves it as it is.
        folder: numbered files ``0001_name.sql``.

    Returns:
        names of the migrations that were applied now.

    Raises:
        WarehouseError: a migration fails, an applied one was edited or is unknown, or a right is missing.
    """
    connection = connect(admin_dsn, "fourgate migrate")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        _ensure_role(connection, PIPELINE_ROLE, pipeline_password)
        _ensure_role(connection, READER_ROLE, reader_password)
        return _apply(connection, folder)
    except psycopg2.Error as error:
        reason = (error.diag.message_primary or str(error)).strip()
        raise WarehouseError(f"migration of the warehouse failed: {reason}") from error
    finally:
        connection.close()


def _ensure_role(connection: extensions.connection, role: str, password: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
        if cursor.fetchone() is None:
            try:
                cursor.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(role)))
            except (errors.DuplicateObject, errors.UniqueViolation):
                # Roles belong to the server: a migration of another database made it meanwhile.
                connection.rollback()
        if password:
            # Hashed here, so that the server's statement log never holds it.
            secret = extensions.encrypt_password(password, role, connection, "scram-sha-256")
            cursor.execute(SQL("ALTER ROLE {} PASSWORD %s").format(Identifier(role)), (secret,))


def _apply(connection: extensions.connection, folder: Path) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS fourgate")
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS fourgate.schema_migration (version integer PRIMARY KEY, name text NOT NULL, "
            "checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        cursor.execute("SELECT version, name, checksum FROM fourgate.schema_migration")
        done = {version: (name, checksum) for version, name, checksum in cursor.fetchall()}
    files = numbered(folder)
    unknown = sorted(set(done) - set(files))
    if unknown:
        name = done[unknown[0]][0]
        raise WarehouseError(f"the warehouse has migration {name}, which this release does not know: upgrade Fourgate")
    applied = []
    for version, path in sorted(files.items()):
        script = path.read_text(encoding="utf-8")
        checksum = hashlib.sha256(script.encode()).hexdigest()
        if version not in done:
            _apply_one(connection, version, path.name, script)
            applied.append(path.name)
        elif done[version][1] != checksum:
            raise WarehouseError(
                f"migration {path.name} was edited after it was applied as {done[version][0]}: "
                "restore the file and put the change into a new migration"
            )
    return applied


def _apply_one(connection: extensions.connection, version: int, name: str, script: str) -> None:
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(script)
            cursor.execute(
                "INSERT INTO fourgate.schema_migration (version, name, checksum) VALUES (%s, %s, %s)",
                (version, name, hashlib.sha256(script.encode()).hexdigest()),
            )
    except psycopg2.Error as error:
        reason = (error.diag.message_primary or str(error)).strip()
        raise WarehouseError(f"migration {name} failed and was undone: {reason}") from error


def numbered(folder: Path) -> dict[int, Path]:
    """Files of a folder by their number, which they have without gaps.

    Raises:
        WarehouseError: a number is missing or given twice.
    """
    files: dict[int, Path] = {}
    for path in sorted(folder.glob("*.sql")):
        number = path.name.partition("_")[0]
        if not number.isdigit() or int(number) in files:
            raise WarehouseError(f"{path} needs a number of its own, as in 0005_name.sql")
        files[int(number)] = path
    if sorted(files) != list(range(1, len(files) + 1)):
        raise WarehouseError(f"migrations in {folder} are not numbered 1 to {len(files)} without gaps")
    return files
