"""What docker-compose.yml starts, started outside of containers: same commands, environment, secrets, health checks.

Only places change: folders of a container become temporary ones, host names become loopback, ports become free ones.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from ml.stack.postgres import OWNER, EmbeddedPostgres, binaries
from ml.stack.supervisor import end_session
from tests.compose import ROOT, SERVICES, image_environment, secrets_recipe
from tests.mlflow_server import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
ONCE = ("migrate", "airflow-init")  # in this order
LASTING = [name for name in SERVICES if name not in {*ONCE, "postgres"}]
HEALTHY_WITHIN_S = 600  # on a busy two-core machine
LOOPBACK = "127.0.0.1"
HOSTS = {"postgres": "5432", "mlflow": "5000", "airflow-api-server": "8080", "receiver": "8090"}


@dataclass
class Containers:
    """The services of the compose file as processes below one folder."""

    folder: Path
    ports: dict[str, str] = field(default_factory=lambda: {port: str(free_port()) for port in HOSTS.values()})
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def secrets(self) -> dict[str, str]:
        """Each secret that the how-to makes."""
        return {path.name: path.read_text() for path in (self.folder / ".secrets").iterdir()}

    @property
    def postgres(self) -> EmbeddedPostgres:
        """Stands for the image of the same release."""
        return EmbeddedPostgres(self.folder / "postgres", int(self.ports["5432"]), self.secrets["owner_password"])

    def placed(self, text: str) -> str:
        """A text of the compose file with this machine's folders, hosts and ports, each replaced once."""
        here = {
            "/run/secrets": str(self.folder / ".secrets"),
            "/var/lib/fourgate": str(self.folder / "state"),
            "/opt/fourgate/.venv/bin": str(Path(sys.executable).parent),
            "/opt/fourgate": str(ROOT),
            "/tmp": str(self.folder / "tmp"),  # noqa: S108 - of the container
            "/history": str(self.folder / "history"),
            "$PATH": os.environ["PATH"],
            "$$": "$",
            "0.0.0.0": LOOPBACK,  # noqa: S104 - within the container
            **{f"{host}:{port}": f"{LOOPBACK}:{self.ports[port]}" for host, port in HOSTS.items()},
            **{
                f"{name}:{port}": f"{name}:{here}"
                for name in (LOOPBACK, "localhost")
                for port, here in self.ports.items()
            },
            **{f"--port {port}": f"--port {here}" for port, here in self.ports.items()},
        }
        if text in self.ports:
            return self.ports[text]
        longest_first = sorted(here, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda found: here[found[0]], text)

    def environment(self, name: str) -> dict[str, str]:
        """What the container would see, and nothing of the machine's own."""
        declared = {**image_environment(), "HOME": "/var/lib/fourgate", **SERVICES[name].get("environment", {})}
        return {key: self.placed(str(value)) for key, value in declared.items()}

    def command(self, name: str) -> list[str]:
        """The service's command line."""
        return [self.placed(part) for part in SERVICES[name]["command"]]

    def once(self, name: str) -> str:
        """Run a service that ends; returns what it said."""
        done = subprocess.run(
            self.command(name),
            env=self.environment(name),
            cwd=self.folder / "readonly",
            capture_output=True,
            text=True,
            check=False,
            timeout=HEALTHY_WITHIN_S,
        )
        assert done.returncode == 0, f"{name}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def start(self, name: str) -> None:
        """Start a service that lasts."""
        with (self.folder / f"{name}.log").open("wb") as output:
            self.processes[name] = subprocess.Popen(
                self.command(name),
                env=self.environment(name),
                cwd=self.folder / "readonly",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def is_healthy(self, name: str) -> bool:
        """What the health check of a service says."""
        kind, *check = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        if name == "postgres":
            check = [str(binaries() / check[0]), *check[1:], "-p", self.ports["5432"]]
            environment = dict(os.environ)
        else:
            environment = self.environment(name)
        command = [self.placed(part) for part in check]
        return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60).returncode == 0

    def log(self, name: str) -> str:
        """What a service wrote."""
        return (self.folder / f"{name}.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    folder = Path(tempfile.mkdtemp(prefix="fg-compose-", dir="/tmp"))
    for name in (".secrets", "state", "readonly", "history", "tmp"):
        (folder / name).mkdir()
    started = Containers(folder)
    subprocess.run([sys.executable, "-c", secrets_recipe()], cwd=folder, check=True)
    for secret in (folder / ".secrets").glob("*_dsn"):
        secret.chmod(0o644)
        secret.write_text(started.placed(secret.read_text()))
    try:
        started.postgres.start()
        started.postgres.ensure_database("fourgate", OWNER, started.secrets["owner_password"])
        for name in ONCE:
            (folder / f"{name}.log").write_text(started.once(name))
        for name in LASTING:
            started.start(name)
        yield started
    finally:
        for process in started.processes.values():
            end_session(process.pid)
            process.wait(30)
        started.postgres.stop()
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["postgres", *LASTING])
def test_a_service_runs_by_its_command_until_its_health_check_answers(containers: Containers, name: str) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while not containers.is_healthy(name):
        if name != "postgres":
            assert containers.processes[name].poll() is None, containers.log(name)[-3000:]
        assert time.monotonic() < deadline, containers.log(name)[-3000:]
        time.sleep(1)


def test_the_services_found_the_roles_and_databases_that_migrate_made(containers: Containers) -> None:
    assert "role airflow owns it" in containers.log("migrate")
    assert "applied" in containers.log("migrate")


def test_nothing_is_written_where_a_container_is_read_only(containers: Containers) -> None:
    assert [path.name for path in (containers.folder / "readonly").iterdir()] == []
    assert [path.name for path in (containers.folder / "history").iterdir()] == []


def _shown_by(process: psutil.Process) -> tuple[tuple[str, Collection[str]], ...]:
    """Environment and command line of a process; empty if it has ended meanwhile."""
    try:
        return ("environment", process.environ().values()), ("command line", process.cmdline())
    except psutil.NoSuchProcess:
        return ()


def test_no_secret_is_in_an_environment_on_a_command_line_or_in_a_log(containers: Containers) -> None:
    secrets = containers.secrets
    shown = {
        (name, where, secret)
        for name, process in containers.processes.items()
        for member in family(process.pid)
        for where, told in _shown_by(member)
        for secret, text in secrets.items()
        if any(text in one for one in told)
    }
    # MLflow takes the address of its database from nowhere else
    mlflow = {("mlflow", "environment", f"mlflow_database_{kind}") for kind in ("dsn", "password")}
    assert shown - mlflow == set()
    logs = [*containers.folder.glob("*.log"), *(containers.folder / "state").rglob("*.log")]
    told = {path.name for path in logs for text in secrets.values() if text in path.read_text(errors="replace")}
    assert told == set()


def test_every_published_port_listens_on_loopback(containers: Containers) -> None:
    listening = [one.laddr for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    ports = {int(port) for port in containers.ports.values()}
    assert {(LOOPBACK, port) for port in ports} == {(one.ip, one.port) for one in listening if one.port in ports}


def test_a_health_check_notices_that_its_service_is_gone(containers: Containers) -> None:
    for name in ("mlflow", "airflow-api-server"):
        end_session(containers.processes[name].pid)
        assert not containers.is_healthy(name)
    assert not containers.is_healthy("airflow-scheduler")


def family(pid: int) -> list[psutil.Process]:
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]
