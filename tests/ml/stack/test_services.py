"""What the embedded stack starts: secrets, ports, commands, and the settings that reach the services."""

import json
import os
import socket
from pathlib import Path

import pytest

from ml.settings import load_settings
from ml.stack.services import SECRET_NAMES, Stack, prepare

DSN = "FOURGATE_WAREHOUSE_DSN"


def stack_of(home: Path, **settings: str) -> Stack:
    return prepare(load_settings({"FOURGATE_HOME": str(home), **settings}))


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.chdir(tmp_path)
    return stack_of(tmp_path / "home")


def test_secrets_are_made_once_long_different_and_for_their_owner_only(stack: Stack) -> None:
    assert set(stack.secrets) == set(SECRET_NAMES)
    assert len(set(stack.secrets.values())) == len(SECRET_NAMES)
    assert min(len(secret) for secret in stack.secrets.values()) >= 32
    assert stack_of(stack.home).secrets == stack.secrets
    stack.write_files()
    private = ("secrets.json", "stack.env", "airflow/passwords.json")
    assert {name: (stack.home / name).stat().st_mode & 0o077 for name in private} == dict.fromkeys(private, 0)
    assert [path.name for path in stack.home.iterdir() if path.name.startswith(".")] == []


def test_a_secret_that_a_later_release_needs_is_added_and_the_others_stay(stack: Stack) -> None:
    vault = stack.home / "secrets.json"
    vault.write_text(json.dumps({name: value for name, value in stack.secrets.items() if name != "jwt"}))
    again = stack_of(stack.home).secrets
    assert {**again, "jwt": ""} == {**stack.secrets, "jwt": ""}
    assert again["jwt"] not in {"", stack.secrets["jwt"]}


def test_a_port_that_is_taken_gives_way_to_the_next_free_one(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        ports = stack_of(tmp_path / "home", FOURGATE_MLFLOW_PORT=str(taken)).ports
    assert taken not in ports.values()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", ports["mlflow"]))


def test_services_that_wish_for_one_port_get_different_ones(tmp_path: Path) -> None:
    names = ("POSTGRES", "MLFLOW", "AIRFLOW", "RECEIVER")
    ports = stack_of(tmp_path / "home", **{f"FOURGATE_{name}_PORT": "23457" for name in names}).ports
    assert len(set(ports.values())) == 4


def test_no_secret_is_on_a_command_line_or_in_a_printed_stack(stack: Stack) -> None:
    told = [repr(stack), repr(stack.postgres), *(" ".join(service.command) for service in stack.services())]
    assert [secret for secret in stack.secrets.values() if any(secret in text for text in told)] == []


def test_every_service_that_listens_does_so_on_loopback(stack: Stack) -> None:
    listening = [service for service in stack.services() if service.health]
    assert {service.name for service in listening} == {"mlflow", "airflow-api-server", "receiver"}
    for service in listening:
        assert service.command[service.command.index("--host") + 1] == "127.0.0.1"
        assert service.health.startswith("http://127.0.0.1:")
    assert "@127.0.0.1:" in stack.postgres.owner_dsn


def test_the_services_write_with_the_pipelines_role_and_never_see_the_owners_address(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = "postgresql://owner:of-the-caller@elsewhere/db"  # pragma: allowlist secret
    monkeypatch.setenv("FOURGATE_WAREHOUSE_ADMIN_DSN", owner)
    monkeypatch.setenv("FOURGATE_WAREHOUSE_ADMIN_DSN_FILE", "/run/secrets/owner")
    monkeypatch.setenv("FOURGATE_WAREHOUSE_DSN_FILE", "/run/secrets/dsn")
    environment = stack.environment()
    stack.write_files()
    assert environment[DSN].startswith("postgresql://fourgate_pipeline:")
    told = "\n".join([*environment.values(), (stack.home / "stack.env").read_text()])
    assert stack.secrets["owner"] not in told
    assert "of-the-caller" not in told
    assert [name for name in environment if name.endswith("_DSN_FILE")] == []


def test_settings_of_a_dotenv_file_reach_the_services_which_run_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"CLOCK": "wall", "HISTORY": "reports", "LAKE_URI": "s3://bucket/lake", "GATES_FILE": "own.toml"}
    (tmp_path / ".env").write_text("".join(f"FOURGATE_{name}={value}\n" for name, value in given.items()))
    environment = stack_of(tmp_path / "home").environment()
    assert environment["FOURGATE_CLOCK"] == "wall"
    assert environment["FOURGATE_HISTORY"] == str(tmp_path / "reports")
    assert environment["FOURGATE_LAKE_URI"] == "s3://bucket/lake"
    assert environment["FOURGATE_GATES_FILE"] == str(tmp_path / "own.toml")
    assert environment["FOURGATE_HOME"] == str(tmp_path / "home")
    assert load_settings({name: value for name, value in environment.items() if name.startswith("FOURGATE_")})


def test_the_command_line_finds_the_running_servers_in_stack_env(stack: Stack) -> None:
    stack.write_files()
    settings = load_settings({"FOURGATE_HOME": str(stack.home)})
    assert settings.warehouse_dsn.get_secret_value() == stack.role_dsn("pipeline")
    assert settings.mlflow_tracking_uri == stack.mlflow_url
    assert settings.warehouse_admin_dsn.get_secret_value() == ""


def test_only_the_push_endpoint_is_given_the_login_of_airflow(stack: Stack) -> None:
    stack.write_files()
    given = {service.name for service in stack.services() if stack.secrets["airflow_admin"] in str(service.environment)}
    assert given == {"receiver"}
    told = [*stack.environment().values(), (stack.home / "stack.env").read_text()]
    assert [text for text in told if stack.secrets["airflow_admin"] in text] == []
    (receiver,) = (service for service in stack.services() if service.name == "receiver")
    environment = {**stack.environment(), **receiver.environment}
    settings = load_settings({name: value for name, value in environment.items() if name.startswith("FOURGATE_")})
    assert (settings.airflow_url, settings.airflow_user) == (stack.airflow_url, "admin")
    assert settings.airflow_password.get_secret_value() == stack.secrets["airflow_admin"]


def test_loopback_is_kept_out_of_a_proxy(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intra.example")
    assert stack.environment()["NO_PROXY"].split(",") == ["intra.example", "127.0.0.1", "localhost"]


def test_nothing_that_is_started_may_call_home(stack: Stack) -> None:
    environment = stack.environment()
    switches = ("AIRFLOW__USAGE_DATA_COLLECTION__ENABLED", "MLFLOW_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED")
    assert [environment[name] for name in switches] == ["False", "true", "false"]
    assert environment["PATH"].endswith(os.environ["PATH"])
