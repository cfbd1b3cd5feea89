"""An embedded PostgreSQL with a migrated warehouse, as the stack sets it up."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml.stack.postgres import OWNER, EmbeddedPostgres
from ml.warehouse import PIPELINE_ROLE, migrate


@dataclass(frozen=True, slots=True)
class Dsns:
    """Connections of the database's owner and of the pipeline."""

    owner: str
    pipeline: str


@contextmanager
def running(folder: Path) -> Iterator[Dsns]:
    """The server, in `folder`, until the block ends."""
    server = EmbeddedPostgres(folder, _free_port(), secrets.token_hex(16))
    pipeline = secrets.token_hex(16)
    server.start()
    try:
        server.ensure_database("fourgate", OWNER, server.password)
        migrate(server.owner_dsn, pipeline)
        yield Dsns(server.owner_dsn, server.dsn(PIPELINE_ROLE, pipeline, "fourgate"))
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
