"""What the embedded stack runs: the command, environment and health address of each service."""

import base64
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from ml.settings import FILE, PREFIX, SECRETS, Settings, local_tokens
from ml.stack.airflow_api import AirflowApi
from ml.stack.postgres import EmbeddedPostgres

CLI = "from ml.cli import main; main()"
ROOT = Path(__file__).resolve().parents[2]
PORTS = ("postgres", "mlflow", "airflow", "receiver")  # each a setting <name>_port
SECRET_NAMES = ("owner", "pipeline", "reader", "airflow_database", "mlflow_database", "airflow_admin", "jwt", "session")
ADMIN_DSN = f"{PREFIX}WAREHOUSE_ADMIN_DSN"
QUIET = {  # none of them may call home
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "SCARF_ANALYTICS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True, slots=True)
class Service:
    """One long-running process. `health` is an address that answers 200 when it works; empty = alive is enough.

    `environment` is what it alone is given.
    """

    name: str
    command: tuple[str, ...]
    health: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Stack:
    """The embedded stack of one home folder, with the ports and secrets it uses.

    `given` are the settings that the user made, as variables: services run in another folder than the user's `.env`.
    """

    home: Path
    ports: Mapping[str, int]
    secrets: Mapping[str, str] = field(repr=False)
    threads: int = 2
    given: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def postgres(self) -> EmbeddedPostgres:
        """The embedded server."""
        return EmbeddedPostgres(self.home / "postgres", self.ports["postgres"], self.secrets["owner"])

    @property
    def airflow_url(self) -> str:
        """Address of the Airflow pages."""
        return f"http://127.0.0.1:{self.ports['airflow']}"

    @property
    def mlflow_url(self) -> str:
        """Address of the MLflow pages."""
        return f"http://127.0.0.1:{self.ports['mlflow']}"

    @property
    def receiver_url(self) -> str:
        """Address that CI jobs push runs to."""
        return f"http://127.0.0.1:{self.ports['receiver']}"

    def airflow_api(self) -> AirflowApi:
        """Client of this stack's Airflow, as its administrator."""
        return AirflowApi(self.airflow_url, "admin", self.secrets["airflow_admin"])

    def role_dsn(self, role: str) -> str:
        """Address that `fourgate_pipeline` or `fourgate_reader` uses."""
        return self.postgres.dsn(f"fourgate_{role}", self.secrets[role], "fourgate")

    def fourgate_environment(self) -> dict[str, str]:
        """Settings that the stack hands to the pipeline; also written to ``<home>/stack.env`` for the command line.

        The owner's address is not among them: the supervisor alone migrates, the pipeline writes with its own role.
        """
        return {
            f"{PREFIX}WAREHOUSE_DSN": self.role_dsn("pipeline"),
            f"{PREFIX}MLFLOW_TRACKING_URI": self.mlflow_url,
            f"{PREFIX}AIRFLOW_URL": self.airflow_url,
            f"{PREFIX}AIRFLOW_DATABASE": self._own_database("airflow"),
            f"{PREFIX}MLFLOW_DATABASE": self._own_database("mlflow"),
        }

    def _own_database(self, name: str) -> str:
        """Address that Airflow or MLflow has its own database under."""
        return self.postgres.dsn(name, self.secrets[f"{name}_database"], name, "postgresql+psycopg2")

    def environment(self) -> dict[str, str]:
        """Environment of every service: the caller's own, then ours."""
        airflow = {
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "fourgate.executor.WarmLocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(max(2, min(os.cpu_count() or 2, 8))),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__FERNET_KEY": _fernet_key(self.secrets["session"]),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "airflow" / "passwords.json"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",  # a busy machine is slow, not gone
            "AIRFLOW__API__BASE_URL": self.airflow_url,
            "AIRFLOW__API__SECRET_KEY": self.secrets["session"],
            "AIRFLOW__API_AUTH__JWT_SECRET": self.secrets["jwt"],
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._own_database("airflow"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "airflow" / "logs"),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            "AIRFLOW__SCHEDULER__CATCHUP_BY_DEFAULT": "False",
        }
        mlflow = {
            # in the environment, not on the command line, where `ps` would show the password
            "MLFLOW_BACKEND_STORE_URI": self._own_database("mlflow"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven more processes that nothing here uses
        }
        ours = {**QUIET, **airflow, **mlflow, **self.fourgate_environment(), f"{PREFIX}HOME": str(self.home)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        python = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PATH": path, "MPLBACKEND": "Agg"}
        # Threads of boosting that wait would spin on cores that they do not have.
        python |= {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "passive"}
        hidden = {ADMIN_DSN, *(secret + FILE for secret in SECRETS)}  # what the caller's files say is among the given
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        return {**kept, **self.given, **ours, **python, **_no_proxy()}

    def services(self) -> tuple[Service, ...]:
        """Every service in starting order; each listens on loopback only."""
        python = sys.executable
        mlflow = (
            *(python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.ports["mlflow"])),
            *("--workers", "1"),
            *("--artifacts-destination", str(self.home / "mlflow")),
        )
        api = ("api-server", "--host", "127.0.0.1", "--port", str(self.ports["airflow"]), "--workers", "1")
        health = f"{self.airflow_url}/api/v2/monitor/health"
        receive = ("receive", "--host", "127.0.0.1", "--port", str(self.ports["receiver"]))
        login = {f"{PREFIX}AIRFLOW_USER": "admin", f"{PREFIX}AIRFLOW_PASSWORD": self.secrets["airflow_admin"]}
        return (
            Service("mlflow", mlflow, f"{self.mlflow_url}/health"),
            Service("airflow-api-server", (python, "-m", "airflow", *api), health),
            Service("airflow-dag-processor", (python, "-m", "airflow", "dag-processor"), ""),
            Service("airflow-scheduler", (python, "-m", "airflow", "scheduler"), ""),
            Service("airflow-triggerer", (python, "-m", "airflow", "triggerer"), ""),
            Service("receiver", (python, "-c", CLI, *receive), f"{self.receiver_url}/api/v1/health", login),
        )

    def write_files(self) -> None:
        """Write what other processes read: the settings of the command line and Airflow's password file."""
        settings = "".join(f"{name}='{value}'\n" for name, value in self.fourgate_environment().items())
        _write_private(self.home / "stack.env", settings)
        passwords = json.dumps({"admin": self.secrets["airflow_admin"]})
        (self.home / "airflow").mkdir(exist_ok=True)
        _write_private(self.home / "airflow" / "passwords.json", passwords)


def prepare(settings: Settings) -> Stack:
    """Stack of the settings' home: secrets are made once, ports are the wished ones or the next that are free."""
    home = settings.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    vault = home / "secrets.json"
    known = json.loads(vault.read_text()) if vault.exists() else {}
    kept = {name: known.get(name) or secrets.token_urlsafe(24) for name in SECRET_NAMES}
    if kept != known:
        _write_private(vault, json.dumps(kept))
    ports: dict[str, int] = {}
    for name in PORTS:
        ports[name] = _free_port(getattr(settings, f"{name}_port"), taken=set(ports.values()))
    return Stack(home, ports, kept, settings.threads, _given(settings))


def _given(settings: Settings) -> dict[str, str]:
    """The settings that differ from their defaults, as variables that mean the same in any folder."""
    values: dict[str, str] = {}
    for name in sorted({*settings.model_fields_set, "sources"}):  # its default is a file of the caller's folder
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        is_folder = isinstance(value, Path) or (name in {"history", "lake_uri"} and value and "://" not in value)
        values[PREFIX + name.upper()] = str(Path(value).absolute() if is_folder else value)
    return {name: value for name, value in {**local_tokens(), **values}.items() if value and name != ADMIN_DSN}


def _no_proxy() -> dict[str, str]:
    """The caller's exceptions from its proxy, and this machine: the services talk to each other on loopback."""
    known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    value = ",".join(filter(None, [known, "127.0.0.1", "localhost"]))
    return {"NO_PROXY": value, "no_proxy": value}


def _free_port(wished: int, taken: set[int]) -> int:
    for port in (*range(wished, min(wished + 50, 65536)), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
            if found not in taken:
                return found
    return wished


def _fernet_key(secret: str) -> str:
    return base64.urlsafe_b64encode(secret.encode().ljust(32, b"0")[:32]).decode()


def _write_private(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.touch(mode=0o600)
    scratch.write_text(text)
    scratch.replace(path)
