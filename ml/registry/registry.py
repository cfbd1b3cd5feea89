"""What is kept in MLflow, and how it comes back: trainings, verdicts, drift pages, aliases.

Experiment ``fourgate/<model>`` holds one parent run per retraining with a child run per candidate and baseline, and
one run per drift. The chosen model becomes a version of the registered model ``<model>.<project>``. MLflow is the
place to look; the truth about who is champion is a row in PostgreSQL, of which the aliases here are a projection.
"""

import importlib
import json
import math
import re
import tempfile
import warnings
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from ml import artifact
from ml.errors import ArtifactRefused
from ml.registry import retention
from ml.registry.naming import (
    CHAMPION,
    KEY,
    PREVIOUS,
    common,
    finite,
    key_id,
    own,
    registered_name,
    title,
    version_of,
    version_tags,
)
from ml.registry.reading import RECIPE, read_training
from ml.registry.tracking import NOTE, PARENT, Tracking
from ml.spec import CandidateRecord, DriftReport, LoggedTraining, Measure, ModelVersion, TrainingRecord, Verdict

# Given by hand because MLflow needs 9 s to guess them.
REQUIREMENTS = ("lightgbm", "mlflow", "numpy", "pandas", "scikit-learn", "skops")


class Registry:
    """Fourgate's view of one MLflow server.

    Raises:
        RegistryError: the address is not one of a server; from every method: the server refuses or cannot be reached.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._tracking = Tracking(tracking_uri)
        self._client = self._tracking.client

    def log_training(
        self, record: TrainingRecord, estimator: Any, input_example: pd.DataFrame, output_example: Any
    ) -> ModelVersion:
        """Log one retraining and register its chosen model; the same record again returns the version it got.

        Args:
            record: what to keep. ``record.tags["key"]`` identifies the retraining; an unfinished attempt with the same
                key (from a kill) is marked ``replaced`` and logged anew.
            estimator: the fitted model that goes to the gates; made of `artifact.ALLOWED_TYPES` only.
            input_example: a few feature rows; gives the signature's input.
            output_example: `estimator.predict_proba` of them; gives the signature's output.

        Raises:
            ArtifactRefused: the estimator holds a type that could not be loaded again.
            RegistryError: MLflow refuses or cannot be reached, or the record has no key.
        """
        key = key_id(record.tags.get("key", ""))
        with self._tracking.asking("log a training"):
            experiment = self._tracking.experiment(record.model)
            for run in self._tracking.with_key(experiment, key):
                if run.info.status == "FINISHED":
                    return version_of(run)
                self._tracking.replace(experiment, run.info.run_id)
            artifact.dump(estimator)  # refuses, before anything is logged, what could not be loaded again
            parent = self._start_retraining(experiment, key, record)
            for candidate in record.candidates:
                self._log_candidate(experiment, parent, record, candidate)
            version = self._log_model(experiment, parent, record, (estimator, input_example, output_example))
            self._tracking.tag(parent, version_tags(version))
            self._tracking.finish(parent)
        return version

    def load(self, version: ModelVersion) -> Any:
        """Download a model and rebuild it, if it is the recorded one.

        Only the skops file is read. MLflow's own loaders are not used: they trust what the model's folder says.

        Raises:
            ArtifactRefused: there is no skops file, its SHA-256 differs, or it holds a type that is not allowed.
            RegistryError: MLflow cannot be reached.
        """
        with self._tracking.asking("load a model"), tempfile.TemporaryDirectory() as folder:
            source = {"tracking_uri": self._tracking.uri}
            artifacts = self._tracking.mlflow.artifacts
            names = sorted(
                file.path.rsplit("/", 1)[-1] for file in artifacts.list_artifacts(version.artifact_uri, **source)
            )
            if artifact.MODEL_FILE not in names:
                there = ", ".join(names) or "nothing"
                raise ArtifactRefused(f"{title(version)} has no {artifact.MODEL_FILE} in MLflow; there is: {there}")
            uri = f"{version.artifact_uri}/{artifact.MODEL_FILE}"
            data = Path(artifacts.download_artifacts(uri, dst_path=folder, **source)).read_bytes()
        try:
            return artifact.load(data, version.sha256)
        except ArtifactRefused as refusal:
            raise ArtifactRefused(f"{title(version)}: {refusal}") from refusal

    def training(self, run: str) -> LoggedTraining:
        """Read a retraining back.

        Args:
            run: id of its run or of a run below it, or the address of its page.

        Raises:
            RegistryError: there is no such run, or it is none of a retraining; names the newest ones.
        """
        with self._tracking.asking("read a training"):
            return read_training(self._tracking, run)

    def describe(self, run_id: str, note: str, html: str) -> None:
        """Put a description on a run's page, in Markdown, and the full story beside it as ``training.html``."""
        with self._tracking.asking("describe a training"):
            self._tracking.tag(run_id, {NOTE: note})
            self._client.log_text(run_id, html, "training.html")

    def log_verdicts(self, version: ModelVersion, verdicts: Sequence[Verdict], html: str) -> None:
        """Attach the gates' verdicts to a version: tags ``gate.<name>``, verdicts.json and gate_report.html."""
        tags = {f"gate.{verdict.gate}": str(verdict.status) for verdict in verdicts}
        document = json.dumps([finite(verdict.to_dict()) for verdict in verdicts], indent=1, allow_nan=False)
        name = registered_name(version.model, version.project)
        with self._tracking.asking("log verdicts"):
            self._client.log_text(version.mlflow_run_id, document, "verdicts.json")
            self._client.log_text(version.mlflow_run_id, html, "gate_report.html")
            self._tracking.tag(version.mlflow_run_id, tags)
            for tag in tags.items():
                self._tracking.look_and_write(partial(self._client.set_model_version_tag, name, version.version, *tag))

    def log_drift(self, report: DriftReport, as_of: datetime) -> str:
        """Keep a drift report as a run with its page ``drift.html``; the same report again returns the same run.

        Returns:
            The id of the run; see `run_url`.
        """
        key = key_id(repr((report.model, report.project, report.reference, report.current)))
        tags = {"role": "drift", "model": report.model, "project": report.project, "drifted": ", ".join(report.drifted)}
        with self._tracking.asking("log a drift report"):
            experiment = self._tracking.experiment(report.model)
            for run in self._tracking.with_key(experiment, key):
                if run.info.status == "FINISHED":
                    return str(run.info.run_id)
                self._tracking.replace(experiment, run.info.run_id)
            run_id = self._tracking.start(experiment, f"{as_of:%Y-%m-%d} drift", {**own(tags), KEY: key})
            self._tracking.parametrise(run_id, {"threshold": report.threshold})
            self._tracking.measure(
                run_id, {"drift.drifted_columns_rate": Measure(report.share_drifted, math.nan, math.nan)}, as_of
            )
            self._client.log_text(run_id, report.html, "drift.html")
            self._tracking.finish(run_id)
        return run_id

    def project_champion(self, version: ModelVersion, previous: ModelVersion | None) -> None:
        """Point the aliases ``champion`` and ``previous`` at what the champion's row says; repeatable."""
        name = registered_name(version.model, version.project)
        with self._tracking.asking("set the champion's alias"):
            self._alias(name, CHAMPION, version)
            if previous is not None:
                self._alias(name, PREVIOUS, previous)
            else:
                self._client.delete_registered_model_alias(name, PREVIOUS)

    def aliases(self, model: str, project: str) -> dict[str, str]:
        """Alias to version number, as MLflow has them; empty while nothing is registered."""
        with self._tracking.asking("read aliases"):
            found = self._client.search_registered_models(f"name = '{registered_name(model, project)}'")
            return {alias: str(number) for entry in found for alias, number in entry.aliases.items()}

    def expire(
        self, before: datetime, in_service: Collection[tuple[str, str, str]], *, dry_run: bool = False
    ) -> dict[str, int]:
        """Delete, restorably, old trainings and drifts that nothing needs; see `ml.registry.retention`."""
        return retention.expire(self._tracking, before, in_service, dry_run=dry_run)

    def collect_garbage(self, database: str, days: int) -> None:
        """Remove for good what was deleted more than `days` ago; see `ml.registry.retention`."""
        retention.collect_garbage(self._tracking.uri, database, days)

    def run_url(self, run_id: str) -> str:
        """Address of a run's page."""
        with self._tracking.asking("find a run"):
            experiment = self._client.get_run(run_id).info.experiment_id
        return f"{self._tracking.uri}/#/experiments/{experiment}/runs/{run_id}"

    def model_url(self, version: ModelVersion) -> str:
        """Address of a model version's page."""
        name = quote(registered_name(version.model, version.project), safe="")
        return f"{self._tracking.uri}/#/models/{name}/versions/{version.version}"

    def _start_retraining(self, experiment: str, key: str, record: TrainingRecord) -> str:
        tags = {
            **own({**record.tags, **common(record), "role": "retraining", "chosen": record.chosen}),
            KEY: key,
            "mlflow.source.name": "fourgate train",
            "mlflow.source.git.commit": record.tags.get("git_commit", ""),
        }
        run_id = self._tracking.start(experiment, f"{record.started_at:%Y-%m-%d} retraining", tags)
        self._tracking.parametrise(run_id, record.params)
        if record.data is not None:
            self._tracking.data_set(run_id, record.data)
        if record.recipe:
            self._client.log_text(run_id, json.dumps(record.recipe, indent=1, allow_nan=False), RECIPE)
        return run_id

    def _log_candidate(self, experiment: str, parent: str, record: TrainingRecord, candidate: CandidateRecord) -> None:
        shared = {name: record.tags[name] for name in ("snapshot", "feature_set", "git_commit") if name in record.tags}
        tags = {
            **shared,
            **common(record),
            "role": "baseline" if candidate.is_baseline else "candidate",
            "candidate": candidate.name,
            "chosen": str(candidate.name == record.chosen).lower(),
        }
        name = f"{record.started_at:%Y-%m-%d} {candidate.name}"
        run_id = self._tracking.start(experiment, name, {**own(tags), PARENT: parent})
        self._tracking.parametrise(run_id, candidate.params)
        self._tracking.measure(run_id, candidate.metrics, record.started_at)
        for file_name, figure in candidate.figures.items():
            self._client.log_figure(run_id, figure, f"figures/{file_name}")
        self._tracking.finish(run_id)

    def _log_model(
        self, experiment: str, parent: str, record: TrainingRecord, model: tuple[Any, pd.DataFrame, Any]
    ) -> ModelVersion:
        readable = re.sub(r"\W", "_", record.chosen)
        logged = self._client.create_logged_model(experiment, name=readable, source_run_id=parent)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            self._save(path, model, logged)
            digest = artifact.sha256((path / artifact.MODEL_FILE).read_bytes())
            self._client.log_model_artifacts(logged.model_id, str(path))
        self._client.finalize_logged_model(logged.model_id, "READY")
        self._client.log_outputs(parent, [self._tracking.mlflow.entities.LoggedModelOutput(logged.model_id, 0)])
        metrics = {candidate.name: candidate.metrics for candidate in record.candidates}[record.chosen]
        self._tracking.measure(parent, metrics, record.started_at, logged.model_id)
        number = self._register(record, parent, logged, digest)
        return ModelVersion(record.model, record.project, number, parent, logged.artifact_location, digest)

    def _save(self, folder: Path, model: tuple[Any, pd.DataFrame, Any], logged: Any) -> None:
        """Write MLflow's model folder: skops file, signature, input example, requirements."""
        mlflow = self._tracking.mlflow
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of the type hints in its own modules, which it loads late
            importlib.import_module("mlflow.pyfunc")
        estimator, input_example, output_example = model
        mlflow.sklearn.save_model(
            estimator,
            str(folder),
            mlflow_model=mlflow.models.Model(
                artifact_path=logged.artifact_location, run_id=logged.source_run_id, model_id=logged.model_id
            ),
            serialization_format="skops",
            skops_trusted_types=list(artifact.ALLOWED_TYPES),
            signature=mlflow.models.infer_signature(input_example, output_example),
            input_example=input_example,
            pip_requirements=[f"{name}=={installed(name)}" for name in REQUIREMENTS],
            pyfunc_predict_fn="predict_proba",
        )

    def _register(self, record: TrainingRecord, parent: str, logged: Any, digest: str) -> str:
        name = registered_name(record.model, record.project)
        self._tracking.look_and_write(lambda: self._require_registered_model(name, own(common(record))))
        tags = own({**record.tags, **common(record), "sha256": digest, "chosen": record.chosen})
        created = self._client.create_model_version(
            name, logged.artifact_location, run_id=parent, tags=tags, model_id=logged.model_id
        )
        return str(created.version)

    def _require_registered_model(self, name: str, tags: dict[str, str]) -> None:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name, tags=tags)

    def _alias(self, name: str, alias: str, version: ModelVersion) -> None:
        set_alias = self._client.set_registered_model_alias
        self._tracking.look_and_write(partial(set_alias, name, alias, version.version))
