"""Ending what was started and nothing else: real processes, one of which does not want to go."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ml import stack as embedded
from ml.errors import StackError
from ml.settings import Settings
from ml.stack import supervisor
from ml.stack.postgres import EmbeddedPostgres
from ml.stack.services import Stack
from ml.stack.supervisor import MAX_RESTARTS, STEADY_S, Restarts, end_session, read_state, session_members, write_state

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
# A leader with a child that has a child of its own, which ignores SIGTERM and says when it does.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN!r}])"
LEADER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def start(code: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Make sure that a test leaves nothing, whatever it found."""
    for member in session_members(process.pid):
        member.kill()
    process.wait(10)
    if process.stdout:
        process.stdout.close()


@pytest.fixture
def family() -> Iterator["subprocess.Popen[bytes]"]:
    process = start(LEADER)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    yield process
    end(process)


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    process = start("print('up', flush=True); import time; time.sleep(600)")
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    end(process)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_TIMEOUT_S", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_session_ends_with_its_grandchild_that_ignores_sigterm_and_a_stranger_stays(
    family: "subprocess.Popen[bytes]", stranger: "subprocess.Popen[bytes]"
) -> None:
    members = session_members(family.pid)
    assert len(members) == 3
    assert end_session(family.pid) == 3
    assert [member for member in members if member.is_running() and member.status() != psutil.STATUS_ZOMBIE] == []
    assert stranger.poll() is None


@pytest.mark.usefixtures("impatient")
def test_orphans_of_a_killed_leader_are_found_by_its_session(family: "subprocess.Popen[bytes]") -> None:
    orphans = psutil.Process(family.pid).children(recursive=True)
    family.kill()
    family.wait(10)
    assert len(orphans) == 2
    assert end_session(family.pid) == 2
    assert not any(orphan.is_running() for orphan in orphans)


def test_the_spared_process_and_ourselves_stay(stranger: "subprocess.Popen[bytes]") -> None:
    assert end_session(stranger.pid, spare=stranger.pid) == 0
    assert os.getpid() not in {member.pid for member in session_members(os.getsid(0))}
    assert stranger.poll() is None


def test_an_ended_session_is_nothing_to_end(stranger: "subprocess.Popen[bytes]") -> None:
    assert end_session(stranger.pid) == 1
    assert end_session(stranger.pid) == 0


def claim(home: Path, process: "subprocess.Popen[bytes]", boot: float) -> Settings:
    """A recorded state that names a process which is not ours."""
    home.mkdir()
    write_state(home, {"status": "ready", "pid": process.pid, "session": process.pid, "boot": boot})
    return Settings(home=home)


def test_a_state_of_another_boot_is_not_believed(tmp_path: Path, stranger: "subprocess.Popen[bytes]") -> None:
    settings = claim(tmp_path / "home", stranger, psutil.boot_time() - 3600)
    assert embedded.stop(settings) == 0
    assert stranger.poll() is None
    assert read_state(tmp_path / "home") == {}


def test_a_process_number_that_went_to_a_stranger_is_let_be(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    settings = claim(tmp_path / "home", stranger, psutil.boot_time())
    with pytest.raises(StackError, match="no stack runs"):
        embedded.running(settings)
    assert embedded.stop(settings) == 0
    assert stranger.poll() is None


# the supervisor is meant to outlive who started it, so nobody waits for it
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function Popen.__del__:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_supervisor_that_dies_while_starting_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOURGATE_THREADS", "many")  # the supervisor reads it, these settings do not
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=tmp_path / "home")
    began = time.monotonic()
    with pytest.raises(StackError, match=r"supervisor is dead; logs are in .*home/logs"):
        embedded.start(settings)
    assert time.monotonic() - began < embedded.START_TIMEOUT_S / 4
    assert "FOURGATE_THREADS" in (tmp_path / "home" / "logs" / "supervisor.log").read_text()
    assert embedded.stop(settings) == 0


def test_a_supervisor_in_somebody_elses_session_refuses_to_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "ml.stack.supervisor"],
        env={**os.environ, "FOURGATE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "StackError" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_ends_again_and_again_is_given_up() -> None:
    restarts = Restarts()
    assert [restarts.another("mlflow", 1.0) for _ in range(MAX_RESTARTS)] == [1, 2, 3, 4, 5]
    assert restarts.another("scheduler", 1.0) == 1
    with pytest.raises(StackError, match="mlflow ended 6 times"):
        restarts.another("mlflow", 1.0)


def test_restarts_long_ago_do_not_count_against_a_service() -> None:
    restarts = Restarts()
    for _ in range(MAX_RESTARTS):
        restarts.another("mlflow", 1.0)
    assert restarts.another("mlflow", STEADY_S) == 1
    assert restarts.another("mlflow", STEADY_S - 1) == 2


def test_a_look_at_postgresql_that_fails_now_and_then_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moods = iter([StackError("no passage"), None, StackError("no passage"), None])

    def look(server: EmbeddedPostgres) -> None:
        if mood := next(moods, StackError("gone for good")):
            raise mood

    monkeypatch.setattr(EmbeddedPostgres, "start", look)
    watched = supervisor.Supervisor(Stack(tmp_path, {"postgres": 1}, {"owner": "secret"}))
    watched.stopping = True  # or it would pause between looks
    for _ in range(4 + MAX_RESTARTS - 2):
        watched.mend_postgres()
    with pytest.raises(StackError, match="postgres ended 6 times"):
        watched.mend_postgres()
