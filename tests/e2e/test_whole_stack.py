"""The whole stack: real PostgreSQL, MLflow and Airflow's scheduler, driven by the command a user types."""

import json
import os
import signal
from typing import Any

import httpx
import psutil
import psycopg2
import pytest

from ml.settings import GATES
from ml.stack import running
from tests.e2e.stack import WORLD, Finished, processes_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]


def query(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def test_the_scheduler_took_the_history_to_a_filled_results_table(finished: Finished) -> None:
    rows = query(
        finished.stack.role_dsn("reader"),
        "SELECT count(*), count(DISTINCT publication_id), min(probability), max(probability), "
        "bool_and(reasons IS NOT NULL), count(DISTINCT model_version), count(*) FILTER (WHERE change_id = 'next') "
        "FROM fourgate.current_prediction",
    )
    count, publications, low, high, explained, versions, following = rows[0]
    assert count > 100
    assert (publications, versions, explained) == (1, 1, True)
    assert 0 <= low < high <= 1
    assert following > 0


def test_every_gate_left_a_verdict_in_postgres_and_in_mlflow(finished: Finished) -> None:
    verdicts = "SELECT gate, status FROM fourgate.gate_verdict WHERE model = 'test_selection' ORDER BY gate"
    stored = query(finished.stack.role_dsn("reader"), verdicts)
    assert stored == [(gate, "pass") for gate in sorted(GATES)]
    champion = query(finished.stack.role_dsn("reader"), "SELECT mlflow_run_id, route FROM fourgate.champion")
    run_id, route = champion[0]
    assert route == "first"
    answer = httpx.get(f"{finished.stack.mlflow_url}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, timeout=60)
    tags = {tag["key"]: tag["value"] for tag in answer.json()["run"]["data"]["tags"]}
    assert {tags[f"gate.{gate}"] for gate in GATES} == {"pass"}


def test_the_summary_shows_what_a_user_wants_to_know(finished: Finished) -> None:
    for told in ("data_quality", "statistical", "stability", "consistency", "failure_rate_with_decay"):
        assert told in finished.output
    for told in ("P(fail)", "Wall time per stage", finished.stack.airflow_url, finished.stack.mlflow_url):
        assert told in finished.output
    assert finished.stack.secrets["airflow_admin"] in finished.output


def test_a_second_run_changes_nothing(finished: Finished) -> None:
    reader = finished.stack.role_dsn("reader")
    # of this project: where another one was pushed meanwhile, the second run trains a model of both
    statement = (
        f"SELECT (SELECT count(*) FROM fourgate.prediction WHERE project = '{WORLD.project}'), "
        "(SELECT count(*) FROM fourgate.collection_batch), "
        f"(SELECT version FROM fourgate.champion WHERE project = '{WORLD.project}')"
    )
    before = query(reader, statement)
    done = finished.fourgate("run", str(finished.history))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert query(reader, statement) == before


def test_every_port_listens_on_loopback_only(finished: Finished) -> None:
    ports = set(finished.stack.ports.values())
    addresses = {
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in ports
    }
    assert addresses == {"127.0.0.1"}


def test_no_secret_is_in_any_log(finished: Finished) -> None:
    home = finished.settings.home
    secrets = list(finished.stack.secrets.values())
    told = [
        path.name
        for path in [*home.glob("logs/*"), *home.glob("airflow/logs/**/*")]
        if path.is_file() and any(secret in path.read_text(errors="replace") for secret in secrets)
    ]
    assert told == []


def test_the_state_files_are_readable_by_their_owner_only(finished: Finished) -> None:
    home = finished.settings.home
    modes = {name: (home / name).stat().st_mode & 0o077 for name in ("secrets.json", "stack.env")}
    assert modes == {"secrets.json": 0, "stack.env": 0}


def test_reports_ask_for_a_login_and_stay_in_their_folder(finished: Finished) -> None:
    url = f"{finished.stack.airflow_url}/fourgate/reports"
    page = next((finished.settings.home / "reports").rglob("index.html")).relative_to(
        finished.settings.home / "reports"
    )
    assert httpx.get(f"{url}/{page}", timeout=60).status_code in {401, 403}
    login = {"username": "admin", "password": finished.stack.secrets["airflow_admin"]}
    token = httpx.post(f"{finished.stack.airflow_url}/auth/token", json=login, timeout=60).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    shown = httpx.get(f"{url}/{page}", headers=headers, timeout=60)
    assert shown.status_code == 200
    assert "sandbox" in shown.headers["content-security-policy"]
    for trick in ("..%2f..%2fsecrets.json", "%2e%2e/secrets.json", "....//secrets.json", "nothing.html"):
        assert httpx.get(f"{url}/{trick}", headers=headers, timeout=60).status_code == 404


def test_status_as_json_is_json(finished: Finished) -> None:
    done = finished.fourgate("status", "--json")
    told = {(row["model"], row["project"]): row for row in json.loads(done.stdout)["projects"]}
    assert told["test_selection", WORLD.project]["champion_version"] == "1"


def test_down_ends_every_process_even_after_the_supervisor_was_killed(finished: Finished) -> None:
    home = finished.settings.home
    supervisor = int(finished.state["pid"])
    os.kill(supervisor, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(supervisor)] if psutil.pid_exists(supervisor) else [], timeout=10)
    assert processes_of(home), "the services should have outlived their supervisor"
    done = finished.fourgate("down")
    assert done.returncode == 0, done.stderr
    assert processes_of(home) == []
    assert "nothing was running" in finished.fourgate("down").stdout


def test_up_starts_again_from_what_was_left(finished: Finished) -> None:
    done = finished.fourgate("up")
    assert done.returncode == 0, done.stderr
    stack = running(finished.settings)
    champion = f"SELECT version FROM fourgate.champion WHERE project = '{WORLD.project}'"
    assert query(stack.role_dsn("reader"), champion) == [("1",)]
    assert finished.fourgate("down").returncode == 0
    assert processes_of(finished.settings.home) == []
