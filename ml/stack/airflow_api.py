"""A client of Airflow's REST API: trigger a DAG, follow its runs, make the pools."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from ml.errors import StackError

POOLS = {
    "lake_writers": (1, "The lake has one writer at a time; more would only wait for its lock."),
    "training": (1, "Fitting takes all cores of the machine."),
}
DONE = {"success", "failed"}
RETRIES = "up_for_retry"
ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}
TIMEOUT_S = 30.0
SKIPS = "Skipping task."  # what Airflow's runner logs beside the reason
LAST_LINES = 15  # of a log that names no error
PAGE = 100  # Airflow answers with no more at once


class AirflowApi:
    """Talks to one Airflow as one user."""

    def __init__(self, url: str, user: str, password: str, timeout_s: float = TIMEOUT_S) -> None:
        # trust_env: a proxy of the environment could not reach this machine's loopback address
        self._client = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)
        self._login = {"username": user, "password": password}
        self._token_until = 0.0

    def make_pools(self) -> None:
        """Make the pools that the DAGs name; those that exist are left as somebody may have tuned them."""
        for name, (slots, description) in POOLS.items():
            body = {"name": name, "slots": slots, "description": description, "include_deferred": False}
            self._call("POST", "/api/v2/pools", json=body, accept=(201, 409))

    def wait_for_dag(self, dag_id: str, timeout_s: float) -> None:
        """Wait until the DAG processor has read a DAG.

        Raises:
            StackError: it did not appear in time; says which import errors Airflow reports.
        """
        deadline = time.monotonic() + timeout_s
        while self._call("GET", f"/api/v2/dags/{dag_id}", accept=(200, 404)).get("dag_id") != dag_id:
            if time.monotonic() > deadline:
                errors = self._call("GET", "/api/v2/importErrors").get("import_errors", [])
                told = "; ".join(f"{error['filename']}: {error['stack_trace'][-300:]}" for error in errors)
                raise StackError(f"Airflow did not load {dag_id} in {timeout_s:.0f} s; import errors: {told or 'none'}")
            time.sleep(0.5)

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Start a run with the form's values; returns its run id."""
        body = {"logical_date": None, "conf": dict(conf)}
        return str(self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def runs(self, dag_ids: Iterable[str]) -> list[dict[str, Any]]:
        """The newest runs of these DAGs, newest first, in one call."""
        body = {"dag_ids": sorted(dag_ids), "order_by": "-run_after", "page_limit": PAGE}
        return list(self._call("POST", "/api/v2/dags/~/dagRuns/list", json=body)["dag_runs"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run, in order of their start."""
        found: list[dict[str, Any]] = []
        while True:
            query = {"limit": PAGE, "offset": len(found), "order_by": "id"}
            page = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params=query)
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return sorted(found, key=lambda task: str(task["start_date"] or "9999"))

    def reason(self, task: Mapping[str, Any]) -> str:
        """Why a try of a task failed or was skipped: its error or reason, or the end of its log."""
        run = f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}"
        path = f"{run}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        query = {"map_index": task["map_index"], "full_content": True}
        lines = self._call("GET", path, params=query, accept=(200, 404)).get("content", [])
        told = [line for line in lines if isinstance(line, dict)]
        if task["state"] == "skipped":
            return "".join(str(line.get("reason", "")) for line in told if line.get("event") == SKIPS)
        if errors := [line["error_detail"] for line in told if line.get("error_detail")]:
            raised = errors[-1][0]  # those after it are its causes
            return f"{raised['exc_type']}: {raised['exc_value']}"
        return "\n".join(str(line.get("event", "")) for line in told[-LAST_LINES:])

    def emit(self, asset: str) -> None:
        """Tell Airflow that an asset changed: the DAGs that are scheduled on it start.

        Raises:
            StackError: Airflow does not answer, refuses, or knows no such asset.
        """
        found = self._call("GET", "/api/v2/assets", params={"name_pattern": asset, "limit": PAGE})["assets"]
        ids = [one["id"] for one in found if one["name"] == asset]
        if not ids:
            raise StackError(f"Airflow knows no asset {asset!r}; right would be the DAGs of this release")
        self._call("POST", "/api/v2/assets/events", json={"asset_id": ids[0]})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _call(self, method: str, path: str, accept: tuple[int, ...] = (200, 201), **request: Any) -> dict[str, Any]:
        try:
            if time.monotonic() > self._token_until:
                self._log_in()
            answer = self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise StackError(f"Airflow does not answer at {self._client.base_url}{path}: {error}") from error
        if answer.status_code not in accept:
            raise StackError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:500]}")
        return dict(answer.json())

    def _log_in(self) -> None:
        answer = self._client.post("/auth/token", json=self._login)
        if answer.status_code != httpx.codes.CREATED:
            raise StackError(f"Airflow refused the login of {self._login['username']!r} ({answer.status_code})")
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        self._token_until = time.monotonic() + 600
