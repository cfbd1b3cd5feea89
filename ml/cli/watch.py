"""Watches Airflow's runs, also those that assets start, and tells each task as it ends."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ml.cli.output import console, plain
from ml.errors import StackError
from ml.stack.airflow_api import DONE, ENDED, RETRIES, AirflowApi

TIMEOUT_S = 7200.0
SETTLE_S = 5.0
SHORTEST_S, LONGEST_S = 2.0, 5.0
ASSET_RUN = "asset_triggered"
MARKS = {
    "success": "[green]done   [/]",
    "skipped": "[yellow]skipped[/]",
    "failed": "[bold red]failed [/]",
    RETRIES: "[yellow]retries[/]",
}
STYLES = {"skipped": "dim", "failed": "red", RETRIES: "red"}  # of the reason


class Watch:
    """Follows everything that the given DAGs do from now on.

    It asks once for all runs and once per run that goes on, the more seldom the longer nothing changes: whoever watches
    must not keep the API server busy.
    """

    def __init__(self, api: AirflowApi, dag_ids: list[str]) -> None:
        self._api = api
        self._dag_ids = dag_ids
        self._before = {_key(run) for run in api.runs(dag_ids)}
        self._told: set[tuple[str, str, str, int, int]] = set()
        self._ended: dict[tuple[str, str], list[dict[str, Any]]] = {}

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
        pause = SHORTEST_S
        with console.status("waiting for the scheduler") as status:
            while True:
                runs = self._api.runs(self._dag_ids)
                told = sum([self._tell(task) for task in self._tasks_of(runs)])
                busy = sorted({run["dag_id"] for run in runs if run["state"] not in DONE})
                if busy:
                    quiet_since = time.monotonic()
                    status.update(f"running: {', '.join(busy)}")
                elif time.monotonic() - quiet_since >= SETTLE_S:
                    return
                if time.monotonic() > deadline:
                    raise StackError(f"still running after {TIMEOUT_S:.0f} s: {', '.join(busy)}; see the Airflow page")
                pause = SHORTEST_S if told or not busy else min(pause * 1.5, LONGEST_S)
                time.sleep(pause)

    def was_started_by_asset(self, dag_id: str) -> bool:
        """Whether an asset started this DAG meanwhile."""
        new = {_key(run) for run in self._api.runs([dag_id])} - self._before
        return any(run_id.startswith(ASSET_RUN) for _, run_id in new)

    def tasks(self) -> Iterator[dict[str, Any]]:
        """Task instances of all new runs."""
        yield from self._tasks_of(self._api.runs(self._dag_ids))

    def _tasks_of(self, runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Task instances of the new ones of these runs; of an ended run they are asked for once."""
        for run in sorted(runs, key=_key):
            key = _key(run)
            if key in self._before:
                continue
            tasks = self._ended.get(key) or self._api.tasks(*key)
            if run["state"] in DONE:
                self._ended[key] = tasks
            yield from tasks

    def _tell(self, task: Mapping[str, Any]) -> bool:
        """Tell a task once it has ended, and each try that failed, with why; whether there was something to tell."""
        key = (task["dag_id"], task["dag_run_id"], task["task_id"], task["map_index"], task["try_number"])
        if task["state"] not in {*ENDED, RETRIES} or key in self._told:
            return False
        self._told.add(key)
        mark = MARKS.get(task["state"], plain(f"{task['state']:<7}"))
        seconds = f"{task['duration']:6.1f} s" if task["duration"] is not None else " " * 8
        index = f"[{task['map_index']}]" if task["map_index"] >= 0 else ""
        console.print(f"{mark} {seconds}  {plain(task['dag_id'])} . {plain(task['task_id'] + index)}")
        if task["state"] in STYLES and (reason := self._api.reason(task)):
            console.print(f"{' ' * 19}{plain(reason)}", style=STYLES[task["state"]])
        return True


def _key(run: Mapping[str, Any]) -> tuple[str, str]:
    return run["dag_id"], run["dag_run_id"]
