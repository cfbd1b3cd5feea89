"""The containers say the same as the embedded stack; read as files, as no Docker engine is needed for that."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.cli import app, pipeline, stack, upkeep
from ml.settings import PREFIX, Settings
from ml.stack.airflow_api import POOLS
from ml.stack.services import QUIET, prepare

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
AIRFLOW = sorted(name for name in SERVICES if name.startswith("airflow-"))
# Written in the how-to as `name=` lines or in the compose file as ${name:?...}.
VARIABLE = re.compile(r"\$\{([A-Z_]+)(:[?-])?[^}]*\}")


def image_environment() -> dict[str, str]:
    text = (ROOT / "Dockerfile.airflow").read_text().replace("\\\n", " ")
    pairs = [pair for line in re.findall(r"^ENV (.+)$", text, re.MULTILINE) for pair in line.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else [str(value)]


def test_every_service_of_the_embedded_stack_has_a_container(tmp_path: Path) -> None:
    embedded = {service.name for service in prepare(Settings(home=tmp_path)).services()}
    assert embedded | {"postgres", "migrate", "airflow-init"} == set(SERVICES)
    assert pipeline.app is stack.app is upkeep.app


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_fourgate_variable_is_a_setting(name: str) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    given = {key for key in SERVICES[name].get("environment", {}) if key.startswith(PREFIX)}
    assert given <= known
    assert {key for key in image_environment() if key.startswith(PREFIX)} <= known


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_port_is_bound_to_loopback(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", []) if not str(port).startswith("127.0.0.1:")] == []
    assert SERVICES[name].get("network_mode") is None


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_password_is_written_here_or_shown_on_a_command_line(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    secret = {key: str(value) for key, value in environment.items() if re.search(r"PASSWORD$|SECRET|_KEY$", key)}
    assert {key: value for key, value in secret.items() if VARIABLE.fullmatch(value) is None} == {}
    addresses = [text for text in texts(SERVICES[name]) if "://" in text and "@" in text]
    assert [text for text in addresses if re.search(r"://[a-z_]+:\$\{[A-Z_]+[:}]", text) is None] == []
    assert "PASSWORD" not in " ".join(texts(SERVICES[name].get("command", [])))
    healthcheck = SERVICES[name].get("healthcheck", {})
    assert "PASSWORD" not in " ".join(texts(healthcheck))


def test_a_missing_secret_stops_compose_by_name_and_the_how_to_makes_each() -> None:
    text = COMPOSE.read_text()
    used = {name for name, _ in VARIABLE.findall(text)} - {"HISTORY"}
    required = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    assert used == required
    how_to = (ROOT / "docs" / "how-to" / "run-in-containers.md").read_text()
    assert [name for name in required if name not in how_to] == []


@pytest.mark.parametrize("name", AIRFLOW)
def test_airflow_is_set_up_as_in_the_embedded_stack(name: str, tmp_path: Path) -> None:
    wanted = {key for key in prepare(Settings(home=tmp_path)).environment() if key.startswith("AIRFLOW__")}
    given = {**image_environment(), **SERVICES[name]["environment"]}
    assert {key for key in given if key.startswith("AIRFLOW__")} == wanted


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
        *QUIET,
    )
    assert {key: given.get(key) for key in same} == {key: wanted[key] for key in same}
    mlflow = SERVICES["mlflow"]["environment"]
    own = {key for key in wanted if key.startswith("MLFLOW_")} - set(os.environ)
    assert set(mlflow) == own - set(QUIET)


@pytest.mark.parametrize("name", AIRFLOW)
def test_the_pipeline_never_sees_the_owners_address(name: str) -> None:
    told = " ".join(texts(SERVICES[name].get("environment", {})))
    assert "POSTGRES_PASSWORD" not in told
    assert "WAREHOUSE_ADMIN_DSN" not in " ".join(SERVICES[name]["environment"])


def test_every_command_exists_and_pools_are_those_of_the_embedded_stack() -> None:
    told = [" ".join(service["command"]) for service in SERVICES.values() if "command" in service]
    ours = {name for text in told for name in re.findall(r"fourgate ([a-z]+)", text)}
    assert ours == {"migrate"}
    assert ours <= COMMANDS
    made = dict(re.findall(r"airflow pools set (\w+) (\d+)", " ".join(told)))
    assert made == {name: str(slots) for name, (slots, _) in POOLS.items()}


def test_every_container_gives_up_rights_and_has_a_memory_limit() -> None:
    for name, service in SERVICES.items():
        assert "mem_limit" in service, name
        if name != "postgres":
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
