"""How a task learns its moment; in a process of its own, as Airflow reads its settings on import."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = ("", "2026-01-31T08:00", "2026-01-31T08:00:00.123Z", "2026-01-31T08:00:00+01:00")
NO_MOMENTS = ("yesterday", "2026-01-31", "31.01.2026 08:00", "2026-01-31T08:00:00Z; rm -r /", "1e9999")
ASK = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
from datetime import UTC, datetime
from types import SimpleNamespace
from fourgate.defaults import AS_OF, collected_at, moment, no_later_than_start, project_field, span
from ml.settings import Settings

nominal, started = datetime(2026, 1, 1, 2, tzinfo=UTC), datetime(2026, 1, 9, 5, tzinfo=UTC)
timed = SimpleNamespace(data_interval_end=nominal, logical_date=nominal, run_after=nominal, start_date=started)
by_asset = SimpleNamespace(data_interval_end=None, logical_date=None, run_after=nominal, start_date=started)
told = {}
for name, run in (("timed", timed), ("by_asset", by_asset)):
    for as_of in ("", "2026-03-01T08:00:00", "2026-03-01T08:00:00+01:00"):
        context = {"dag_run": run, "params": {"as_of": as_of or None}}
        found = [moment(Settings(clock=clock), context) for clock in ("history", "wall")] + [collected_at(context)]
        told[name + " " + as_of] = [one and one.astimezone(UTC).isoformat() for one in found]
        if not as_of.endswith("+01:00"):
            told["upkeep " + name + " " + as_of] = [no_later_than_start(context).astimezone(UTC).isoformat()]
form = {"since": "2026-01-01T00:00:00Z", "until": None}
hour = {"data_interval_start": nominal, "data_interval_end": started}
for kind in ("backfill", "manual", "scheduled"):
    told["span " + kind] = list(span({"dag_run": SimpleNamespace(run_type=kind, **hour), "params": form}))
told["early upkeep"] = [no_later_than_start({"dag_run": timed, "params": {"as_of": "2020-01-01T00:00:00"}}).isoformat()]
from airflow.sdk.api.datamodels._generated import AssetEventDagRunReference
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor
from fourgate.assets import ci_history, pushed_runs
from fourgate.defaults import is_pushed
for asset in (None, pushed_runs, ci_history):
    about = {"asset": {"name": asset.name, "uri": asset.uri, "extra": {}} if asset else {}}
    about |= {"extra": {}, "source_aliases": []}
    about |= {"source_task_id": None, "source_dag_id": None, "source_run_id": None, "source_map_index": None}
    about |= {"timestamp": nominal.isoformat(), "partition_key": None}
    events = [AssetEventDagRunReference.model_validate(about)] if asset else []
    triggering = TriggeringAssetEventsAccessor.build(events)
    told["is pushed " + (asset.name if asset else "nothing")] = [is_pushed({"triggering_asset_events": triggering})]
for name, projects in (("any", ""), ("chosen", "a/b, c")):
    os.environ["FOURGATE_PROJECTS"] = projects
    told["form " + name] = [project_field().schema.get("enum"), project_field(required=True).schema.get("enum")]
from airflow.sdk.exceptions import ParamValidationError
for text in sys.argv[1:]:
    try:
        told["moment " + text] = [AS_OF.resolve(text)]
    except ParamValidationError:
        told["moment " + text] = ["refused"]
print("RESULT" + json.dumps(told))
"""
NOMINAL, STARTED = "2026-01-01T02:00:00+00:00", "2026-01-09T05:00:00+00:00"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | None]]:
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
        "TZ": "America/New_York",
    }
    command = [sys.executable, "-c", ASK, *MOMENTS, *NO_MOMENTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=home)
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    return dict(json.loads(done.stdout.split("RESULT", 1)[1]))


@pytest.mark.parametrize("run", ["timed", "by_asset"])
def test_models_stand_at_the_nominal_moment_and_data_comes_in_when_the_run_really_starts(
    told: dict[str, list[str | None]], run: str
) -> None:
    assert told[f"{run} "] == [None, NOMINAL, STARTED]


@pytest.mark.parametrize("run", ["timed", "by_asset"])
def test_the_form_decides_for_all_and_is_in_utc_unless_it_says_otherwise(
    told: dict[str, list[str | None]], run: str
) -> None:
    assert told[f"{run} 2026-03-01T08:00:00"] == ["2026-03-01T08:00:00+00:00"] * 3
    assert told[f"{run} 2026-03-01T08:00:00+01:00"] == ["2026-03-01T07:00:00+00:00"] * 3


def test_a_backfill_collects_its_interval_and_any_other_run_what_the_form_says(
    told: dict[str, list[str | None]],
) -> None:
    assert told["span backfill"] == [NOMINAL, STARTED]
    assert told["span manual"] == told["span scheduled"] == ["2026-01-01T00:00:00+00:00", None]


def test_upkeep_takes_nothing_for_old_that_is_not(told: dict[str, list[str | None]]) -> None:
    assert told["upkeep timed "] == told["upkeep timed 2026-03-01T08:00:00"] == [STARTED]
    assert told["early upkeep"] == ["2020-01-01T00:00:00+00:00"]


def test_a_run_is_of_pushed_runs_alone_only_where_their_asset_started_it(told: dict[str, list[Any]]) -> None:
    assert told["is pushed pushed_runs"] == [True]
    assert told["is pushed nothing"] == told["is pushed ci_history"] == [False]


def test_the_project_is_a_choice_where_the_configuration_names_projects(told: dict[str, list[Any]]) -> None:
    assert told["form any"] == [None, None]
    assert told["form chosen"] == [["", "a/b", "c"], ["a/b", "c"]]


@pytest.mark.parametrize("text", MOMENTS)
def test_a_form_takes_a_moment_with_or_without_its_time_zone(told: dict[str, list[Any]], text: str) -> None:
    assert told[f"moment {text}"] == [text]


@pytest.mark.parametrize("text", NO_MOMENTS)
def test_a_form_refuses_what_is_no_moment(told: dict[str, list[Any]], text: str) -> None:
    assert told[f"moment {text}"] == ["refused"]
