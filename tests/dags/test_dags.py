"""The DAG files as Airflow reads them, in a process of its own: Airflow reads its settings on import."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import Section, sections

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
from datetime import UTC, datetime
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
before = set(sys.modules)
bag = DagBag(dag_folder=sys.argv[1])
heavy = {"pandas", "sklearn", "mlflow", "evidently", "pandera", "great_expectations", "duckdb", "ml.stages"}
collect = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(bag.dags["collect_ci_data"]))
day = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 2)]
print("RESULT" + json.dumps({
    "triggers": [asset.name for _, asset in collect.timetable.asset_condition.iter_assets()],
    "can_be_backfilled": collect.timetable.periodic,
    "backfilled": [[str(side) for side in run.data_interval] for run in collect.iter_dagrun_infos_between(*day)],
    "errors": bag.import_errors,
    "heavy": sorted(heavy & (set(sys.modules) - before)),
    "dags": {dag.dag_id: {
        "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
        "retries": [task.retries for task in dag.tasks],
        "timeouts": [task.execution_timeout is not None for task in dag.tasks],
        "owners": sorted({task.owner for task in dag.tasks}),
        "tags": sorted(dag.tags), "doc": dag.doc_md or "", "params": sorted(dag.params),
        "max_active_runs": dag.max_active_runs, "catchup": dag.catchup,
        "assets": sorted(a.name for task in dag.tasks for a in task.outlets),
        "schedule": type(dag.timetable).__name__,
    } for dag in bag.dags.values()},
}))
"""


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
    }
    command = [sys.executable, "-c", READ, str(ROOT / "dags")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=home)
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    return dict(json.loads(done.stdout.split("RESULT", 1)[1]))


def test_every_file_loads_and_the_bag_is_as_the_architecture_says(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert set(bag["dags"]) == {
        "collect_ci_data",
        "detect_drift_test_selection",
        "train_test_selection",
        "publish_test_selection",
        "detect_drift_build_risk",
        "train_build_risk",
        "publish_build_risk",
        "detect_drift_flaky_tests",
        "train_flaky_tests",
        "publish_flaky_tests",
        "monitor_models",
        "maintain",
        "roll_back_champion",
    }


def test_parsing_imports_no_heavy_library(bag: dict[str, Any]) -> None:
    assert bag["heavy"] == []


def test_four_gates_stand_between_fit_and_promote(bag: dict[str, Any]) -> None:
    tasks = bag["dags"]["train_test_selection"]["tasks"]
    gates = {f"retrain.{gate}" for gate in ("data_quality", "statistical", "stability", "consistency")}
    assert gates <= set(tasks["retrain.fit"])
    assert all(tasks[gate] == ["retrain.promote"] for gate in gates)


def test_assets_connect_the_dags(bag: dict[str, Any]) -> None:
    emitted = {dag_id: dag["assets"] for dag_id, dag in bag["dags"].items()}
    assert emitted["collect_ci_data"] == ["ci_history"]
    assert emitted["detect_drift_test_selection"] == ["drift_test_selection"]
    assert emitted["train_test_selection"] == ["champion_test_selection"]
    assert emitted["roll_back_champion"] == ["champion_build_risk", "champion_flaky_tests", "champion_test_selection"]
    assert emitted["train_build_risk"] == ["champion_build_risk"]
    assert emitted["publish_test_selection"] == ["predictions_test_selection"]


def test_pushed_runs_start_a_collection_which_can_still_be_backfilled_hour_by_hour(bag: dict[str, Any]) -> None:
    assert bag["dags"]["collect_ci_data"]["schedule"] == "AssetOrTimeSchedule"
    assert bag["triggers"] == ["pushed_runs"]
    assert bag["can_be_backfilled"] is True
    hours = ["2025-12-31 23:00:00+00:00", *(f"2026-01-01 0{hour}:00:00+00:00" for hour in (0, 1, 2))]
    assert bag["backfilled"] == [[hours[0], hours[1]], [hours[1], hours[2]], [hours[2], hours[3]]]


def test_every_dag_retries_times_out_has_an_owner_tags_and_triage_notes(bag: dict[str, Any]) -> None:
    for dag_id, dag in bag["dags"].items():
        assert min(dag["retries"]) >= 1, dag_id
        assert all(dag["timeouts"]), dag_id
        assert dag["owners"] == ["fourgate"], dag_id
        assert "fourgate" in dag["tags"], dag_id
        assert dag["max_active_runs"] == 1, dag_id
        assert dag["catchup"] is False, dag_id
        assert "**Red is real when:**" in dag["doc"], dag_id
        assert "**Mend:**" in dag["doc"], dag_id


@pytest.fixture(scope="module")
def chapters() -> list[Section]:
    """Chapters of the runbook that stand for a DAG file."""
    found = sections((ROOT / "docs" / "runbook.md").read_text(), level=2).values()
    return [chapter for chapter in found if "**Red is real when:**" in chapter.text]


def test_the_runbook_has_a_chapter_with_every_dag_and_each_of_its_tasks(
    bag: dict[str, Any], chapters: list[Section]
) -> None:
    for dag_id, dag in bag["dags"].items():
        (chapter,) = [one for one in chapters if re.search(rf"^DAG: .*`{dag_id}`", one.text, re.MULTILINE)]
        missing = [task for task in dag["tasks"] if f"`{task.rsplit('.', 1)[-1]}`" not in chapter.text]
        assert missing == [], dag_id


def test_every_chapter_of_the_runbook_says_what_is_normal_what_to_do_and_whom_it_affects(
    chapters: list[Section],
) -> None:
    assert len(chapters) == len(list((ROOT / "dags").glob("*.py")))
    for chapter in chapters:
        for part in ("**Normal red.**", "**What to do ", "**Affects:**"):
            assert part in chapter.text, chapter.title


def test_every_form_lets_a_person_set_the_moment(bag: dict[str, Any]) -> None:
    without = [dag_id for dag_id, dag in bag["dags"].items() if "as_of" not in dag["params"]]
    assert without == []


@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_a_dag_file_is_a_page(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 100
