"""The connection to one MLflow server, and how runs are written there."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ml.errors import RegistryError
from ml.registry.naming import KEY, MAX_NAME, numbers, own
from ml.spec import DataSet, Measure

# MLflow's client takes timeouts, retries and its switches from the environment only, and starts its telemetry thread
# on import; so they are set just before that import, and only where an operator has not set them.
CLIENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
NOTE = "mlflow.note.content"
KIND = "mlflow.experimentKind"  # opens the experiment on its runs, not on traces
PARENT = "mlflow.parentRunId"
_MAX_PARAM, _MAX_TAG, _MAX_MESSAGE = 6_000, 8_000, 500
_PARAMS_PER_CALL = 100
_BEATEN = frozenset({"BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"})  # how MLflow names a row that is there already

Answer = TypeVar("Answer")


class Tracking:
    """Runs on one MLflow server.

    Every call waits at most `MLFLOW_HTTP_REQUEST_TIMEOUT` (30 s) per try and tries four times.

    Raises:
        RegistryError: the address is not one of a server.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.uri = _server_address(tracking_uri)
        for name, value in CLIENT_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow  # noqa: PLC0415 - takes 5 s, which no command without MLflow should pay

        self.mlflow: Any = mlflow
        self.client: Any = mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @contextmanager
    def asking(self, purpose: str) -> Iterator[None]:
        """Turn MLflow's errors into one that names the server and the purpose."""
        try:
            yield
        except (self.mlflow.exceptions.MlflowException, OSError) as error:
            detail = str(error)[:_MAX_MESSAGE]
            raise RegistryError(
                f"MLflow at {self.uri} did not {purpose}: {detail}; is the server running and the address right "
                "(FOURGATE_MLFLOW_TRACKING_URI)?"
            ) from error

    def look_and_write(self, act: Callable[[], Answer]) -> Answer:
        """Do what looks for something and makes it if it is missing, here or inside MLflow; repeatable.

        MLflow locks nothing in between. Where another process makes the same just then, the second look finds it.
        """
        try:
            return act()
        except self.mlflow.exceptions.MlflowException as error:
            if error.error_code not in _BEATEN:
                raise
            return act()

    def experiment(self, model: str) -> str:
        """Id of the experiment of a model, made when it is missing."""
        return self.look_and_write(lambda: self._experiment(model))

    def with_key(self, experiment: str, key: str) -> list[Any]:
        """Runs of an experiment that were started with a key."""
        return self._search(experiment, f"tags.`{KEY}` = '{key}'")

    def start(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        """Start a run; empty tags are left out. Returns its id."""
        run = self.client.create_run(experiment, run_name=name, tags={k: v[:_MAX_TAG] for k, v in tags.items() if v})
        return str(run.info.run_id)

    def finish(self, run_id: str) -> None:
        """Mark a run as complete."""
        self.client.set_terminated(run_id)

    def replace(self, experiment: str, run_id: str) -> None:
        """Mark what a killed process left. Nobody was given its model, or the run would be finished: it goes."""
        for entry in self.client.search_model_versions(f"run_id = '{run_id}'"):
            self.client.delete_model_version(entry.name, entry.version)
        for model in self.client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
            self.client.delete_logged_model(model.model_id)
        children = [child.info.run_id for child in self.children(experiment, run_id)]
        for each in (*children, run_id):
            self.client.set_terminated(each, status="KILLED")
            self.tag(each, {**own({"role": "replaced"}), KEY: ""})

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run, in one call."""
        entries = [self.mlflow.entities.RunTag(name, value[:_MAX_TAG]) for name, value in tags.items()]
        self.look_and_write(lambda: self.client.log_batch(run_id, tags=entries))

    def parametrise(self, run_id: str, params: Mapping[str, str | float | int]) -> None:
        """Log parameters, a hundred per call."""
        entries = [self.mlflow.entities.Param(name, str(value)[:_MAX_PARAM]) for name, value in params.items()]
        for start in range(0, len(entries), _PARAMS_PER_CALL):
            self.client.log_batch(run_id, params=entries[start : start + _PARAMS_PER_CALL])

    def measure(
        self, run_id: str, metrics: Mapping[str, Measure], moment: datetime, model_id: str | None = None
    ) -> None:
        """Log metrics with their bounds, in one call, as measured at `moment`; also of a model if one is given."""
        stamp = int(moment.timestamp() * 1000)
        entries = [
            self.mlflow.entities.Metric(name, value, stamp, 0, model_id=model_id)
            for name, value in numbers(metrics).items()
        ]
        self.client.log_batch(run_id, metrics=entries)

    def data_set(self, run_id: str, data: DataSet) -> None:
        """Log the run's data set: name, digest, schema, sizes and where its rows come from; no rows."""
        entities = self.mlflow.entities
        columns = [{"name": name, "type": kind, "required": True} for name, kind in data.columns.items()]
        logged = entities.Dataset(
            data.name[:MAX_NAME],
            data.digest,
            "fourgate_snapshot",
            json.dumps(dict(data.source)),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps(dict(data.sizes)),
        )
        self.client.log_inputs(
            run_id, [entities.DatasetInput(logged, [entities.InputTag("mlflow.data.context", "training")])]
        )

    def children(self, experiment: str, parent: str) -> list[Any]:
        """Runs below a run."""
        return self._search(experiment, f"tags.`{PARENT}` = '{parent}'")

    def text(self, run_id: str, name: str) -> str | None:
        """Content of a text file among a run's artifacts; None if it is not there."""
        if name not in {file.path for file in self.client.list_artifacts(run_id)}:
            return None
        uri = f"{self.client.get_run(run_id).info.artifact_uri}/{name}"
        with tempfile.TemporaryDirectory() as folder:
            path = self.mlflow.artifacts.download_artifacts(uri, dst_path=folder, tracking_uri=self.uri)
            return Path(path).read_text(encoding="utf-8")

    def _experiment(self, model: str) -> str:
        name = f"fourgate/{model}"
        found = self.client.get_experiment_by_name(name)
        if found is None:
            tags = {NOTE: f"Retrainings and drifts of {model}.", KIND: "custom_model_development"}
            return str(self.client.create_experiment(name, tags=tags))
        number = str(found.experiment_id)
        if found.lifecycle_stage != "active":
            raise RegistryError(f"MLflow's experiment {name} is deleted: mlflow experiments restore -x {number}")
        return number

    def _search(self, experiment: str, condition: str) -> list[Any]:
        return list(self.client.search_runs([experiment], condition, max_results=1_000))


def _server_address(tracking_uri: str) -> str:
    parts = urlsplit(tracking_uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise RegistryError("FOURGATE_MLFLOW_TRACKING_URI is not the address of a server, like http://127.0.0.1:5000")
    if parts.username or parts.password:
        raise RegistryError(
            f"FOURGATE_MLFLOW_TRACKING_URI holds a login, which would end up in messages and links; give it for "
            f"{parts.hostname} in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return tracking_uri.rstrip("/")
