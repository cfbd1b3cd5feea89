"""Tokens that CI jobs push runs with: 32 random bytes each, of which only the SHA-256 is stored.

A token is looked up by its hash. How long that takes tells nothing about any token: to come closer to a stored hash,
one would have to find texts with chosen hashes first.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from psycopg2 import errors

from ml.errors import WarehouseError
from ml.warehouse.session import Session, lock_for, write_audit

PREFIX = "fgp_"  # lets scanners for secrets find a token that was committed
MAX_NAME = 100
_SELECT = "SELECT name, project, created_at, revoked_at, sha256 FROM fourgate.push_token"


@dataclass(frozen=True, slots=True)
class PushToken:
    """A token as it is stored. `revoked_at` is None while it can be used."""

    name: str
    project: str
    created_at: datetime
    revoked_at: datetime | None
    sha256: str = field(repr=False)


class PushTokens(Session):
    """Who may push runs of which project."""

    def create_push_token(self, name: str, project: str, actor: str) -> str:
        """A new token; it is returned this once and never again.

        Raises:
            WarehouseError: the name or project is empty or too long, or a token that is in use has the name.
        """
        for subject, value in (("name", name), ("project", project)):
            if not value.strip() or len(value) > MAX_NAME or not value.isprintable():
                raise WarehouseError(f"a token's {subject} should be 1 to {MAX_NAME} printable characters")
        token = PREFIX + secrets.token_urlsafe(32)
        try:
            with self.transaction() as cursor:
                lock_for(cursor, f"push_token {name}")
                cursor.execute(
                    "INSERT INTO fourgate.push_token (sha256, name, project) VALUES (%s, %s, %s)",
                    (_hash_of(token), name, project),
                )
                write_audit(cursor, actor, "create_push_token", name, {"project": project})
        except WarehouseError as error:
            if isinstance(error.__cause__, errors.UniqueViolation):
                raise WarehouseError(f"a token called {name!r} is in use; choose another name or revoke it") from None
            raise
        return token

    def revoke_push_token(self, name: str, actor: str) -> None:
        """Make a token useless, at once and for good.

        Raises:
            WarehouseError: no token that is in use has the name.
        """
        with self.transaction() as cursor:
            cursor.execute(
                "UPDATE fourgate.push_token SET revoked_at = clock_timestamp() "
                "WHERE name = %s AND revoked_at IS NULL RETURNING project",
                (name,),
            )
            row = cursor.fetchone()
            if row is None:
                raise WarehouseError(f"no token called {name!r} is in use; `fourgate token list` shows all")
            write_audit(cursor, actor, "revoke_push_token", name, {"project": row[0]})

    def push_tokens(self) -> list[PushToken]:
        """Every token, also revoked ones, oldest first."""
        with self.transaction() as cursor:
            cursor.execute(f"{_SELECT} ORDER BY created_at, name")
            return [PushToken(*row) for row in cursor.fetchall()]

    def find_push_token(self, token: str) -> PushToken | None:
        """The stored token that can be used with this text; None for any other text."""
        with self.transaction() as cursor:
            cursor.execute(f"{_SELECT} WHERE sha256 = %s AND revoked_at IS NULL", (_hash_of(token),))
            row = cursor.fetchone()
            return None if row is None else PushToken(*row)


def _hash_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
