"""The registry against a real MLflow server: what is logged is found and verified; what is not right is refused."""

import dataclasses
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from matplotlib.figure import Figure
from mlflow import MlflowClient
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier

from ml import artifact
from ml.errors import ArtifactRefused, RegistryError
from ml.registry import Registry, registered_name
from ml.spec import (
    CandidateRecord,
    Check,
    DataSet,
    DriftReport,
    Interval,
    Measure,
    ModelVersion,
    Status,
    TrainingRecord,
    Verdict,
)
from tests.mlflow_server import free_port

pytestmark = pytest.mark.integration

PROJECT = "apache/ozone"
NIGHT = datetime(2019, 11, 19, 3, tzinfo=UTC)
X = pd.DataFrame(np.random.default_rng(5).normal(size=(200, 2)), columns=["fail_rate", "age_days"])
MODEL = HistGradientBoostingClassifier(max_iter=4, random_state=1).fit(X, X["fail_rate"] > 0.5)


def _record(key: str, project: str = PROJECT) -> TrainingRecord:
    figure = Figure()
    figure.subplots().plot([0, 1])
    boosting = CandidateRecord(
        "hist_gradient_boosting",
        False,
        {"max_iter": 4},
        {"apfd": Measure(0.91, 0.88, 0.94), "brier": Measure(0.1, math.nan, math.nan)},
        {"ranking.png": figure},
    )
    recent = CandidateRecord("recently_failed", True, {}, {"apfd": Measure(0.85, 0.8, 0.9)})
    tags = {"key": key, "snapshot": "7", "feature_set": "v1", "git_commit": "0a1b2c3", "dag_run": "http://airflow/run"}
    source, columns = {"snapshot": 7}, {"fail_rate": "double"}
    data = DataSet(f"test_selection frame of {project}", "ab" * 16, columns, source, {"num_rows": 200})
    both = (boosting, recent)
    return TrainingRecord(
        "test_selection", project, NIGHT, {"seed": 1}, tags, both, boosting.name, data, {"seed": 1, "code": "0a1b2c3"}
    )


def _log(registry: Registry, record: TrainingRecord, model: Any = MODEL) -> ModelVersion:
    return registry.log_training(record, model, X.head(3), MODEL.predict_proba(X.head(3)))


@pytest.fixture(scope="module")
def registry(mlflow_uri: str) -> Registry:
    return Registry(mlflow_uri)


@pytest.fixture(scope="module")
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(mlflow_uri, mlflow_uri)


@pytest.fixture(scope="module")
def version(registry: Registry) -> ModelVersion:
    return _log(registry, _record("night 1, the 'first' \"one\""))


@pytest.fixture
def model_file(version: ModelVersion, mlflow_artifacts: Path) -> Iterator[Path]:
    """The file behind `version`; whatever a test does to its folder is undone."""
    path = mlflow_artifacts / version.artifact_uri.removeprefix("mlflow-artifacts:/") / artifact.MODEL_FILE
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


def _children(client: MlflowClient, version: ModelVersion) -> dict[str, Any]:
    experiment = client.get_run(version.mlflow_run_id).info.experiment_id
    runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{version.mlflow_run_id}'")
    return {run.info.run_name: run for run in runs}


def test_the_loaded_model_scores_as_the_one_in_memory(registry: Registry, version: ModelVersion) -> None:
    loaded = registry.load(version)
    np.testing.assert_allclose(loaded.predict_proba(X), MODEL.predict_proba(X), atol=1e-9)


def test_the_retraining_is_one_parent_run_that_tells_where_it_comes_from(
    client: MlflowClient, version: ModelVersion
) -> None:
    run = client.get_run(version.mlflow_run_id)
    assert client.get_experiment(run.info.experiment_id).name == "fourgate/test_selection"
    assert run.info.run_name == "2019-11-19 retraining"
    assert run.info.status == "FINISHED"
    expected = {
        "fourgate.role": "retraining",
        "fourgate.model": "test_selection",
        "fourgate.project": "apache/ozone",
        "fourgate.snapshot": "7",
        "fourgate.feature_set": "v1",
        "fourgate.git_commit": "0a1b2c3",
        "fourgate.dag_run": "http://airflow/run",
        "fourgate.chosen": "hist_gradient_boosting",
        "fourgate.sha256": version.sha256,
    }
    assert expected.items() <= run.data.tags.items()
    assert run.data.params == {"seed": "1"}
    assert run.inputs is not None
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("test_selection frame of apache/ozone", "ab" * 16)
    assert json.loads(logged.dataset.schema)["mlflow_colspec"] == [
        {"name": "fail_rate", "type": "double", "required": True}
    ]
    assert json.loads(logged.dataset.profile) == {"num_rows": 200}
    assert json.loads(logged.dataset.source) == {"snapshot": 7}


def test_candidates_and_baselines_can_be_compared_side_by_side(client: MlflowClient, version: ModelVersion) -> None:
    children = _children(client, version)
    assert set(children) == {"2019-11-19 hist_gradient_boosting", "2019-11-19 recently_failed"}
    boosting = children["2019-11-19 hist_gradient_boosting"]
    baseline = children["2019-11-19 recently_failed"]
    assert boosting.data.metrics == {"apfd": 0.91, "apfd.low": 0.88, "apfd.high": 0.94, "brier": 0.1}
    assert baseline.data.metrics == {"apfd": 0.85, "apfd.low": 0.8, "apfd.high": 0.9}
    assert boosting.data.params == {"max_iter": "4"}
    roles = [(run.data.tags["fourgate.role"], run.data.tags["fourgate.chosen"]) for run in (boosting, baseline)]
    assert roles == [("candidate", "true"), ("baseline", "false")]
    assert [file.path for file in client.list_artifacts(boosting.info.run_id, "figures")] == ["figures/ranking.png"]


def test_the_model_is_registered_with_signature_example_and_digest(client: MlflowClient, version: ModelVersion) -> None:
    registered = client.get_model_version("test_selection.apache~2Fozone", version.version)
    assert registered.run_id == version.mlflow_run_id
    assert registered.tags["fourgate.sha256"] == version.sha256
    assert registered.tags["fourgate.project"] == "apache/ozone"
    outputs = client.get_run(version.mlflow_run_id).outputs
    assert outputs is not None
    (model_id,) = [output.model_id for output in outputs.model_outputs]
    logged = client.get_logged_model(model_id)
    assert registered.source == logged.artifact_location
    assert {metric.key: metric.value for metric in logged.metrics or []}["apfd"] == 0.91
    files = {file.path for file in client.list_logged_model_artifacts(model_id)}
    assert {"MLmodel", "model.skops", "input_example.json", "requirements.txt"} <= files
    assert not {file for file in files if file.endswith(".pkl")}


def test_the_same_retraining_logged_twice_is_one_version(
    registry: Registry, client: MlflowClient, version: ModelVersion
) -> None:
    again = _log(registry, _record("night 1, the 'first' \"one\""))
    assert again == version
    assert len(client.search_model_versions(f"run_id = '{version.mlflow_run_id}'")) == 1


def test_a_retraining_that_was_killed_is_marked_and_logged_anew(registry: Registry, client: MlflowClient) -> None:
    killed = _log(registry, _record("night 2"))
    client.set_terminated(killed.mlflow_run_id, status="RUNNING")
    anew = _log(registry, _record("night 2"))
    assert anew.mlflow_run_id != killed.mlflow_run_id
    left = client.get_run(killed.mlflow_run_id)
    assert (left.info.status, left.data.tags["fourgate.role"]) == ("KILLED", "replaced")
    assert {run.info.status for run in _children(client, killed).values()} == {"KILLED"}
    assert client.search_model_versions(f"run_id = '{killed.mlflow_run_id}'") == []
    assert client.search_logged_models([left.info.experiment_id], f"source_run_id = '{left.info.run_id}'") == []
    assert _log(registry, _record("night 2")) == anew


def test_a_record_without_a_key_is_refused_before_anything_is_logged(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="key"):
        _log(registry, _record(""))


def test_one_changed_byte_in_the_artifact_store_is_refused(
    registry: Registry, version: ModelVersion, model_file: Path
) -> None:
    content = bytearray(model_file.read_bytes())
    content[len(content) // 2] ^= 1
    model_file.write_bytes(content)
    with pytest.raises(ArtifactRefused, match=f"version {version.version} of test_selection.*{version.sha256}"):
        registry.load(version)


def test_a_foreign_type_is_refused_even_when_its_digest_was_recorded(
    registry: Registry, version: ModelVersion, model_file: Path
) -> None:
    content = skops.io.dumps(DummyClassifier())
    model_file.write_bytes(content)
    with pytest.raises(ArtifactRefused, match=r"sklearn\.dummy\.DummyClassifier"):
        registry.load(dataclasses.replace(version, sha256=artifact.sha256(content)))


def test_a_model_saved_as_a_pickle_is_refused_by_name(
    registry: Registry, version: ModelVersion, model_file: Path
) -> None:
    pickled = model_file.with_name("model.pkl")
    model_file.rename(pickled)
    try:
        with pytest.raises(ArtifactRefused, match=r"has no model\.skops.*model\.pkl"):
            registry.load(version)
    finally:
        pickled.unlink()


def test_an_estimator_that_could_not_be_loaded_again_is_not_registered(
    registry: Registry, client: MlflowClient
) -> None:
    with pytest.raises(ArtifactRefused, match="DummyClassifier"):
        _log(registry, _record("night 3", "dummy/project"), DummyClassifier().fit(X, X["age_days"] > 0))
    assert registry.aliases("test_selection", "dummy/project") == {}
    assert client.search_registered_models("name = 'test_selection.dummy~2Fproject'") == []
    experiment = client.get_experiment_by_name("fourgate/test_selection")
    assert experiment is None or not client.search_runs(
        [experiment.experiment_id], "tags.`fourgate.project` = 'dummy/project'"
    )


def test_verdicts_are_tags_and_files_of_the_version_and_may_be_logged_again(
    registry: Registry, client: MlflowClient, version: ModelVersion
) -> None:
    verdicts = [
        Verdict("statistical", Status.PASS, (Check("apfd", 0.02, 0.0, True, True),)),
        Verdict("stability", Status.ERROR, (Check("spread", math.nan, 0.1, False, False, "one window"),)),
    ]
    for _ in range(2):
        registry.log_verdicts(version, verdicts, "<h1>Gates</h1>")
    expected = {"gate.statistical": "pass", "gate.stability": "error"}
    assert expected.items() <= client.get_run(version.mlflow_run_id).data.tags.items()
    assert (
        expected.items()
        <= client.get_model_version(registered_name("test_selection", PROJECT), version.version).tags.items()
    )
    path = client.download_artifacts(version.mlflow_run_id, "verdicts.json")
    stored = json.loads(Path(path).read_text())
    assert stored[0]["checks"][0]["measured"] == 0.02
    assert stored[1]["checks"][0]["measured"] is None
    report = client.download_artifacts(version.mlflow_run_id, "gate_report.html")
    assert Path(report).read_text() == "<h1>Gates</h1>"


def test_writers_at_one_moment_all_come_through(mlflow_uri: str, version: ModelVersion, client: MlflowClient) -> None:
    registries = [Registry(mlflow_uri) for _ in range(4)]
    gates = [f"race_{number}" for number in range(5)]
    together = Barrier(len(registries))

    def write(registry: Registry) -> None:
        for gate in gates:
            together.wait(timeout=60)
            registry.log_verdicts(version, [Verdict(gate, Status.PASS, ())], "")

    with ThreadPoolExecutor(len(registries)) as pool:
        list(pool.map(write, registries))
    written = client.get_model_version(registered_name("test_selection", PROJECT), version.version).tags
    assert {f"gate.{gate}": "pass" for gate in gates}.items() <= written.items()


def test_a_training_reads_back_as_it_was_logged(
    registry: Registry, client: MlflowClient, version: ModelVersion
) -> None:
    found = registry.training(f"http://elsewhere/#/experiments/1/runs/{version.mlflow_run_id}")
    logged = _record("night 1, the 'first' \"one\"")
    assert (found.model, found.project, found.chosen) == (logged.model, logged.project, logged.chosen)
    assert (found.digest, found.recipe, found.version) == ("ab" * 16, logged.recipe, version)
    assert [(one.name, one.is_baseline) for one in found.candidates] == [
        (one.name, one.is_baseline) for one in logged.candidates
    ]
    assert found.candidates[0].metrics["apfd"] == Measure(0.91, 0.88, 0.94)
    brier = found.candidates[0].metrics["brier"]
    assert (brier.value, math.isnan(brier.low)) == (0.1, True)
    child = _children(client, version)["2019-11-19 recently_failed"].info.run_id
    assert registry.training(child).run_id == version.mlflow_run_id


def test_a_run_that_is_not_there_or_no_training_is_answered_with_the_newest(
    registry: Registry, version: ModelVersion
) -> None:
    with pytest.raises(RegistryError, match=f"has no run {'0' * 32}; the newest trainings are .*retraining"):
        registry.training("0" * 32)
    drift = DriftReport("test_selection", "p", "drift", 0.5, 0.3, {}, (), Interval(), Interval(), "")
    with pytest.raises(RegistryError, match=r"is no training \(drift\); the newest trainings are"):
        registry.training(registry.log_drift(drift, NIGHT))
    with pytest.raises(
        RegistryError, match="'version 1' names no MLflow run; right would be its 32 hexadecimal digits"
    ):
        registry.training("version 1")


def test_a_description_stands_on_the_page_and_may_be_written_again(
    registry: Registry, client: MlflowClient, version: ModelVersion
) -> None:
    for text in ("not judged yet", "passed"):
        registry.describe(version.mlflow_run_id, f"**{text}**", f"<h1>{text}</h1>")
    assert client.get_run(version.mlflow_run_id).data.tags["mlflow.note.content"] == "**passed**"
    assert Path(client.download_artifacts(version.mlflow_run_id, "training.html")).read_text() == "<h1>passed</h1>"


def test_a_drift_page_is_kept_once(registry: Registry, client: MlflowClient) -> None:
    week = Interval(datetime(2019, 11, 1, tzinfo=UTC), datetime(2019, 11, 8, tzinfo=UTC))
    report = DriftReport(
        "test_selection", PROJECT, "drift", 0.5, 0.3, {"a": 0.2, "b": 0.0}, ("a",), Interval(), week, "<h1>a moved</h1>"
    )
    run_id = registry.log_drift(report, NIGHT)
    assert registry.log_drift(report, NIGHT) == run_id
    run = client.get_run(run_id)
    assert run.info.run_name == "2019-11-19 drift"
    assert run.data.metrics == {"drift.drifted_columns_rate": 0.5}
    assert run.data.tags["fourgate.drifted"] == "a"
    assert Path(client.download_artifacts(run_id, "drift.html")).read_text() == "<h1>a moved</h1>"


def test_aliases_follow_the_champion_there_and_back(registry: Registry) -> None:
    first, second = (_log(registry, _record(key, "team/aliases")) for key in ("alias 1", "alias 2"))
    assert registry.aliases("test_selection", "team/aliases") == {}
    registry.project_champion(first, None)
    assert registry.aliases("test_selection", "team/aliases") == {"champion": first.version}
    for _ in range(2):
        registry.project_champion(second, first)
    assert registry.aliases("test_selection", "team/aliases") == {
        "champion": second.version,
        "previous": first.version,
    }
    registry.project_champion(first, None)
    assert registry.aliases("test_selection", "team/aliases") == {"champion": first.version}


def test_links_lead_to_the_server(registry: Registry, version: ModelVersion, mlflow_uri: str) -> None:
    assert registry.run_url(version.mlflow_run_id).startswith(f"{mlflow_uri}/#/experiments/")
    assert registry.run_url(version.mlflow_run_id).endswith(f"/runs/{version.mlflow_run_id}")
    model = f"{mlflow_uri}/#/models/test_selection.apache~2Fozone/versions/{version.version}"
    assert registry.model_url(version) == model


def test_an_unknown_run_is_an_error_that_names_the_server(registry: Registry, mlflow_uri: str) -> None:
    with pytest.raises(RegistryError, match=f"MLflow at {mlflow_uri} did not find a run"):
        registry.run_url("0" * 32)


def test_a_server_that_is_gone_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"http://127.0.0.1:{free_port()}"
    gone = Registry(address)
    lost = ModelVersion("test_selection", PROJECT, "1", "0" * 32, "mlflow-artifacts:/1/models/m-1/artifacts", "0" * 64)
    with pytest.raises(RegistryError, match=address):
        gone.aliases("test_selection", PROJECT)
    with pytest.raises(RegistryError, match=address):
        gone.load(lost)


@pytest.mark.parametrize("address", ["", "sqlite:///mlflow.db", "127.0.0.1:5000", "http://"])
def test_an_address_that_is_no_server_is_refused(address: str) -> None:
    with pytest.raises(RegistryError, match="FOURGATE_MLFLOW_TRACKING_URI"):
        Registry(address)


def test_a_login_in_the_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(RegistryError, match="MLFLOW_TRACKING_PASSWORD") as refusal:
        Registry("https://alice:s3cret@mlflow.example.org")  # pragma: allowlist secret
    assert "s3cret" not in str(refusal.value)


def test_two_projects_never_share_a_registered_name() -> None:
    projects = ["a/b", "a:b", "a~2Fb", "a%2Fb", "a'b", "a b", "x" * 500 + "1", "x" * 500 + "2", "ü/ü"]
    names = {registered_name("test_selection", project) for project in projects}
    assert len(names) == len(projects)
    assert registered_name("test_selection", "*") == "test_selection"
    assert all(len(name) < 256 and not set(name) & set("/:%'\" ") for name in names)
