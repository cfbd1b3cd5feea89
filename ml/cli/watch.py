"""Watches Airflow's runs, also those that assets start, and tells each task as it ends."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ml.cli.output import console, plain
from ml.errors import StackError
from ml.stack.airflow_api import ENDED, AirflowApi

TIMEOUT_S = 7200.0
SETTLE_S = 5.0
ASSET_RUN = "asset_triggered"
MARKS = {"success": "[green]done   [/]", "skipped": "[yellow]skipped[/]", "failed": "[bold red]failed [/]"}


class Watch:
    """Follows everything that the given DAGs do from now on."""

    def __init__(self, api: AirflowApi, dag_ids: list[str]) -> None:
        self._api = api
        self._dag_ids = dag_ids
        self._before = api.run_ids(dag_ids)
        self._told: set[tuple[str, str, str, int, int]] = set()

    def run(self, dag_id: str, conf: Mapping[str, Any]) -> None:
        """Trigger a DAG and wait until it, and whatever it starts through assets, is done."""
        self._api.trigger(dag_id, conf)
        self.wait()

    def wait(self) -> None:
        """Wait until nothing is queued or running; a run that an asset starts appears a few seconds after its event.

        Raises:
            StackError: it takes more than two hours.
        """
        deadline = time.monotonic() + TIMEOUT_S
        quiet_since = time.monotonic()
        with console.status("waiting for the scheduler") as status:
            while time.monotonic() - quiet_since < SETTLE_S:
                for task in self.tasks():
                    self._tell(task)
                busy = self._api.busy(self._dag_ids)
                if busy:
                    quiet_since = time.monotonic()
                    status.update(f"running: {', '.join(busy)}")
                if time.monotonic() > deadline:
                    raise StackError(f"still running after {TIMEOUT_S:.0f} s: {', '.join(busy)}; see the Airflow page")
                time.sleep(1.0)

    def was_started_by_asset(self, dag_id: str) -> bool:
        """Whether an asset started this DAG meanwhile."""
        new = self._api.run_ids([dag_id]) - self._before
        return any(run_id.startswith(ASSET_RUN) for _, run_id in new)

    def tasks(self) -> Iterator[dict[str, Any]]:
        """Task instances of all new runs."""
        for dag_id, run_id in sorted(self._api.run_ids(self._dag_ids) - self._before):
            yield from self._api.tasks(dag_id, run_id)

    def _tell(self, task: Mapping[str, Any]) -> None:
        key = (task["dag_id"], task["dag_run_id"], task["task_id"], task["map_index"], task["try_number"])
        if task["state"] not in ENDED or key in self._told:
            return
        self._told.add(key)
        mark = MARKS.get(task["state"], plain(f"{task['state']:<7}"))
        seconds = f"{task['duration']:6.1f} s" if task["duration"] is not None else " " * 8
        index = f"[{task['map_index']}]" if task["map_index"] >= 0 else ""
        console.print(f"{mark} {seconds}  {plain(task['dag_id'])} . {plain(task['task_id'] + index)}")
        if task["state"] == "failed":
            lines = self._api.log(task["dag_id"], task["dag_run_id"], task)[-15:]
            console.print(plain("\n".join(lines)), style="red")
