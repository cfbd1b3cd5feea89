"""The command line: help, exit codes, one line for an error that Fourgate raises on purpose."""

import json
import math
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import extensions
from typer.testing import CliRunner

from ml.cli import complete
from ml.cli.output import show
from ml.spec import Measure
from tests.history_builders import write_run
from tests.postgres import PIPELINE_PASSWORD, READER_PASSWORD, Postgres, run_sql

NAMES = sorted(
    command.name or command.callback.__name__
    for command in complete().registered_commands
    if command.callback is not None
)
WITH_MOMENT = ("collect", "label", "features", "drift", "train", "publish", "monitor")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOURGATE_HOME", str(tmp_path / "home"))
    for name in ("PIPELINE_PASSWORD", "READER_PASSWORD", "AIRFLOW_DATABASE_PASSWORD", "MLFLOW_DATABASE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr with its lines joined."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(complete(), list(arguments))
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


def test_the_issue_of_a_user_finds_every_stage() -> None:
    stages = {"collect", "validate", "label", "features", "drift", "train", "judge", "promote", "publish", "monitor"}
    assert stages | {"rollback", "status", "verify", "up", "down", "run", "migrate"} <= set(NAMES)
    assert {"explain", "frame", "reproduce", "doctor"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself(name: str) -> None:
    code, told, error = call(name, "--help")
    assert (code, error) == (0, "")
    assert f"{name} [OPTIONS]" in told


@pytest.mark.parametrize("name", WITH_MOMENT)
def test_a_malformed_moment_is_refused_in_one_line_with_a_right_one(name: str) -> None:
    code, told, error = call(name, "--as-of", "yesterday")
    assert (code, told) == (2, "")
    assert error == "SettingsError: 'yesterday' is no moment; right would be 2026-01-31T08:00:00Z"


@pytest.mark.parametrize("name", ["features", "drift", "train", "judge", "promote", "publish", "monitor", "status"])
def test_an_unknown_model_is_refused_with_the_known_ones(name: str) -> None:
    code, _, error = call(name, "--model", "tarot")
    assert code == 2
    assert (
        error
        == "SettingsError: 'tarot' is not a model of Fourgate; the models are test_selection, build_risk, flaky_tests"
    )


def test_a_misspelt_setting_stops_the_start_with_the_right_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOURGATE_THREAD", "2")
    code, _, error = call("status")
    assert code == 2
    assert "FOURGATE_THREAD is not a setting of Fourgate; did you mean FOURGATE_THREADS?" in error


def test_markup_in_an_error_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    code, _, error = call("run", str(tmp_path / "[bold]no[/bold]"))
    assert code == 3
    assert "[bold]no[/bold]" in error


def test_without_a_warehouse_the_missing_setting_is_named() -> None:
    code, _, error = call("status")
    assert code == 6
    assert "FOURGATE_WAREHOUSE_DSN" in error


def test_an_empty_lake_and_an_unknown_project_are_told_with_what_there_is(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOURGATE_WAREHOUSE_DSN", postgres.pipeline_dsn)
    assert call("features")[0] == 8
    write_run(tmp_path / "history" / "r1", "r1", "2026-01-01T00:00:00Z", project="ozone")
    code, told, error = call("collect", str(tmp_path / "history"), "--json", "--as-of", "2026-02-01T00:00:00Z")
    assert (code, error) == (0, "")
    assert json.loads(told)["new_rows"] == 1
    code, _, error = call("train", "--project", "azone")
    assert (code, error) == (8, "NotEnoughData: project 'azone' is not in the lake; there are: ozone")


def test_json_has_value_objects_as_mappings_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    show({"comparison": {"apfd": Measure(0.5, math.nan, math.inf)}}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"comparison": {"apfd": {"value": 0.5, "low": None, "high": None}}}


def test_migrate_says_which_setting_is_missing() -> None:
    code, _, error = call("migrate")
    assert code == 2
    assert "FOURGATE_WAREHOUSE_ADMIN_DSN is not set; right would be postgresql://" in error


def test_migrate_makes_the_schema_the_roles_and_the_databases_and_may_be_repeated(
    empty_database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "it's %s \\ \" odd"
    monkeypatch.setenv("FOURGATE_WAREHOUSE_ADMIN_DSN", empty_database.admin_dsn)
    # roles belong to the server that other tests use: their passwords stay as they are
    monkeypatch.setenv("PIPELINE_PASSWORD", PIPELINE_PASSWORD)
    monkeypatch.setenv("READER_PASSWORD", READER_PASSWORD)
    monkeypatch.setenv("MLFLOW_DATABASE_PASSWORD", password)
    try:
        code, told, _ = call("migrate")
        assert code == 0
        assert "0001_ledger_and_audit.sql" in told
        assert "airflow" not in told
        own = extensions.make_dsn(empty_database.admin_dsn, user="mlflow", password=password, dbname="mlflow")
        connection = psycopg2.connect(own)
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE owned (id integer)")
        connection.close()
        code, told, _ = call("migrate")
        assert (code, "up to date" in told) == (0, True)
        assert password not in told
    finally:
        run_sql(empty_database.admin_dsn, "DROP DATABASE IF EXISTS mlflow WITH (FORCE)")
        run_sql(empty_database.admin_dsn, "DROP ROLE IF EXISTS mlflow")
