"""What a process does to the world outside it, step by step: statements and commits, Delta writes, requests, renames.

Each such step first writes its name to a pipe. Whoever reads the pipe knows how far the process has come, and where it
was when it died.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

import psycopg2
from psycopg2 import extensions

SEPARATOR = b"\n"
AUDITED = {"http.client.send": "request", "os.rename": "rename"}  # events that Python itself reports
WRAPPED = {
    "ml.lake.store": {"write_deltalake": "delta write"},
    "deltalake.table": {"_create_deltalake": "delta create"},
    "deltalake.table:TableMerger": {"execute": "delta merge"},
    "deltalake.table:DeltaTable": {"restore": "delta restore"},
}


def report(sender: Connection, pause_at: int) -> None:
    """Write each outside effect of this process to a pipe from now on, just before it happens; for good.

    Before effect number `pause_at` the process stops itself (SIGSTOP); 0 means never.
    """
    descriptor, number = sender.fileno(), count(1)

    def announce(kind: str) -> None:
        os.write(descriptor, kind.encode() + SEPARATOR)
        if next(number) == pause_at:
            os.kill(os.getpid(), signal.SIGSTOP)

    _announce_statements(announce)
    for place, names in WRAPPED.items():
        module, _, owner = place.partition(":")
        holder = importlib.import_module(module)
        for name, kind in names.items():
            _wrap(getattr(holder, owner) if owner else holder, name, kind, announce)
    sys.addaudithook(lambda event, _: announce(AUDITED[event]) if event in AUDITED else None)


def _wrap(holder: Any, name: str, kind: str, announce: Callable[[str], None]) -> None:
    function = getattr(holder, name)

    def announced(*arguments: Any, **options: Any) -> Any:
        announce(kind)
        return function(*arguments, **options)

    setattr(holder, name, announced)


def _announce_statements(announce: Callable[[str], None]) -> None:
    """Let every connection that psycopg2 opens announce what it sends."""

    class Cursor(extensions.cursor):
        def execute(self, *arguments: Any, **options: Any) -> None:
            announce("statement")
            super().execute(*arguments, **options)

        def copy_expert(self, *arguments: Any, **options: Any) -> None:
            announce("copy")
            super().copy_expert(*arguments, **options)

    class Announcing(extensions.connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.cursor_factory = Cursor

        def __exit__(self, *failure: Any) -> None:
            announce("commit")
            super().__exit__(*failure)

    connect = psycopg2._connect
    psycopg2._connect = lambda *arguments, **options: connect(
        *arguments, **{**options, "connection_factory": Announcing}
    )
