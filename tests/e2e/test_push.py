"""A pushed run: `fourgate upload` -> the push endpoint of the stack -> an asset event -> collection -> the lake."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from ml.cli.watch import Watch
from ml.settings import MODELS
from ml.stages.opening import open_lake
from tests.e2e.stack import Finished
from tests.history_builders import write_report, write_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
COLLECTED_WITHIN_S = 600  # on a busy two-core machine
PROJECT = "acme/pushed"
FOLLOWING = [f"{stage}_{model}" for stage in ("detect_drift", "train", "publish") for model in MODELS]


def test_a_pushed_run_is_collected_at_once_and_nothing_but_it(finished: Finished, tmp_path: Path) -> None:
    assert finished.fourgate("up").returncode == 0  # another test may have ended it
    stack = finished.stack
    made = finished.fourgate("token", "create", f"e2e-{time.time_ns()}", "--project", PROJECT)
    assert made.returncode == 0, made.stderr
    (tmp_path / "token").write_text(made.stdout)
    folder = write_run(tmp_path / "run", "push-1", project=PROJECT)
    write_report(folder / "linux" / "TEST-a.xml", "a")
    sent = ("--url", stack.receiver_url, "--token-file", str(tmp_path / "token"))
    done = finished.fourgate("upload", str(folder), *sent)
    assert done.returncode == 0, done.stdout + done.stderr
    with closing(stack.airflow_api()) as api:
        deadline = time.monotonic() + COLLECTED_WITHIN_S
        started = []
        while not any(run["state"] == "success" for run in started) and time.monotonic() < deadline:
            started = [run for run in api.runs(["collect_ci_data"]) if run["run_type"] == "asset_triggered"]
            time.sleep(1)
        assert [run["state"] for run in started] == ["success"]
        tasks = api.tasks("collect_ci_data", started[0]["dag_run_id"])
        Watch(api, FOLLOWING).wait()  # other tests count what is there before and after
    assert [task["rendered_map_index"] for task in tasks if task["task_id"] == "fetch"] == ["push"]
    lake = open_lake(finished.settings)
    runs = lake.read("runs", lake.versions()["runs"], PROJECT, ["run_id"])
    assert runs["run_id"].to_pylist() == ["push-1"]
    told = finished.fourgate("status").stdout
    assert stack.receiver_url in told
