"""The database server as such: its version, its clock, and whether its tables are those of this release."""

import hashlib
from datetime import datetime

from ml.warehouse.migrations import FOLDER, numbered
from ml.warehouse.session import Session, only


class Condition(Session):
    """What must be right before anything else can be."""

    def server_version(self) -> str:
        """Version of PostgreSQL, such as ``18.1``."""
        with self.transaction() as cursor:
            cursor.execute("SHOW server_version")
            return str(only(cursor)[0]).partition(" ")[0]

    def clock(self) -> datetime:
        """What time it is on the server, UTC."""
        with self.transaction() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            moment: datetime = only(cursor)[0]
            return moment

    def migrations(self) -> tuple[list[str], list[str]]:
        """Migrations that this release has and the database lacks; those that it has and this release does not know.

        One that was edited after it was applied counts as unknown.
        """
        with self.transaction() as cursor:
            cursor.execute("SELECT version, name, checksum FROM fourgate.schema_migration ORDER BY version")
            applied = {version: (name, checksum) for version, name, checksum in cursor.fetchall()}
        files = numbered(FOLDER)
        known = {version: hashlib.sha256(path.read_bytes()).hexdigest() for version, path in files.items()}
        missing = [path.name for version, path in sorted(files.items()) if version not in applied]
        unknown = [name for version, (name, checksum) in applied.items() if known.get(version) != checksum]
        return missing, unknown
