"""Airflow's share: how long its files take to parse, and what a task takes beside the stage that it calls.

The tasks are those of the stack that runs in `.fourgate` (`make run` first); without one only files are parsed.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from subprocess import PIPE, run
from typing import Any

from ml import stack
from ml.errors import StackError
from ml.settings import MODELS, load_settings

ROOT = Path(__file__).resolve().parents[1]
# Tasks whose stage asks one question or none: what they take is Airflow and imports.
SMALL = ("projects", "require_contracts")
PARSE = """
import sys, time, runpy
import airflow.sdk
sys.path.insert(0, "plugins")
began = time.process_time()
runpy.run_path(sys.argv[1])
print(time.process_time() - began)
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """Seconds of one thing, median of `count`."""

    family: str
    name: str
    count: int
    seconds: float
    note: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.family}, {self.name}: {self.seconds:.2f} s (median of {self.count}; {self.note})"


def figures(quick: bool, scratch: Path) -> Iterator[Figure]:
    """Files first, then tasks."""
    for path in sorted((ROOT / "dags").glob("*.py"))[: 1 if quick else None]:
        seconds = [_parsed(path) for _ in range(1 if quick else 3)]
        yield Figure("DAG file", path.name, len(seconds), median(seconds), "CPU seconds, airflow.sdk loaded before")
    if quick:
        return
    try:
        tasks = list(_tasks())
    except StackError as error:
        print(f"  tasks: skipped, {error}")
        return
    names = sorted({task["task_id"].rpartition(".")[2] for task in tasks})
    for name in names:
        mine = [task for task in tasks if task["task_id"].rpartition(".")[2] == name]
        waits = [_seconds(task["scheduled_when"], task["start_date"]) for task in mine]
        yield Figure("waiting", name, len(mine), median(waits), "from scheduled to started")
        note = "started to ended: Airflow's own and imports" if name in SMALL else "started to ended, stage included"
        yield Figure("task", name, len(mine), median(task["duration"] for task in mine), note)


def _parsed(path: Path) -> float:
    done = run([sys.executable, "-c", PARSE, str(path)], cwd=ROOT, stdout=PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _tasks() -> Iterator[dict[str, Any]]:
    """Every task that really ran."""
    api = stack.running(load_settings()).airflow_api()
    dag_ids = [
        "collect_ci_data",
        *(f"{name}_{model}" for model in MODELS for name in ("detect_drift", "train", "publish")),
    ]
    for dag_id, run_id in sorted(api.run_ids(dag_ids)):
        yield from (task for task in api.tasks(dag_id, run_id) if task["state"] == "success" and task["duration"])


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
