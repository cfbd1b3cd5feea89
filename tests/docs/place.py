"""Where a documented command or error is tried: a folder of its own, real servers when asked for, the command line."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml.cli import complete
from ml.errors import FourgateError
from ml.settings import Settings, load_settings
from tests.docs.pages import ROOT
from tests.history_builders import write_report, write_run
from tests.postgres import Postgres

NOW = "2026-02-01T00:00:00Z"


class Place:
    """A folder as home and working folder; what is called there prints like a terminal."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest, environment: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._request = request
        self._environment = environment
        environment.chdir(folder)
        self.set("FOURGATE_HOME", folder / "home")

    def set(self, name: str, value: object) -> None:
        """Set a variable of the environment."""
        self._environment.setenv(name, str(value))

    def patch(self, target: object, name: str, value: object) -> None:
        """Shorten a limit of the product, so that nobody waits for it."""
        self._environment.setattr(target, name, value)

    def call(self, *arguments: object) -> str:
        """What the command line prints, errors included."""
        done = CliRunner(env={"COLUMNS": "1000"}).invoke(complete(), [str(one) for one in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    def run(self, *arguments: str) -> str:
        """The same in a process of its own, for what starts others."""
        command = [sys.executable, "-W", "ignore", "-c", "from ml.cli import main; main()", *arguments]
        environment = {**os.environ, "COLUMNS": "1000", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def printed(self, call: Callable[[], object]) -> str:
        """The error of a call, as the command line prints it."""
        with pytest.raises(FourgateError) as caught:
            call()
        return f"{type(caught.value).__name__}: {caught.value}"

    def settings(self) -> Settings:
        """The settings as they are now."""
        return load_settings()

    def warehouse(self) -> Postgres:
        """A migrated PostgreSQL; the settings name it."""
        postgres: Postgres = self._request.getfixturevalue("postgres")
        self.set("FOURGATE_WAREHOUSE_DSN", postgres.pipeline_dsn)
        return postgres

    def empty_database(self) -> Postgres:
        """A PostgreSQL that no migration has touched."""
        found: Postgres = self._request.getfixturevalue("empty_database")
        return found

    def mlflow(self) -> Path:
        """A real MLflow server that the settings name; returns the folder of its artifacts."""
        self.set("FOURGATE_MLFLOW_TRACKING_URI", self._request.getfixturevalue("mlflow_uri"))
        folder: Path = self._request.getfixturevalue("mlflow_artifacts")
        return folder

    def history(self, runs: int = 3, failing: int = 1, tests: int = 4) -> Path:
        """A history of the project shop: runs an hour apart from 2026-01-01 on, the first `failing` with a failure."""
        for number in range(runs):
            start = f"2026-01-{1 + number // 24:02}T{number % 24:02}:00:00Z"
            finish = start.replace(":00:00Z", ":30:00Z")
            folder = self.folder / "history" / f"r{number}"
            run = write_run(folder, f"r{number}", start, finished_at=finish, project="shop")
            for test in range(tests):
                write_report(run / "linux" / f"{test}.xml", f"t{test}", failed=number < failing and test == 0)
        return self.folder / "history"

    def collect(self, history: Path | None = None) -> str:
        """Collect a history into the warehouse and the lake."""
        return self.call("collect", history or self.history(), "--as-of", NOW)

    def collect_runs(self) -> str:
        """Collect runs without results: quick, as no batch has to be judged."""
        return self.collect(self.history(tests=0))


def is_told(documented: str, printed: str) -> bool:
    """Whether every documented line is a printed line, in this order; `...` stands for what differs by place."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    patterns = [
        ".*".join(re.escape(part) for part in " ".join(line.split()).split("..."))
        for line in documented.strip().splitlines()
    ]
    return all(any(re.fullmatch(pattern, line) for line in lines) for pattern in patterns)
