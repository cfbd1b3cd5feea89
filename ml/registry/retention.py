"""What MLflow may forget: trainings and drifts that are old, neither in service nor the newest of their model.

Two steps, so that a mistake can be undone: `expire` deletes as a person would on MLflow's page (restorable), and
`collect_garbage` removes for good what was deleted long enough ago.
"""

import os
import sys
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from ml import foreign
from ml.errors import RegistryError
from ml.registry.tracking import CLIENT_ENVIRONMENT, PARENT, Tracking

GARBAGE_TIMEOUT_S = 3_000
EXPERIMENTS = "fourgate/"
# the address holds a password: in the environment, not on the command line, where `ps` would show it
_GC = "import os, sys; from mlflow.cli import gc; gc([*sys.argv[1:], '--backend-store-uri', os.environ['GC_DATABASE']])"


def expire(
    tracking: Tracking, before: datetime, in_service: Collection[tuple[str, str, str]], *, dry_run: bool = False
) -> dict[str, int]:
    """Delete what was started before a moment, with its model versions, logged models and child runs.

    Kept at any age: versions in service, versions that carry an alias, the newest version of each registered model,
    and every run that Fourgate did not make.

    Args:
        tracking: the server.
        before: in UTC; by the server's clock.
        in_service: model, project, version.
        dry_run: only count.

    Returns:
        runs and versions that were deleted (or would be), and trainings and drifts kept.
    """
    counts = {"runs": 0, "versions": 0, "kept": 0}
    with tracking.asking("expire old runs"):
        keep = _kept_versions(tracking) | {_name(*version) for version in in_service}
        for experiment in tracking.client.search_experiments(filter_string=f"name LIKE '{EXPERIMENTS}%'"):
            for run in list(_made_here(tracking, experiment.experiment_id)):
                versions = list(tracking.client.search_model_versions(f"run_id = '{run.info.run_id}'"))
                names = {f"{one.name} {one.version}" for one in versions} | {_version_of(run)}
                if run.info.start_time >= before.timestamp() * 1000 or names & keep:
                    counts["kept"] += 1
                    continue
                counts["versions"] += len(versions)
                counts["runs"] += _delete(tracking, experiment.experiment_id, run.info.run_id, versions, dry_run)
    return counts


def collect_garbage(tracking_uri: str, database: str, days: int) -> None:
    """Remove for good, with its artifacts, whatever anybody deleted in MLflow more than `days` ago (`mlflow gc`).

    Args:
        tracking_uri: the server, which removes the artifacts.
        database: SQLAlchemy address of the server's own database.
        days: by the clock of this machine.

    Raises:
        RegistryError: MLflow refuses; carries the end of what it said, without the password.
    """
    environment = {**os.environ, **CLIENT_ENVIRONMENT, "GC_DATABASE": database, "MLFLOW_TRACKING_URI": tracking_uri}
    command = [sys.executable, "-c", _GC, "--older-than", f"{days}d"]
    failure = (RegistryError, "mlflow gc", "FOURGATE_MLFLOW_DATABASE")
    foreign.run(command, environment, database, GARBAGE_TIMEOUT_S, failure)


def _made_here(tracking: Tracking, experiment: str) -> Iterator[Any]:
    """Trainings and drifts of an experiment; candidates belong to their training."""
    token = None
    while True:
        page = tracking.client.search_runs([experiment], "", max_results=1_000, page_token=token)
        yield from (run for run in page if "fourgate.role" in run.data.tags and PARENT not in run.data.tags)
        token = page.token
        if not token:
            return


def _kept_versions(tracking: Tracking) -> set[str]:
    """Versions with an alias, and the newest one of each registered model."""
    kept = set()
    for entry in _registered(tracking):
        kept |= {f"{entry.name} {number}" for number in entry.aliases.values()}
        numbers = [int(one.version) for one in tracking.client.search_model_versions(f"name = '{entry.name}'")]
        kept |= {f"{entry.name} {max(numbers)}"} if numbers else set()
    return kept


def _registered(tracking: Tracking) -> Iterator[Any]:
    token = None
    while True:
        page = tracking.client.search_registered_models(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _version_of(run: Any) -> str:
    """A finished training's version by model and project; empty for other runs."""
    tags = run.data.tags
    if "fourgate.version" not in tags:
        return ""
    return _name(tags["fourgate.model"], tags["fourgate.project"], tags["fourgate.version"])


def _name(model: str, project: str, version: str) -> str:
    return f"{model} {project} {version}"


def _delete(tracking: Tracking, experiment: str, run_id: str, versions: list[Any], dry_run: bool) -> int:
    """Delete a training from its leaves to its root: a kill in the middle leaves the root, which is found again."""
    client = tracking.client
    children = client.search_runs([experiment], f"tags.`{PARENT}` = '{run_id}'", max_results=1_000)
    if not dry_run:
        for version in versions:
            client.delete_model_version(version.name, version.version)
        for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
            client.delete_logged_model(model.model_id)
        for run in (*(child.info.run_id for child in children), run_id):
            client.delete_run(run)
    return len(children) + 1
