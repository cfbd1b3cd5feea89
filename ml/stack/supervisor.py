"""Keeps the embedded stack alive: one process that starts every service, restarts what dies and stops all of it.

Everything it starts shares its session (only PostgreSQL has one of its own), so `ml.stack.stop` finds each process
even after the supervisor itself was killed.
"""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import psutil

from ml.errors import FourgateError, StackError
from ml.settings import load_settings
from ml.stack.postgres import OWNER
from ml.stack.services import Service, Stack, prepare
from ml.warehouse import migrate

log = logging.getLogger("fourgate.stack")
START_TIMEOUT_S = 600
STOP_TIMEOUT_S = 15
MAX_RESTARTS = 5
STEADY_S = 600


class Restarts:
    """How often each service was restarted without having worked for a while in between."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def another(self, name: str, worked_s: float) -> int:
        """Count one more restart of a service that worked for some seconds until it ended.

        Raises:
            StackError: it ended too often; one that had worked for `STEADY_S` starts counting anew.
        """
        count = 1 if worked_s >= STEADY_S else self._counts.get(name, 0) + 1
        self._counts[name] = count
        if count > MAX_RESTARTS:
            raise StackError(f"{name} ended {count} times, each within {STEADY_S} s of its start")
        return count


class Supervisor:
    """Owns the services of one stack, from start to stop."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.started_at: dict[str, float] = {}
        self.restarts = Restarts()
        self.stopping = False

    def run(self) -> None:
        """Start everything, then watch until a signal comes."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self.record("starting")
        try:
            self._start()
            self.record("ready")
            while not self.stopping:
                self._mend()
                self._pause(1)
        except (FourgateError, OSError, subprocess.SubprocessError) as error:
            log.exception("the stack cannot go on; the services' logs are in %s", self.stack.home / "logs")
            self.record("failed", str(error))
        finally:
            self._stop()

    def record(self, status: str, detail: str = "") -> None:
        """Write ``state.json``: what other processes know of this stack."""
        state = {
            "status": status,
            "detail": detail,
            "pid": os.getpid(),
            "session": os.getsid(0),
            "boot": psutil.boot_time(),
            "ports": dict(self.stack.ports),
            "services": {name: process.pid for name, process in self.processes.items()},
        }
        write_state(self.stack.home, state)

    def _start(self) -> None:
        stack = self.stack
        self.record("starting", "PostgreSQL")
        stack.postgres.start()
        stack.postgres.ensure_database("fourgate", OWNER, stack.secrets["owner"])
        stack.postgres.ensure_database("airflow", "airflow", stack.secrets["airflow_database"])
        stack.postgres.ensure_database("mlflow", "mlflow", stack.secrets["mlflow_database"])
        migrate(stack.postgres.owner_dsn, stack.secrets["pipeline"], stack.secrets["reader"])
        stack.write_files()
        services = {service.name: service for service in stack.services()}
        self._launch(services["mlflow"])
        self.record("starting", "Airflow database")
        self._once([sys.executable, "-m", "airflow", "db", "migrate"], "airflow-db")
        for service in stack.services():
            if service.name not in self.processes:
                self._launch(service)
        for service in stack.services():
            self.record("starting", service.name)
            self._await_health(service)
        self.stack.airflow_api().make_pools()

    def _launch(self, service: Service) -> None:
        self.started_at[service.name] = time.monotonic()
        with open(self._log_path(service.name), "ab") as output:
            self.processes[service.name] = subprocess.Popen(
                service.command,
                env={**self.stack.environment(), **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.stack.home,
            )

    def _once(self, command: list[str], name: str) -> None:
        path = self._log_path(name)
        with open(path, "ab") as output:
            done = subprocess.run(
                command, env=self.stack.environment(), stdout=output, stderr=subprocess.STDOUT, check=False, timeout=300
            )
        if done.returncode != 0:
            raise StackError(f"`{' '.join(command[1:])}` ended with {done.returncode}; see {path}")

    def _await_health(self, service: Service) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while service.health and not self.stopping and not _answers(service.health):
            if self.processes[service.name].poll() is not None:
                raise StackError(f"{service.name} ended while starting; see {self._log_path(service.name)}")
            if time.monotonic() > deadline:
                raise StackError(f"{service.name} did not answer within {START_TIMEOUT_S} s at {service.health}")
            time.sleep(0.3)

    def _mend(self) -> None:
        self.mend_postgres()
        for service in self.stack.services():
            code = self.processes[service.name].poll()
            if code is None:
                continue
            count = self.restarts.another(service.name, time.monotonic() - self.started_at[service.name])
            log.warning("%s ended with %s; restart %s of %s", service.name, code, count, MAX_RESTARTS)
            self._pause(min(2.0**count, 30))
            if not self.stopping:
                self._launch(service)
                self.record("ready")

    def mend_postgres(self) -> None:
        """Start PostgreSQL where it ended; one look that fails, such as at a folder whose rights change, is no end."""
        try:
            self.stack.postgres.start()
        except StackError as error:
            steady_s = time.monotonic() - self.started_at.get("postgres", 0.0)
            self.started_at["postgres"] = time.monotonic()
            count = self.restarts.another("postgres", steady_s)
            log.warning("%s; look %s of %s", error, count, MAX_RESTARTS)
            self._pause(min(2.0**count, 30))

    def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until somebody stops the stack."""
        deadline = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < deadline:
            time.sleep(0.2)

    def _stop(self) -> None:
        end_session(os.getsid(0), spare=os.getpid())
        self.stack.postgres.stop()
        if json.loads((self.stack.home / "state.json").read_text())["status"] != "failed":
            self.record("stopped")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _log_path(self, name: str) -> Path:
        folder = self.stack.home / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.log"


def end_session(session: int, spare: int = 0) -> int:
    """End every process of a session, politely and then not; returns how many there were."""
    members = session_members(session, spare)
    for process in members:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(members, timeout=STOP_TIMEOUT_S)
    while alive := [*alive, *session_members(session, spare)]:
        for process in alive:
            _signal(process, signal.SIGKILL)
        _, alive = psutil.wait_procs(alive, timeout=5)
    return len(members)


def session_members(session: int, spare: int = 0) -> list[psutil.Process]:
    """Processes of a session, dead ones left out."""
    members = []
    for process in psutil.process_iter():
        try:
            is_member = os.getsid(process.pid) == session and process.pid not in {spare, os.getpid()}
            if is_member and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _answers(address: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches our loopback address
    try:
        with direct.open(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def read_state(home: Path) -> Mapping[str, object]:
    """What the supervisor wrote last; empty when there never was one."""
    try:
        return dict(json.loads((home / "state.json").read_text()))
    except FileNotFoundError:
        return {}


def write_state(home: Path, state: Mapping[str, object]) -> None:
    """Replace ``state.json`` whole."""
    scratch = home / f".state.json.{os.getpid()}"
    scratch.write_text(json.dumps(state))
    scratch.replace(home / "state.json")


def main() -> None:
    """Run the supervisor of the configured home; a second one leaves at once.

    Raises:
        StackError: it does not lead a session of its own.
    """
    if os.getsid(0) != os.getpid():
        raise StackError("the supervisor ends its session when it stops and needs one of its own: use `fourgate up`")
    settings = load_settings()
    home = settings.home.absolute()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with open(home / "stack.lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another supervisor works in %s", home)
            return
        os.set_inheritable(lock.fileno(), False)
        Supervisor(prepare(settings)).run()


if __name__ == "__main__":
    main()
