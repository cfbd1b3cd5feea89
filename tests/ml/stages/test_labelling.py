"""Labelling: what is appended to the lake and when, and lakes that never had labels."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from pydantic import SecretStr

from ml import labels
from ml.errors import NotEnoughData
from ml.settings import Settings
from ml.spec import Snapshot
from ml.stages import collection, fetching, labelling, maintenance
from ml.stages.opening import head, open_lake, open_warehouse
from tests.history_builders import write_report, write_run
from tests.postgres import Postgres, run_sql

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn))


def execute(history: Path, number: int, outcome: str, commit: str = "") -> None:
    """One run on a day of its own, with one test that ends as given and four that pass."""
    day = f"2026-01-{number + 1:02d}"
    about = {"finished_at": f"{day}T00:30:00Z", "commit_sha": commit or f"c{number}", "branch": "main"}
    run = write_run(history / f"r{number}", f"r{number}", f"{day}T00:00:00Z", **about)
    write_report(run / "linux" / "t.xml", "t", failed=outcome == "f")
    for test in ("u", "v", "w", "x"):
        write_report(run / "linux" / f"{test}.xml", test)


def collect(settings: Settings, history: Path) -> None:
    batches = fetching.fetch_history(settings, str(history))
    collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])


@pytest.fixture
def history(tmp_path: Path, settings: Settings) -> Path:
    """Four collected runs; the test t fails in the last."""
    for number, outcome in enumerate("pppf"):
        execute(tmp_path / "history", number, outcome)
    collect(settings, tmp_path / "history")
    return tmp_path / "history"


def snapshot_of(settings: Settings) -> Snapshot:
    with open_warehouse(settings) as warehouse:
        found = warehouse.head()
    assert found is not None
    return found


def stored_labels(settings: Settings, snapshot: Snapshot) -> pd.DataFrame:
    return open_lake(settings).read("failure_labels", snapshot.versions["failure_labels"], "p").to_pandas()


def test_a_failure_is_labelled_once_and_again_when_more_is_known(settings: Settings, history: Path) -> None:
    for number in (4, 5, 6):
        execute(history, number, "f")
    collect(settings, history)
    (first,) = labelling.label(settings)
    assert (first["project"], first["failures"], first["appended"]) == ("p", 4, 4)
    assert first["as_of"] == "2026-01-07T00:30:00+00:00"
    (again,) = labelling.label(settings)
    assert (again["appended"], again["snapshot_id"]) == (0, first["snapshot_id"])
    execute(history, 7, "p", commit="c3")
    collect(settings, history)
    (later,) = labelling.label(settings)
    assert later["appended"] >= 1
    snapshot = snapshot_of(settings)
    stored = stored_labels(settings, snapshot)
    told = labels.current(stored).set_index("run_id").loc["r3"]
    then = labels.current(stored, datetime(2026, 1, 8, tzinfo=UTC)).set_index("run_id").loc["r3"]
    assert (told["labelled_at"].day, then["labelled_at"].day) == (8, 7)
    assert told["state"] == "flaky"
    assert told["probability"] > then["probability"]
    (past,) = labelling.label(settings, "p", datetime(2026, 1, 7, 0, 30, tzinfo=UTC))
    assert past["appended"] == 0


def test_labels_leave_the_history_and_its_ledger_rows_alone(settings: Settings, history: Path) -> None:
    before = snapshot_of(settings)
    labelling.label(settings)
    after = snapshot_of(settings)
    assert {**after.versions, "failure_labels": 0} == dict(before.versions)
    assert after.data_until == before.data_until
    with open_warehouse(settings) as warehouse:
        kinds = warehouse.batches("p", after.snapshot_id)
    assert kinds["kind"].tolist() == ["history", "labels"]
    execute(history, 4, "p")
    collect(settings, history)
    assert len(labels.current(stored_labels(settings, snapshot_of(settings)))) == 1


def test_labels_alone_give_nothing_new_to_learn_from(settings: Settings, history: Path) -> None:
    with open_warehouse(settings) as warehouse:
        before = head(warehouse)
        (labelled,) = labelling.label(settings)
        assert labelled["snapshot_id"] > before.snapshot_id
        assert head(warehouse) == before
        execute(history, 4, "p")
        collect(settings, history)
        assert head(warehouse).snapshot_id > labelled["snapshot_id"]


def test_a_lake_of_a_release_without_labels_goes_on(settings: Settings, history: Path, postgres: Postgres) -> None:
    shutil.rmtree(Path(settings.lake) / "failure_labels")
    run_sql(postgres.admin_dsn, "UPDATE fourgate.collection_batch SET versions = versions - 'failure_labels'")
    old = snapshot_of(settings)
    assert "failure_labels" not in old.versions
    execute(history, 4, "f")
    collect(settings, history)
    assert snapshot_of(settings).versions["failure_labels"] == 0
    (told,) = labelling.label(settings)
    assert (told["failures"], told["appended"]) == (2, 2)
    maintenance.maintain(settings.model_copy(update={"keep_lake_days": 0}), NOW)
    assert len(labels.current(stored_labels(settings, snapshot_of(settings)))) == 2


def test_maintenance_of_an_older_lake_adds_the_table(settings: Settings, history: Path, postgres: Postgres) -> None:
    shutil.rmtree(Path(settings.lake) / "failure_labels")
    run_sql(postgres.admin_dsn, "UPDATE fourgate.collection_batch SET versions = versions - 'failure_labels'")
    maintenance.maintain(settings.model_copy(update={"keep_lake_days": 0}), NOW)
    assert labelling.label(settings)[0]["appended"] == 1


def test_an_unknown_project_is_refused_and_the_answer_fits_into_json(settings: Settings, history: Path) -> None:
    with pytest.raises(NotEnoughData, match=r"'q' is not in the lake; there are: p"):
        labelling.label(settings, "q")
    assert json.dumps(labelling.label(settings))


def test_an_empty_lake_has_nothing_to_label(settings: Settings) -> None:
    assert labelling.label(settings) == []
