"""Each invariant is broken on purpose, in the real place, and told with what mends it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from deltalake import DeltaTable, write_deltalake
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from ml.cli import complete
from ml.registry import Registry, registered_name
from ml.settings import GATES, MODELS, Settings
from ml.spec import ALL_PROJECTS, CandidateRecord, Check, Interval, ModelVersion, Status, TrainingRecord, Verdict
from ml.stages.opening import open_lake, open_registry, open_warehouse
from ml.stages.retraining import project_champion
from ml.stages.verification import Finding, verify
from ml.warehouse import Judgement, Promotion, Publication, Route
from tests.lake_builders import commit, files, record, rejected, results, runs
from tests.ml.warehouse.test_predictions import predictions
from tests.mlflow_server import free_port
from tests.postgres import Postgres, run_sql

pytestmark = pytest.mark.integration

MODEL, PROJECT = "test_selection", "shop"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROWS = pd.DataFrame({"failure_rate": [0.0, 1.0]})
PASSES = [Verdict(gate, Status.PASS, (Check("apfd", 0.9, 0.8, True, True),)) for gate in GATES]
NAMES = [
    "every_batch_once",
    "snapshots_readable",
    "predictions_judged",
    "sets_complete",
    "aliases_agree",
    "artifacts_verified",
]


@pytest.fixture(scope="module")
def version(mlflow_uri: str) -> ModelVersion:
    """A registered model; each test makes it champion in a warehouse of its own."""
    estimator = LogisticRegression().fit(ROWS, [False, True])
    candidate = CandidateRecord("dummy", is_baseline=False, params={}, metrics={})
    trained = TrainingRecord(MODEL, PROJECT, NOON, {}, {"key": "verification"}, (candidate,), "dummy")
    return Registry(mlflow_uri).log_training(trained, estimator, ROWS, estimator.predict_proba(ROWS))


@pytest.fixture
def sound(fourgate: Settings, version: ModelVersion) -> Settings:
    """Two batches, the second with an update of an announced run; a champion; a published set."""
    lake = open_lake(fourgate)
    lake.create()
    finished = runs(("r2", "2026-01-02T00:00:00Z")).assign(finished_at=pd.Timestamp("2026-01-02T01:00:00Z"))
    first = {"runs": runs(("r1", "2026-01-01T00:00:00Z"), ("r2", "2026-01-02T00:00:00Z"))}
    first |= {"test_results": results(("r1", "a", "passed"), ("r1", "b", "failed")), "rejected_rows": rejected("odd")}
    second = {"runs": finished, "test_results": results(("r2", "a", "passed")), "changed_files": files(("r2", "a.py"))}
    with open_warehouse(fourgate) as warehouse:
        for batch_id, frames in (("b1", first), ("b2", second)):
            commit(warehouse, lake, batch_id, frames)
        head = warehouse.head()
        assert head is not None
        warehouse.record_verdicts(Judgement(version, PASSES, "v1", Interval(None, NOON), head.snapshot_id, NOON))
        warehouse.promote(Promotion(version, Route.FIRST, "report", NOON, "nightly", None))
        project_champion(warehouse, open_registry(fourgate), MODEL, PROJECT)
        warehouse.publish(Publication(version, "report", head.snapshot_id, NOON), [predictions("a", "b")])
    return fourgate


def not_passed(settings: Settings) -> dict[str, list[str]]:
    found = [finding for finding in verify(settings) if finding.status is not Status.PASS]
    return {finding.name: [problem.what for problem in finding.problems] for finding in found}


def finding(settings: Settings, name: str) -> Finding:
    return next(finding for finding in verify(settings) if finding.name == name)


def record_again(settings: Settings) -> None:
    """A ledger row, without rows of its own, that makes the tables' present versions the head."""
    with open_warehouse(settings) as warehouse, warehouse.lake_lock():
        warehouse.record_batch(record("b3", open_lake(settings).versions(), row_counts={}), warehouse.next_sequence())


def test_what_is_sound_passes_and_says_how_much_was_looked_at(sound: Settings) -> None:
    found = verify(sound)
    assert [(finding.name, finding.status) for finding in found] == [(name, Status.PASS) for name in NAMES]
    looked_at = [finding.looked_at for finding in found]
    assert looked_at[0] == "2 ledger rows, 7 rows in 6 tables"
    assert looked_at[2:4] == ["1 published model versions", "1 publications, 2 predictions"]
    assert looked_at[4:] == [f"1 champions, {len(MODELS)} models in MLflow", "1 model files of 1 champions"]


def test_a_warehouse_without_anything_is_sound(fourgate: Settings) -> None:
    assert not_passed(fourgate) == {}


def test_a_batch_that_is_stored_twice_is_told(sound: Settings) -> None:
    table = DeltaTable(f"{sound.lake}/test_results")
    write_deltalake(table, table.to_pyarrow_table(filters=[("batch_id", "=", "b2")]), mode="append")
    record_again(sound)
    assert not_passed(sound) == {
        "every_batch_once": [
            "test_results: 2 rows of batch b2, but the ledger says 1",
            "test_results: 1 (project, run_id, attempt, variant, test_id) occur more than once",
        ]
    }


def test_rows_that_the_ledger_does_not_know_or_that_are_gone_are_told(sound: Settings) -> None:
    DeltaTable(f"{sound.lake}/runs").delete("run_id = 'r1'")
    DeltaTable(f"{sound.lake}/changed_files").update({"batch_id": "'zombie'"})
    record_again(sound)
    assert not_passed(sound)["every_batch_once"] == [
        "runs: 1 rows, but the ledger says 2",
        "changed_files: 1 rows of batch zombie, which is not in the ledger",
        "changed_files: 0 rows of batch b2, but the ledger says 1",
    ]


def test_commits_that_no_snapshot_names_do_not_count(sound: Settings) -> None:
    DeltaTable(f"{sound.lake}/runs").delete()
    assert not_passed(sound) == {}


@pytest.mark.parametrize("is_torn", [False, True])
def test_a_file_of_a_live_snapshot_that_is_gone_or_torn_is_told(sound: Settings, is_torn: bool) -> None:
    file = next(Path(sound.lake, "changed_files").rglob("*.parquet"))
    if is_torn:
        file.write_bytes(file.read_bytes()[:-20])
    else:
        file.unlink()
    found = not_passed(sound)
    assert set(found) == {"every_batch_once", "snapshots_readable"}
    assert found["snapshots_readable"][0].startswith("version 1 of changed_files cannot be read: table ")
    assert finding(sound, "every_batch_once").status is Status.ERROR


def test_predictions_without_four_passed_verdicts_are_told(sound: Settings, postgres: Postgres) -> None:
    run_sql(postgres.admin_dsn, "UPDATE fourgate.gate_verdict SET status = 'error' WHERE gate = 'stability'")
    found = not_passed(sound)
    number = finding(sound, "predictions_judged").problems[0].what
    assert "has predictions, but no passed verdict of stability" in number
    assert set(found) == {"predictions_judged", "artifacts_verified"}


def test_predictions_of_a_version_that_was_never_promoted_are_told(sound: Settings, version: ModelVersion) -> None:
    with open_warehouse(sound) as warehouse:
        other = replace(version, version="99")
        warehouse.publish(Publication(other, "report", 2, NOON), [predictions("a")])
    (told,) = not_passed(sound)["predictions_judged"]
    assert "version 99 has predictions, but no passed verdict of data_quality, statistical" in told
    assert told.endswith("and it was never promoted")


def test_predictions_of_a_shared_version_ask_for_the_verdicts_of_the_shared_model(
    sound: Settings, version: ModelVersion
) -> None:
    # the project's own version of that number was judged and promoted; the shared one never was
    shared = replace(version, project=ALL_PROJECTS)
    with open_warehouse(sound) as warehouse:
        warehouse.publish(Publication(shared, "report", 2, NOON, served=PROJECT), [predictions("a")])
    (told,) = not_passed(sound)["predictions_judged"]
    assert told.startswith(f"{MODEL} {PROJECT}, version {version.version} of the shared model has predictions, but no")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM fourgate.prediction_row WHERE test_id = 'a'", "1 rows are stored, 2 were published"),
        ("UPDATE fourgate.prediction_row SET test_id = 'a'", "1 rows repeat a (change, variant, test)"),
        ("UPDATE fourgate.publication SET is_current = false", "0 sets are current, one should be"),
        ("DELETE FROM fourgate.publication", "2 predictions belong to no publication"),
    ],
)
def test_a_set_that_is_not_complete_is_told(sound: Settings, postgres: Postgres, statement: str, told: str) -> None:
    run_sql(postgres.admin_dsn, statement)
    found = not_passed(sound)
    assert set(found) == {"sets_complete"}
    assert told in found["sets_complete"][0]


def test_an_alias_that_points_elsewhere_is_told_and_mended(sound: Settings, version: ModelVersion) -> None:
    client = MlflowClient(sound.mlflow_tracking_uri, sound.mlflow_tracking_uri)
    name = registered_name(MODEL, PROJECT)
    client.set_registered_model_alias(name, "previous", version.version)
    client.delete_registered_model_alias(name, "champion")
    (problem,) = finding(sound, "aliases_agree").problems
    assert problem.what == (
        f"{MODEL} {PROJECT}: MLflow says previous = {version.version}, the champion's row champion = {version.version}"
    )
    assert problem.mend == "fourgate verify --mend"
    assert [one.status for one in verify(sound, mend=True)] == [Status.PASS] * len(NAMES)


def test_an_alias_without_a_champion_is_told(sound: Settings, postgres: Postgres) -> None:
    run_sql(postgres.admin_dsn, "DELETE FROM fourgate.champion")
    assert "the champion's row nothing" in not_passed(sound)["aliases_agree"][0]


def test_a_model_file_that_is_not_the_judged_one_is_told(
    sound: Settings, version: ModelVersion, mlflow_artifacts: Path
) -> None:
    place = version.artifact_uri.removeprefix("mlflow-artifacts:/")
    file = mlflow_artifacts / place / "model.skops"
    content = file.read_bytes()
    try:
        file.write_bytes(content + b" ")
        found = not_passed(sound)
    finally:
        file.write_bytes(content)
    assert set(found) == {"artifacts_verified"}
    assert "its SHA-256 is" in found["artifacts_verified"][0]


def test_verdicts_about_other_bytes_are_told(sound: Settings, postgres: Postgres) -> None:
    run_sql(postgres.admin_dsn, "UPDATE fourgate.gate_verdict SET sha256 = 'other' WHERE gate = 'consistency'")
    assert not_passed(sound)["artifacts_verified"][0].endswith("consistency did not pass these bytes")


def test_without_mlflow_the_rest_is_still_told(sound: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"http://127.0.0.1:{free_port()}"
    found = verify(Settings.model_validate({**sound.model_dump(), "mlflow_tracking_uri": address}))
    assert [finding.status for finding in found] == [Status.PASS] * 4 + [Status.ERROR] * 2
    assert all(address in finding.problems[0].what for finding in found[4:])


def test_the_command_tells_and_exits_with_1(
    sound: Settings, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOURGATE_HOME", str(sound.home))
    monkeypatch.setenv("FOURGATE_WAREHOUSE_DSN", sound.warehouse_dsn.get_secret_value())
    monkeypatch.setenv("FOURGATE_MLFLOW_TRACKING_URI", sound.mlflow_tracking_uri)
    done = CliRunner().invoke(complete(), ["verify"])
    assert done.exit_code == 0, done.output
    assert all(name in done.stdout for name in NAMES)
    run_sql(postgres.admin_dsn, "UPDATE fourgate.publication SET is_current = false")
    done = CliRunner().invoke(complete(), ["verify"])
    assert done.exit_code == 1
    assert "mend: fourgate publish --model test_selection --project 'shop'" in done.stdout
    done = CliRunner().invoke(complete(), ["verify", "--json"])
    assert done.exit_code == 1
    (told,) = [finding for finding in json.loads(done.stdout) if finding["status"] != "pass"]
    assert (told["name"], told["problem_count"]) == ("sets_complete", 1)
