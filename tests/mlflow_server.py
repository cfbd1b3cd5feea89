"""A real MLflow server for tests: one process group per session, on a free loopback port, gone at the end."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

START_WITHIN_S = 300  # it migrates an empty database first; a busy two-core machine takes its time
STOP_WITHIN_S = 15
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # The job runner would start worker processes that no test needs.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


@pytest.fixture(scope="session")
def mlflow_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the server keeps artifacts in; tests tamper with files in it."""
    return tmp_path_factory.mktemp("mlflow") / "artifacts"


class MlflowServer:
    """A server that may be stopped and started again on the same port and store."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self._home / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                _command(self._port, self._home),
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT},
            )
        _wait_until_healthy(self._process, self._port, log)

    def stop(self) -> None:
        """End it with all its processes; a stopped one stays stopped."""
        if self._process is not None:
            _stop(self._process)
            self._process = None


@pytest.fixture(scope="session")
def mlflow_server(mlflow_artifacts: Path) -> Iterator[MlflowServer]:
    """A running MLflow server with a SQLite store that is empty at first."""
    server = MlflowServer(mlflow_artifacts.parent)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mlflow_uri(mlflow_server: MlflowServer) -> str:
    """Its address."""
    return mlflow_server.uri


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _command(port: int, home: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}"),
        *("--artifacts-destination", str(home / "artifacts")),
    ]


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    pytest.fail(
        f"the MLflow server did not start within {START_WITHIN_S} s:\n{log.read_text(errors='replace')[-3000:]}"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    family = _family(process.pid)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        _, alive = psutil.wait_procs(family, timeout=STOP_WITHIN_S)
        if not alive:
            break
    process.wait(timeout=STOP_WITHIN_S)
    left = [member.pid for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    assert not left, f"the MLflow server left processes behind: {left}"


def _family(pid: int) -> list[psutil.Process]:
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
