"""Runs the push endpoint until it is told to end."""

import fcntl
import logging
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from ml.errors import SettingsError
from ml.receiver.announcing import announcer
from ml.receiver.app import create_app
from ml.receiver.rate import Rate
from ml.settings import Settings
from ml.stages.opening import folder_of

MAX_CONNECTIONS = 200
GRACE_S = 30


def serve(settings: Settings, host: str, port: int, on_start: Callable[[str], None], rate: Rate | None = None) -> None:
    """Listen until SIGINT or SIGTERM; `on_start` is told the address. Port 0 takes a free one.

    Raises:
        SettingsError: the address is taken or not of this machine, or another receiver has the same home.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with _scratch(settings) as scratch, _listening(host, port) as listener:
        known = announcer(settings)
        app = create_app(settings, scratch, rate, known)
        # Requests are logged by `app` alone: an address can hold a secret that somebody put there by mistake.
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_S,
        )
        on_start(f"http://{host}:{listener.getsockname()[1]}")
        with known.running():
            uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """A folder for half a request, empty at first: what is in it was left by a kill."""
    folder = folder_of(settings, "receiver", "incoming")
    with (folder.parent / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(f"another receiver writes into {folder}; right would be one for each home") from error
        shutil.rmtree(folder)
        folder.mkdir()
        yield folder


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    with listener:
        yield listener
