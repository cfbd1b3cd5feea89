"""The embedded stack: PostgreSQL, MLflow, Airflow and the push endpoint, on loopback, under one supervisor."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from ml.errors import StackError
from ml.settings import PREFIX, Settings
from ml.stack.services import ROOT, Stack, prepare
from ml.stack.supervisor import end_session, read_state, write_state

START_TIMEOUT_S = 1_200
CLOCK_SLACK_S = 60


def start(settings: Settings, on_progress: Callable[[str], None] = lambda detail: None) -> Stack:
    """Start the stack and wait until every service answers; a running one is left as it is.

    Raises:
        StackError: a service did not start; names it and its log.
    """
    home = settings.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    with _alone(home):
        if _status(home) not in {"ready", "starting"}:
            stop(settings)
            _launch_supervisor(home)
    deadline = time.monotonic() + START_TIMEOUT_S
    while (status := _status(home)) != "ready":
        if status != "starting" or time.monotonic() > deadline:
            detail = read_state(home).get("detail") or f"the supervisor is {status}"
            raise StackError(f"the stack did not start: {detail}; logs are in {home / 'logs'}")
        on_progress(str(read_state(home).get("detail", "")))
        time.sleep(0.3)
    return running(settings)


def stop(settings: Settings) -> int:
    """Stop every process of the stack, whatever state it is in; returns how many were ended.

    Works after Ctrl-C, a crash or a kill -9 of the supervisor: the session that the supervisor opened is still known.
    """
    home = settings.home.absolute()
    state = read_state(home)
    ended = 0
    if not home.exists():
        return ended
    if _same_boot(state):
        ended = _end_supervisor(int(str(state["pid"]))) + _end_orphans(int(str(state["session"])))
    stack = _stack(settings, state)
    if stack.postgres.is_running():
        stack.postgres.stop()
        ended += 1
    (home / "state.json").unlink(missing_ok=True)
    return ended


def running(settings: Settings) -> Stack:
    """The stack that runs now, with the ports it really uses.

    Raises:
        StackError: none is running.
    """
    home = settings.home.absolute()
    if _status(home) != "ready":
        raise StackError(f"no stack runs in {home}; `make run` starts it")
    return _stack(settings, read_state(home))


def condition(settings: Settings) -> dict[str, object]:
    """The stack as recorded, with a status that is believed only while its supervisor lives."""
    home = settings.home.absolute()
    try:
        return {**read_state(home), "status": _status(home)}
    except (ValueError, KeyError, TypeError, OSError) as error:
        return {"status": "unreadable", "detail": f"{home / 'state.json'}: {error}"}


def _stack(settings: Settings, state: Mapping[str, object]) -> Stack:
    fresh = prepare(settings)
    ports = state.get("ports")
    return replace(fresh, ports={**fresh.ports, **ports}) if isinstance(ports, dict) else fresh


def _status(home: Path) -> str:
    """Status as recorded, believed only while the supervisor that wrote it lives."""
    state = read_state(home)
    status = str(state.get("status", "absent"))
    if status == "failed" or not state:
        return status
    return status if _same_boot(state) and _is_supervisor(int(str(state["pid"]))) else "dead"


def _same_boot(state: Mapping[str, object]) -> bool:
    """Whether the recorded process numbers can still mean the same processes."""
    return bool(state) and abs(float(str(state["boot"])) - psutil.boot_time()) < CLOCK_SLACK_S


def _is_supervisor(pid: int) -> bool:
    try:
        command = psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    # Half-way through its exec a process has no command line yet: the supervisor was launched a moment ago.
    return not command or "ml.stack.supervisor" in command


def _end_orphans(session: int) -> int:
    """End what a killed supervisor left; a session number that went to a stranger meanwhile is let be."""
    try:
        if psutil.Process(session).status() != psutil.STATUS_ZOMBIE:
            return 0
    except psutil.NoSuchProcess:
        pass
    return end_session(session)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One starter at a time: a second one finds what the first has started."""
    with open(home / "start.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _launch_supervisor(home: Path) -> None:
    """Start the supervisor and note it at once: a stop finds it even before it has written anything itself."""
    (home / "logs").mkdir(exist_ok=True)
    (home / "state.json").unlink(missing_ok=True)
    with open(home / "logs" / "supervisor.log", "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ml.stack.supervisor"],
            env={**os.environ, f"{PREFIX}HOME": str(home), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    if not read_state(home):
        known = {"pid": process.pid, "session": process.pid, "boot": psutil.boot_time()}
        write_state(home, {"status": "starting", "detail": "", **known})


def _end_supervisor(pid: int) -> int:
    """Ask the supervisor to stop all, and wait: it ends the services in order before it goes."""
    if not _is_supervisor(pid):
        return 0
    process = psutil.Process(pid)
    services = len(process.children(recursive=True))
    process.terminate()
    try:
        process.wait(timeout=60)
    except psutil.TimeoutExpired:
        process.kill()
        psutil.wait_procs([process], timeout=10)  # its session is looked at when it is gone
    return services + 1
