"""The doctor among the broken: each thing that can be wrong is a finding with what mends it, and hides no other."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from ml.cli import doctor
from ml.settings import Settings
from ml.spec import ModelVersion
from ml.stages.diagnosis import SUBJECTS, Finding, Health, Patient, examine, machine, services
from ml.stages.opening import open_lake, open_registry, open_warehouse
from tests.champion_builders import log_version
from tests.lake_builders import record
from tests.ml.stages.test_rollback import MODEL, PROJECT, promote
from tests.mlflow_server import free_port
from tests.postgres import Postgres

pytestmark = pytest.mark.slow

SECRET = "s3cret-of-the-warehouse"  # pragma: allowlist secret


def now() -> datetime:
    return datetime.now(UTC)


def of(findings: list[Finding], subject: str) -> list[Finding]:
    return [one for one in findings if one.subject == subject]


@pytest.fixture
def ruin(tmp_path: Path) -> Settings:
    """Nothing that these settings name is there."""
    closed = free_port()
    return Settings(
        home=tmp_path / "home",
        warehouse_dsn=SecretStr(f"postgresql://fourgate_pipeline:{SECRET}@127.0.0.1:{closed}/fourgate"),
        mlflow_tracking_uri=f"http://127.0.0.1:{closed}",
        airflow_url=f"http://127.0.0.1:{closed}",
    )


def test_with_every_server_down_each_is_named_with_the_command_that_starts_it(ruin: Settings) -> None:
    findings = list(examine(Patient(ruin, now)))
    assert {one.subject for one in findings} == set(SUBJECTS)
    for subject in ("database", "mlflow", "airflow"):
        (found,) = of(findings, subject)
        assert (found.health, found.mend) == (Health.WRONG, "fourgate up")
        assert str(ruin.mlflow_tracking_uri).rpartition(":")[2] in found.found
    for subject in ("clock", "lake", "aliases"):
        (found,) = of(findings, subject)
        assert found.health is Health.SKIPPED
        assert "come" in found.found
    assert SECRET not in str(findings)


def test_a_server_elsewhere_is_its_owners_to_start(ruin: Settings) -> None:
    settings = ruin.model_copy(update={"mlflow_tracking_uri": "http://mlflow.invalid:5000"})
    (found,) = services.mlflow(Patient(settings, now))
    assert found.health is Health.WRONG
    assert found.mend == "start the server at mlflow.invalid, or correct FOURGATE_MLFLOW_TRACKING_URI"


def test_a_check_that_breaks_is_a_finding_and_the_others_are_made(ruin: Settings) -> None:
    patient = Patient(ruin, now, stack={"status": "ready", "ports": {"postgres": "not a port"}})
    findings = list(examine(patient))
    (found,) = of(findings, "ports")
    assert found.health is Health.WRONG
    assert "not a port" in found.found
    assert {one.subject for one in findings} == set(SUBJECTS)


def test_a_port_of_a_stranger_is_told_with_the_process(ruin: Settings) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        settings = ruin.model_copy(update={"mlflow_port": stranger.getsockname()[1]})
        found = next(one for one in machine.ports(Patient(settings, now)) if one.found.startswith("mlflow"))
        assert found.health is Health.WARNING
        assert "is taken by" in found.found
        assert found.mend.startswith("FOURGATE_MLFLOW_PORT=")
        running = Patient(settings, now, stack={"status": "ready", "session": -1, "ports": {}})
        found = next(one for one in machine.ports(running) if one.found.startswith("mlflow"))
        assert (found.health, "not by the stack" in found.found) == (Health.WRONG, True)


def test_a_running_stack_that_does_not_listen_is_wrong(ruin: Settings) -> None:
    settings = ruin.model_copy(update={"postgres_port": free_port()})
    found = next(machine.ports(Patient(settings, now, stack={"status": "ready"})))
    assert (found.health, found.mend) == (Health.WRONG, "fourgate down && fourgate up")


def test_the_push_endpoint_of_a_running_stack_is_asked(ruin: Settings) -> None:
    with HTTPServer(("127.0.0.1", 0), Ailing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        patient = Patient(ruin, now, stack={"status": "ready", "ports": {"receiver": server.server_address[1]}})
        (found,) = services.receiver(patient)
        server.shutdown()
        thread.join()
    assert (found.health, "runs can be pushed to 127.0.0.1:" in found.found) == (Health.OK, True)
    (found,) = services.receiver(patient)
    assert (found.health, found.mend) == (Health.WRONG, "fourgate down && fourgate up")
    (found,) = services.receiver(Patient(ruin, now))
    assert found.health is Health.SKIPPED


def test_packages_are_held_against_the_lock(ruin: Settings, tmp_path: Path) -> None:
    lock = tmp_path / "uv.lock"
    lock.write_text('[[package]]\nname = "NumPy"\nversion = "0.1"\n')
    (found,) = machine.packages(Patient(ruin, now), lock)
    assert found.health is Health.WRONG
    assert "instead of 0.1" in found.found
    assert "make setup" in found.mend
    (found,) = machine.packages(Patient(ruin, now))
    assert found.health is Health.OK


def test_a_disk_with_less_room_than_needed_is_wrong(ruin: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FULL_GB", 1e9)
    (found,) = machine.disk(Patient(ruin, now))
    assert (found.health, "frames" in found.mend) == (Health.WRONG, True)


def test_secrets_that_others_can_read_are_wrong(ruin: Settings) -> None:
    ruin.home.mkdir()
    (ruin.home / "secrets.json").write_text("{}")
    (ruin.home / "secrets.json").chmod(0o644)
    (found,) = machine.home(Patient(ruin, now))
    assert (found.health, found.mend) == (Health.WRONG, f"chmod 600 {ruin.home / 'secrets.json'}")


def test_a_home_that_is_a_file_is_wrong(ruin: Settings) -> None:
    ruin.home.write_text("")
    (found,) = machine.home(Patient(ruin, now))
    assert found.health is Health.WRONG


class Ailing(BaseHTTPRequestHandler):
    """Airflow's health page, with a dead scheduler."""

    def do_GET(self) -> None:
        parts = {"metadatabase": {"status": "healthy"}, "scheduler": {"status": "unhealthy"}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(parts).encode())

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture
def ailing() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Ailing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_part_of_airflow_that_died_is_named(ruin: Settings, ailing: str) -> None:
    (found,) = services.airflow(Patient(ruin.model_copy(update={"airflow_url": ailing}), now))
    assert found.health is Health.WRONG
    assert "not healthy: scheduler" in found.found


@pytest.mark.integration
def test_a_database_without_tables_wants_its_migrations(ruin: Settings, empty_database: Postgres) -> None:
    settings = ruin.model_copy(update={"warehouse_dsn": SecretStr(empty_database.admin_dsn)})
    (found,) = services.database(Patient(settings, now))
    assert (found.health, found.mend) == (Health.WRONG, "fourgate migrate")


@pytest.mark.integration
def test_a_clock_an_hour_off_is_wrong_and_the_right_one_is_not(ruin: Settings, postgres: Postgres) -> None:
    settings = ruin.model_copy(update={"warehouse_dsn": SecretStr(postgres.pipeline_dsn)})
    (right,) = services.clock(Patient(settings, now))
    assert right.health is Health.OK
    (wrong,) = services.clock(Patient(settings, lambda: now() - timedelta(hours=1)))
    assert wrong.health is Health.WRONG
    assert "3600" in wrong.found or "3599" in wrong.found


@pytest.fixture
def serving(fourgate: Settings) -> ModelVersion:
    """A champion on a lake that the ledger names, while MLflow's aliases name another version."""
    versions = open_lake(fourgate).create()
    with open_warehouse(fourgate) as warehouse, warehouse.lake_lock():
        warehouse.record_batch(record("b1", versions), warehouse.next_sequence())
    champion = promote(fourgate, 1, None)
    open_registry(fourgate).project_champion(log_version(fourgate, 9), None)
    return champion


@pytest.mark.integration
def test_aliases_that_disagree_with_the_champion_are_told_and_repaired(
    fourgate: Settings, serving: ModelVersion
) -> None:
    (found,) = services.aliases(Patient(fourgate, now))
    assert (found.health, found.mend) == (Health.WRONG, "fourgate doctor --repair")
    other = log_version(fourgate, 9).version
    assert f"MLflow has champion {other}, previous none, the warehouse champion {serving.version}" in found.found
    assert services.repair_aliases(fourgate) == 1
    (found,) = services.aliases(Patient(fourgate, now))
    assert found.health is Health.OK
    assert open_registry(fourgate).aliases(MODEL, PROJECT)["champion"] == serving.version


@pytest.mark.integration
def test_a_lake_that_went_away_or_back_is_wrong(fourgate: Settings, serving: ModelVersion) -> None:
    (found,) = services.lake(Patient(fourgate, now))
    assert found.health is Health.OK
    with open_warehouse(fourgate) as warehouse, warehouse.lake_lock():
        ahead = {**open_lake(fourgate).versions(), "runs": 7}
        warehouse.record_batch(record("b2", ahead), warehouse.next_sequence())
    (found,) = services.lake(Patient(fourgate, now))
    assert (found.health, "runs 0, not 7" in found.found) == (Health.WRONG, True)
    shutil.rmtree(fourgate.lake)
    (found,) = services.lake(Patient(fourgate, now))
    assert (found.health, "cannot be read" in found.found) == (Health.WRONG, True)


def call(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(doctor.app, ["doctor", *arguments])
    return done.exit_code, json.loads(done.stdout)


def test_a_setting_that_cannot_be_read_is_the_first_finding_and_the_code_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOURGATE_THREAD", "2")
    code, told = call("--json")
    assert (code, told["is_well"]) == (1, False)
    assert told["findings"][0]["subject"] == "settings"
    assert "did you mean FOURGATE_THREADS?" in told["findings"][0]["found"]
    assert {one["subject"] for one in told["findings"]} == set(SUBJECTS)


@pytest.mark.integration
def test_the_table_names_what_mends(
    fourgate: Settings, serving: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOURGATE_HOME", str(fourgate.home))
    monkeypatch.setenv("FOURGATE_MLFLOW_TRACKING_URI", fourgate.mlflow_tracking_uri)
    monkeypatch.setenv("FOURGATE_WAREHOUSE_DSN", fourgate.warehouse_dsn.get_secret_value())
    done = CliRunner(env={"COLUMNS": "200"}).invoke(doctor.app, ["doctor"])
    assert done.exit_code == 1
    assert "fourgate doctor --repair" in done.stdout
    done = CliRunner(env={"COLUMNS": "200"}).invoke(doctor.app, ["doctor", "--repair"])
    assert (done.exit_code, "nothing is wrong" in done.stdout) == (0, True)
