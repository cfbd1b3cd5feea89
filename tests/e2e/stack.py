"""Fixture `finished`: the whole stack after ``fourgate run`` on a small simulated history, stopped at the end."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from ml.settings import Settings, load_settings
from ml.sources.simulator import World, simulate, write_history
from ml.stack import running
from ml.stack.services import Stack
from tests.mlflow_server import free_port

ROOT = Path(__file__).resolve().parents[2]
FOURGATE = [sys.executable, "-c", "from ml.cli import main; main()"]
WORLD = World(run_count=320, module_count=6, tests_per_module=6, regression_rate=0.3)


@dataclass(frozen=True)
class Finished:
    """A stack that has run once, with the environment to talk to it and what the run printed."""

    environment: dict[str, str]
    history: Path
    output: str

    def fourgate(self, *arguments: str, timeout: float = 1500) -> "subprocess.CompletedProcess[str]":
        """Call the command line; the caller looks at the exit code."""
        command = [*FOURGATE, *arguments]
        return subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )

    @property
    def settings(self) -> Settings:
        """Settings as the command line sees them."""
        return load_settings(self.environment)

    @property
    def stack(self) -> Stack:
        """The running stack."""
        return running(self.settings)

    @property
    def state(self) -> dict[str, Any]:
        """What the supervisor wrote last."""
        return dict(json.loads((self.settings.home / "state.json").read_text()))


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes that have anything to do with a home folder."""
    found = []
    for process in psutil.process_iter():
        try:
            told = " ".join(process.cmdline())
            inside = str(home) in told or str(home) in str(process.cwd()) or _marked(process, home)
            if inside and process.pid != os.getpid():
                found.append(f"{process.pid} {told[:200]}")
        except (psutil.Error, OSError):
            continue
    return found


def _marked(process: psutil.Process, home: Path) -> bool:
    return process.environ().get("FOURGATE_HOME") == str(home)


@pytest.fixture(scope="session")
def finished() -> Iterator[Finished]:
    # not in pytest's own folder: each pytest that starts takes from others the right to pass through it, which
    # PostgreSQL needs where root runs the tests
    folder = Path(tempfile.mkdtemp(prefix="fg-stack-", dir="/tmp"))
    write_history(simulate(WORLD), folder / "history")
    ports = {name: str(free_port()) for name in ("POSTGRES_PORT", "MLFLOW_PORT", "AIRFLOW_PORT", "RECEIVER_PORT")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FOURGATE_", "AIRFLOW"))}
    environment = {
        **kept,
        **{f"FOURGATE_{name}": value for name, value in ports.items()},
        "FOURGATE_HOME": str(folder / "home"),
        "FOURGATE_SOURCES": str(folder / "fourgate.toml"),
        "PYTHONPATH": str(ROOT),
    }
    stack = Finished(environment, folder / "history", "")
    try:
        done = stack.fourgate("run", str(folder / "history"))
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}\n{_logs(folder / 'home')}"
        yield Finished(environment, folder / "history", done.stdout)
    finally:
        stack.fourgate("down")
        shutil.rmtree(folder)


def _logs(home: Path) -> str:
    return "\n".join(
        f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in sorted((home / "logs").glob("*.log"))
    )
