"""What a data engineer does to the whole stack: clear, backfill, pause, fill in forms, maintain, stop in the middle."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from ml.settings import MODELS
from tests.e2e.stack import Finished, processes_of
from tests.history_builders import write_report, write_run
from tests.ml.sources.github.server import TOKEN, GitHubServer, add_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

COLLECT = "collect_ci_data"
PATIENCE_S = 900
DAGS = [
    COLLECT,
    *(f"{stage}_{model}" for model in MODELS for stage in ("detect_drift", "train", "publish")),
    "monitor_models",
    "maintain",
]
STATE = """
SELECT (SELECT count(*) FROM fourgate.collection_batch), (SELECT max(snapshot_id) FROM fourgate.collection_batch),
       (SELECT count(*) FROM fourgate.publication), (SELECT count(*) FROM fourgate.prediction),
       (SELECT count(*) FROM fourgate.gate_verdict), (SELECT count(*) FROM fourgate.drift_report),
       (SELECT count(*) FROM fourgate.monitor_report), (SELECT string_agg(version, ',') FROM fourgate.champion)
"""


class Operator:
    """A person with Airflow's REST API, which the buttons of its pages call."""

    def __init__(self, finished: Finished) -> None:
        self.finished = finished
        stack = finished.stack
        login = {"username": "admin", "password": stack.secrets["airflow_admin"]}
        self._http = httpx.Client(base_url=stack.airflow_url, timeout=60, trust_env=False)
        token = self._http.post("/auth/token", json=login).json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._http.request(method, f"/api/v2/{path}", **request)

    def do(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer = self.ask(method, path, **request)
        assert answer.is_success, f"{answer.status_code} {answer.text[:1000]}"
        return dict(answer.json()) if answer.content else {}

    def trigger(self, dag_id: str, **conf: Any) -> str:
        body = {"logical_date": None, "conf": conf}
        return str(self.do("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def runs(self, *dag_ids: str) -> list[dict[str, Any]]:
        body = {"dag_ids": list(dag_ids), "order_by": "run_after", "page_limit": 100}
        return list(self.do("POST", "dags/~/dagRuns/list", json=body)["dag_runs"])

    def pause(self, dag_id: str, is_paused: bool) -> None:
        self.do("PATCH", f"dags/{dag_id}", json={"is_paused": is_paused})

    def await_choice(self, dag_id: str, field: str, choice: str) -> None:
        """Wait until a form offers a choice: Airflow reads the files of DAGs anew every so often."""
        deadline = time.monotonic() + PATIENCE_S
        while choice not in self.do("GET", f"dags/{dag_id}/details")["params"][field]["schema"]["enum"]:
            assert time.monotonic() < deadline
            time.sleep(2)

    def settle(self) -> None:
        """Wait until nothing is queued or running, assets' runs included."""
        deadline, quiet_since = time.monotonic() + PATIENCE_S, time.monotonic()
        while time.monotonic() - quiet_since < 5:
            if [run for run in self.runs(*DAGS) if run["state"] in {"queued", "running"}]:
                quiet_since = time.monotonic()
            assert time.monotonic() < deadline, [run for run in self.runs(*DAGS) if run["state"] != "success"]
            time.sleep(2)

    def failed(self) -> list[str]:
        return [f"{run['dag_id']} {run['dag_run_id']}" for run in self.runs(*DAGS) if run["state"] == "failed"]

    def sql(self, statement: str, database: str = "") -> list[tuple[Any, ...]]:
        address = self.finished.settings.airflow_database.get_secret_value().replace("+psycopg2", "")
        connection = psycopg2.connect(address if database else self.finished.stack.postgres.owner_dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def lake_runs(self, project: str) -> set[str]:
        from ml.stages.opening import open_lake

        lake = open_lake(self.finished.settings)
        found = lake.read("runs", lake.versions()["runs"], project, ["run_id"])
        return set(found.column("run_id").to_pylist())


@pytest.fixture(scope="module")
def operator(finished: Finished) -> Iterator[Operator]:
    done = finished.fourgate("up")
    assert done.returncode == 0, done.stderr
    operator = Operator(finished)
    yield operator
    operator.close()


def test_clearing_every_task_of_every_dag_changes_nothing_more(operator: Operator) -> None:
    repeated = [dag_id for dag_id in DAGS if dag_id != "maintain"]  # maintaining twice has a test of its own
    # Labels make a snapshot, which is learned from; what is new is compared with what was learned.
    for stages in (("monitor",), ("train",), ("detect_drift", "publish", "monitor")):
        for dag_id in repeated:
            if dag_id.startswith(stages):
                operator.trigger(dag_id)
        operator.settle()
    before = operator.sql(STATE)
    newest = {run["dag_id"]: run["dag_run_id"] for run in operator.runs(*repeated)}
    assert set(newest) == set(repeated)
    for dag_id, run_id in newest.items():
        body = {"dry_run": False, "only_failed": False, "dag_run_id": run_id}
        assert operator.do("POST", f"dags/{dag_id}/clearTaskInstances", json=body)["total_entries"] > 0
    operator.settle()
    assert operator.failed() == []
    assert operator.sql(STATE) == before


def write_runs(folder: Path, project: str, *starts: str) -> Path:
    """A run of four tests per start; it is named after its hour and minute."""
    for start in starts:
        name = start[11:16]
        run = write_run(folder / name.replace(":", ""), name, start, project=project, finished_at=start)
        for test in ("a", "b", "c", "d"):
            write_report(run / "linux" / f"{test}.xml", test)
    return folder


def backfill(operator: Operator, folder: Path, again: str = "none") -> None:
    body = {
        "dag_id": COLLECT,
        "from_date": "2026-01-05T11:00:00Z",
        "to_date": "2026-01-05T12:00:00Z",
        "dag_run_conf": {"history": str(folder)},
        "reprocess_behavior": again,
        "max_active_runs": 1,
    }
    number = operator.do("POST", "backfills", json=body)["id"]
    operator.settle()
    deadline = time.monotonic() + PATIENCE_S
    while not operator.do("GET", f"backfills/{number}")["completed_at"]:  # Airflow looks every half minute
        assert time.monotonic() < deadline
        time.sleep(1)


def test_a_backfill_collects_the_hours_it_was_asked_for_once(operator: Operator, tmp_path: Path) -> None:
    day = "2026-01-05T"
    starts = [f"{day}{clock}:00Z" for clock in ("09:59", "10:00", "10:40", "11:20", "12:00")]
    folder = write_runs(tmp_path / "past", "past/app", *starts)
    backfill(operator, folder)
    assert operator.failed() == []
    assert operator.lake_runs("past/app") == {"10:00", "10:40", "11:20"}
    hours = [run for run in operator.runs(COLLECT) if run["run_type"] == "backfill"]
    assert [run["data_interval_start"] for run in hours] == [f"{day}10:00:00Z", f"{day}11:00:00Z"]
    before = operator.sql(STATE)
    backfill(operator, folder, again="completed")
    assert operator.lake_runs("past/app") == {"10:00", "10:40", "11:20"}
    assert operator.sql(STATE) == before

    events = operator.do("GET", "assets/events", params={"limit": 100, "order_by": "-timestamp"})["asset_events"]
    names = {run["dag_run_id"] for run in hours}  # another test's collections are events too
    newest = [
        event["extra"] for event in events if event["source_run_id"] in names and event["extra"].get("batches") == 1
    ]
    assert {extra["rows"]["runs"] for extra in newest} == {1, 2}
    assert {extra["rows"]["test_results"] for extra in newest} == {4, 8}
    assert all(extra["bytes"] > 0 and extra["snapshot_id"] > 0 for extra in newest)
    assert all(0 < extra["quality_score"] <= 1 and extra["rejected"] == 0 for extra in newest)


def test_what_was_missed_in_a_pause_is_caught_up_with_once(operator: Operator) -> None:
    operator.pause(COLLECT, True)
    for run in operator.runs(COLLECT):
        if run["run_type"] == "scheduled":  # the last automatic run is then the backfill's, long ago
            operator.do("DELETE", f"dags/{COLLECT}/dagRuns/{run['dag_run_id']}")
    write_runs(
        operator.finished.settings.home / "simulated", "missed/app", "2026-02-01T08:00:00Z", "2026-02-02T09:00:00Z"
    )
    operator.pause(COLLECT, False)
    unpaused_at = datetime.now(UTC)
    deadline = time.monotonic() + PATIENCE_S
    while not (scheduled := [run for run in operator.runs(COLLECT) if run["run_type"] == "scheduled"]):
        assert time.monotonic() < deadline
        time.sleep(2)
    operator.settle()
    due = [run for run in scheduled if datetime.fromisoformat(run["run_after"]) <= unpaused_at]
    assert len(due) == 1
    assert operator.lake_runs("missed/app") == {"08:00", "09:00"}


def test_a_ci_server_is_collected_with_the_token_of_a_connection(operator: Operator) -> None:
    file = operator.finished.settings.sources
    with GitHubServer() as server:
        for number in (1, 2):
            add_run(server, number, f"2026-01-0{number}T08:00:00Z")
        file.write_text(
            '[source.gh]\nkind = "github_actions"\nproject = "on/github"\nrepository = "acme/shop"\n'
            f'url = "{server.url}"\n'
        )
        password = {"connection_id": "fourgate_gh", "conn_type": "generic", "password": TOKEN}
        operator.do("POST", "connections", json=password)
        try:
            operator.await_choice(COLLECT, "source", "gh")
            run_id = operator.trigger(COLLECT, source="gh", as_of="2026-02-01T00:00:00Z")
            operator.settle()
        finally:
            operator.do("DELETE", "connections/fourgate_gh")
            file.unlink()
    assert operator.do("GET", f"dags/{COLLECT}/dagRuns/{run_id}")["state"] == "success"
    assert operator.lake_runs("on/github") == {"1", "2"}
    assert operator.failed() == []


@pytest.mark.parametrize(
    ("dag_id", "conf", "told"),
    [
        ("monitor_models", {"model": "crystal_ball"}, "crystal_ball"),
        ("roll_back_champion", {"model": "test_selection", "project": "", "reason": "slower than before"}, "project"),
        ("roll_back_champion", {"model": "test_selection", "project": "p", "reason": "bad"}, "reason"),
        ("train_test_selection", {"as_of": "yesterday"}, "as_of"),
        ("maintain", {"dry_run": "maybe"}, "dry_run"),
    ],
)
def test_a_form_refuses_what_is_no_choice(operator: Operator, dag_id: str, conf: dict[str, str], told: str) -> None:
    answer = operator.ask("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
    assert answer.status_code in {400, 422}
    assert told in answer.text


def test_a_history_that_nobody_can_read_fails_at_once_and_says_why(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text("<testsuite><testcase", encoding="utf-8")
    run_id = operator.trigger(COLLECT, history=str(tmp_path))
    operator.settle()
    tasks = operator.do("GET", f"dags/{COLLECT}/dagRuns/{run_id}/taskInstances")["task_instances"]
    [failed] = [task for task in tasks if task["state"] == "failed"]
    assert failed["try_number"] == 1
    api = operator.finished.stack.airflow_api()
    assert api.reason(failed).startswith(
        f"UnreadableHistory: {tmp_path} holds no CI history that can be read; expected "
    )
    api.close()
    operator.do("DELETE", f"dags/{COLLECT}/dagRuns/{run_id}")


def test_maintaining_twice_removes_what_is_old_once(operator: Operator) -> None:
    operator.trigger("monitor_models")
    operator.settle()
    old = next(run for run in operator.runs("monitor_models"))
    operator.sql(
        "UPDATE dag_run SET start_date = now() - interval '100 days', queued_at = now() - interval '100 days' "
        f"WHERE dag_id = 'monitor_models' AND run_id = '{old['dag_run_id']}'",
        "airflow",
    )
    planned = maintain(operator, "--dry-run")
    assert planned["airflow"]["rows"]["dag_run"] == 1
    done = maintain(operator)
    assert done["airflow"]["rows"]["dag_run"] == 1
    assert done["models"]["collected_garbage"]
    assert (done["models"]["runs"], done["files"]["removed"]) == (0, 0)
    assert old["dag_run_id"] not in {run["dag_run_id"] for run in operator.runs("monitor_models")}
    again = maintain(operator)
    assert again["airflow"]["rows"]["dag_run"] == 0
    assert again["lake"] == {**done["lake"], "files_before": done["lake"]["files_after"]}
    use = json.loads(operator.finished.fourgate("disk", "--json").stdout)
    sizes = {row["kind"]: row["bytes"] for row in use["kinds"]}
    assert min(sizes[kind] for kind in ("lake", "payloads", "Data Docs", "MLflow artifacts", "PostgreSQL")) > 0


def maintain(operator: Operator, *options: str) -> dict[str, Any]:
    done = operator.finished.fourgate("maintain", "--json", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


def test_down_in_the_middle_of_a_task_leaves_no_process(operator: Operator) -> None:
    run_id = operator.trigger("train_test_selection")
    deadline = time.monotonic() + PATIENCE_S
    path = f"dags/train_test_selection/dagRuns/{run_id}/taskInstances"
    while "running" not in [task["state"] for task in operator.do("GET", path)["task_instances"]]:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    done = operator.finished.fourgate("down")
    assert done.returncode == 0, done.stderr
    assert processes_of(operator.finished.settings.home) == []
