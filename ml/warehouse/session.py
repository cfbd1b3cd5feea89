"""One connection to PostgreSQL: timeouts, transactions, and errors in the words of this code base."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Any, Self

import numpy as np
import psycopg2
from psycopg2 import errors, extensions

from ml.errors import WarehouseError

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 300
_HOW_DSN = "expected postgresql://user:password@host:port/database"


def connect(dsn: str, application_name: str = "fourgate") -> extensions.connection:
    """Open a connection that cannot hang: connecting, statements and dead peers all have a limit.

    The connection commits each statement by itself; `Session.transaction` joins several.

    Raises:
        WarehouseError: the address cannot be read or the server refuses; the password is in neither message.
    """
    try:
        parts = extensions.parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        # Without the cause: its text quotes pieces of the address, the password among them.
        raise WarehouseError(f"the warehouse address cannot be read; {_HOW_DSN}") from None
    if not parts:
        raise WarehouseError(f"no warehouse address is set (FOURGATE_WAREHOUSE_DSN); {_HOW_DSN}")
    try:
        opened: extensions.connection = psycopg2.connect(
            dsn,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name=application_name,
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_S}s -c timezone=UTC",
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except (psycopg2.Error, ValueError) as error:
        reason = _without(str(error).strip(), parts.get("password", ""))
        raise WarehouseError(
            f"PostgreSQL at {place_of(dsn)} cannot be reached: {reason}; is the server running and the address right "
            "(FOURGATE_WAREHOUSE_DSN, for migrations FOURGATE_WAREHOUSE_ADMIN_DSN)?"
        ) from None
    opened.autocommit = True
    return opened


def place_of(dsn: str) -> str:
    """Host, port and database of an address that can be read; no password."""
    parts = extensions.parse_dsn(dsn)
    return f"{parts.get('host', 'localhost')}:{parts.get('port', '5432')}/{parts.get('dbname', '')}"


def _without(text: str, password: str) -> str:
    return text.replace(password, "***") if password else text


class Session:
    """One connection, used by one thread; a context manager that closes it."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn)
        self._place = place_of(dsn)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; locks it holds end with it."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[extensions.cursor]:
        """All statements of the block, or none.

        Raises:
            WarehouseError: PostgreSQL refused; the transaction is undone.
        """
        with storable(), self.long_transaction() as cursor:
            yield cursor

    @contextmanager
    def long_transaction(self) -> Iterator[extensions.cursor]:
        """As `transaction`, around other work too: a ValueError is that work's, unless `storable` says otherwise."""
        try:
            with self._connection, self._connection.cursor() as cursor:
                yield cursor
        except (errors.UndefinedTable, errors.InvalidSchemaName) as error:
            raise WarehouseError(f"the warehouse lacks a table, run its migrations: {_reason(error)}") from error
        except psycopg2.Error as error:
            raise self._refused(error) from error

    def _refused(self, error: psycopg2.Error) -> WarehouseError:
        """What PostgreSQL did not do, and where; a lost connection also says what to do."""
        if not self._connection.closed:
            return WarehouseError(f"PostgreSQL refused: {_reason(error)}")
        return WarehouseError(
            f"the connection to PostgreSQL at {self._place} was lost: {_reason(error)}; see that the server runs and "
            "repeat: what was half done does not count"
        )


@contextmanager
def storable() -> Iterator[None]:
    """A value that cannot be sent to PostgreSQL, such as a text with a NUL character, as `WarehouseError`."""
    try:
        yield
    except ValueError as error:
        raise WarehouseError(f"PostgreSQL cannot store a value: {error}") from error


def _reason(error: psycopg2.Error) -> str:
    """What PostgreSQL says; of a row of a COPY also where it is, as in ``COPY a, line 2, column b``."""
    said = (error.diag.message_primary or str(error)).strip()
    place = (error.diag.context or "").rpartition("\n")[2]
    return f"{said} ({place})" if place.startswith("COPY ") else said


def only(cursor: extensions.cursor) -> tuple[Any, ...]:
    """The row of a query that always answers with one."""
    row = cursor.fetchone()
    if row is None:
        raise WarehouseError("PostgreSQL answered without a row")
    return row


def lock_for(cursor: extensions.cursor, subject: str) -> None:
    """Wait for the right to change one subject until the transaction ends."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"fourgate {subject}",))


def write_audit(cursor: extensions.cursor, actor: str, action: str, subject: str, detail: Any) -> None:
    """Note an act in the transaction that does it."""
    cursor.execute(
        "INSERT INTO fourgate.audit_log (actor, action, subject, detail) VALUES (%s, %s, %s, %s)",
        (actor, action, subject, to_json(detail)),
    )


def to_json(value: Any) -> str:
    """JSON that PostgreSQL accepts: no NaN or infinity (null instead), no NUL character (U+FFFD instead)."""
    return json.dumps(_plain(value), allow_nan=False, sort_keys=True)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, datetime) else value
