"""The containers say the same as the embedded stack; read as files, as no Docker engine is needed for that."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ml.cli import complete
from ml.settings import FILE, PREFIX, SECRETS, Settings
from ml.stack.airflow_api import POOLS
from ml.stack.services import QUIET, prepare
from tests.compose import COMPOSE, DECLARED, DOCKERFILE, ROOT, SERVICES, image_environment, secrets_recipe, texts

COMMANDS = {command.name or command.callback.__name__ for command in complete().registered_commands if command.callback}
AIRFLOW = sorted(name for name in SERVICES if name.startswith("airflow-"))
ONCE = {"migrate", "airflow-init"}
COMMAND = "_CMD"  # Airflow takes a secret from what the command in such a variable prints
MOUNT = "/run/secrets/"


def test_every_service_of_the_embedded_stack_has_a_container(tmp_path: Path) -> None:
    embedded = {service.name for service in prepare(Settings(home=tmp_path)).services()}
    assert embedded | {"postgres", "migrate", "airflow-init"} == set(SERVICES)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_fourgate_variable_is_a_setting(name: str) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | {secret + FILE for secret in SECRETS}
    given = {key for key in SERVICES[name].get("environment", {}) if key.startswith(PREFIX)}
    assert given <= known
    assert {key for key in image_environment() if key.startswith(PREFIX)} <= known


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_port_is_bound_to_loopback(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", []) if not str(port).startswith("127.0.0.1:")] == []
    assert SERVICES[name].get("network_mode") is None


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_secret_stands_in_an_environment_and_each_is_read_from_a_file_of_the_service(name: str) -> None:
    service = SERVICES[name]
    environment = {key: str(value) for key, value in service.get("environment", {}).items()}
    secret = {key: value for key, value in environment.items() if re.search("PASSWORD|SECRET|_KEY|DSN|CONN|SALT", key)}
    places = {key: value.removeprefix("cat ") for key, value in secret.items() if not key.endswith("PASSWORDS_FILE")}
    assert {key for key in places if not key.endswith((FILE, COMMAND))} == set()
    assert {key: place for key, place in places.items() if not place.startswith(MOUNT)} == {}
    read = {
        name for text in texts([service.get("command", []), environment]) for name in re.findall(MOUNT + r"(\w+)", text)
    }
    assert read == set(service.get("secrets", []))
    assert [text for text in texts(service) if re.search("://[^/]*:[^/]*@", text)] == []


def test_every_secret_is_used_and_is_a_file_that_the_how_to_makes(tmp_path: Path) -> None:
    (tmp_path / ".secrets").mkdir()
    subprocess.run([sys.executable, "-c", secrets_recipe()], cwd=tmp_path, check=True)
    made = {path.name: path.read_text() for path in (tmp_path / ".secrets").iterdir()}
    declared = {name: secret["file"] for name, secret in DECLARED["secrets"].items()}
    assert declared == {name: f".secrets/{name}" for name in made if name != "reader_dsn"}
    assert set(declared) == {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert len(set(made.values())) == len(made)
    assert min(len(text) for text in made.values()) >= 32
    assert {(tmp_path / ".secrets" / name).stat().st_mode & 0o777 for name in made} == {0o444}


def test_secrets_and_local_state_reach_neither_git_nor_an_image() -> None:
    assert {".secrets/", ".env", ".fourgate/"} <= set((ROOT / ".gitignore").read_text().split())
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
        for name in line.split()
    }
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_nothing_but_the_history_comes_from_the_environment_of_whoever_starts_compose() -> None:
    assert set(re.findall(r"\$\{([A-Z_]+)", COMPOSE.read_text())) == {"HISTORY"}


@pytest.mark.parametrize("name", AIRFLOW)
def test_airflow_is_set_up_as_in_the_embedded_stack(name: str, tmp_path: Path) -> None:
    wanted = {key for key in prepare(Settings(home=tmp_path)).environment() if key.startswith("AIRFLOW__")}
    given = {**image_environment(), **SERVICES[name]["environment"]}
    assert {key.removesuffix(COMMAND) for key in given if key.startswith("AIRFLOW__")} == wanted


def test_settings_that_do_not_depend_on_the_place_have_the_same_values(tmp_path: Path) -> None:
    wanted = prepare(Settings(home=tmp_path)).environment()
    given = {**image_environment(), **SERVICES["airflow-scheduler"]["environment"]}
    same = (
        "AIRFLOW__CORE__EXECUTOR",
        "AIRFLOW__CORE__LOAD_EXAMPLES",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS",
        "AIRFLOW__SCHEDULER__CATCHUP_BY_DEFAULT",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT",
        *QUIET,
    )
    assert {key: given.get(key) for key in same} == {key: wanted[key] for key in same}
    mlflow = set(SERVICES["mlflow"]["environment"]) | set(
        re.findall("MLFLOW_[A-Z_]+", str(SERVICES["mlflow"]["command"]))
    )
    own = {key for key in wanted if key.startswith("MLFLOW_")} - set(os.environ)
    assert mlflow == own - set(QUIET)


@pytest.mark.parametrize("name", AIRFLOW)
def test_the_pipeline_never_sees_the_owners_address(name: str) -> None:
    assert [secret for secret in SERVICES[name]["secrets"] if secret.startswith("owner")] == []
    assert "WAREHOUSE_ADMIN_DSN" not in " ".join(SERVICES[name]["environment"])


def test_every_command_exists_and_pools_are_those_of_the_embedded_stack() -> None:
    told = [" ".join(service["command"]) for service in SERVICES.values() if "command" in service]
    ours = {name for text in told for name in re.findall(r"fourgate ([a-z]+)", text)}
    assert ours == {"migrate", "receive"}
    assert ours <= COMMANDS
    made = dict(re.findall(r"airflow pools set (\w+) (\d+)", " ".join(told)))
    assert made == {name: str(slots) for name, (slots, _) in POOLS.items()}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_gives_up_rights_and_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert {"mem_limit", "cpus", "pids_limit", "logging"} <= set(service)
    assert "privileged" not in service


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_every_lasting_service_has_a_health_check_with_a_limit(name: str) -> None:
    assert {"test", "interval", "timeout", "retries"} <= set(SERVICES[name]["healthcheck"])


def test_the_image_is_pinned_runs_as_nobody_and_leaves_nothing_to_build_with() -> None:
    text = DOCKERFILE.read_text()
    images = [*re.findall(r"^ARG PYTHON=(.+)$", text, re.MULTILINE), *re.findall("--from=([^ ]+/[^ ]+)", text)]
    images += [service["image"] for service in SERVICES.values()]
    pinned = re.compile(r".+:\d+\.\d+[^@]*@sha256:[0-9a-f]{64}")
    assert [image for image in images if not pinned.fullmatch(image) and not image.startswith("fourgate-")] == []
    first, last = text.split("\nFROM ")[1:]
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE) == [SERVICES["airflow-scheduler"]["user"]]
    assert "uv sync --locked" in first
    assert "pip uninstall --yes pip" in last
    assert not re.search(r"\buv\b|pip install", last)
    assert re.findall(r"apt-get install (?:-\S+ )+(\S+) \\$", last, re.MULTILINE) == ["libgomp1"]
