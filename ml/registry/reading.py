"""Reads back what a retraining left in MLflow."""

import json
from typing import Any

from ml.errors import RegistryError
from ml.registry.naming import measures, run_id_of, version_of
from ml.registry.tracking import PARENT, Tracking
from ml.spec import CandidateRecord, LoggedTraining

RECIPE = "training.json"
NEWEST = 5


def read_training(tracking: Tracking, run: str) -> LoggedTraining:
    """A retraining, from the id of its run or of a run below it, or from the address of a page."""
    entry = _retraining(tracking, run_id_of(run))
    info, tags = entry.info, entry.data.tags
    children = tracking.children(info.experiment_id, info.run_id)
    recipe = tracking.text(info.run_id, RECIPE)
    sets = entry.inputs.dataset_inputs if entry.inputs else []
    own = {name.removeprefix("fourgate."): value for name, value in tags.items() if name.startswith("fourgate.")}
    return LoggedTraining(
        run_id=info.run_id,
        url=f"{tracking.uri}/#/experiments/{info.experiment_id}/runs/{info.run_id}",
        name=info.run_name,
        status=info.status,
        model=own["model"],
        project=own["project"],
        chosen=own["chosen"],
        tags=own,
        digest=sets[0].dataset.digest if sets else "",
        recipe=json.loads(recipe) if recipe else {},
        candidates=tuple(_candidate(child) for child in reversed(children)),
        version=version_of(entry) if "sha256" in own else None,
    )


def _candidate(run: Any) -> CandidateRecord:
    tags = run.data.tags
    name, is_baseline = tags["fourgate.candidate"], tags["fourgate.role"] == "baseline"
    return CandidateRecord(name, is_baseline, run.data.params, measures(run.data.metrics))


def _retraining(tracking: Tracking, run_id: str) -> Any:
    try:
        found = tracking.client.get_run(run_id)
        parent = found.data.tags.get(PARENT)
        found = tracking.client.get_run(parent) if parent else found
    except tracking.mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RegistryError(f"MLflow at {tracking.uri} has no run {run_id}; {_newest(tracking)}") from error
    if found.data.tags.get("fourgate.role") != "retraining":
        role = found.data.tags.get("fourgate.role", "not of Fourgate")
        raise RegistryError(f"run {run_id} is no training ({role}); {_newest(tracking)}")
    return found


def _newest(tracking: Tracking) -> str:
    experiments = [
        entry.experiment_id for entry in tracking.client.search_experiments(filter_string="name LIKE 'fourgate/%'")
    ]
    if not experiments:
        return "nothing was trained yet (`fourgate train`)"
    runs = tracking.client.search_runs(
        experiments, "tags.`fourgate.role` = 'retraining'", max_results=NEWEST, order_by=["attributes.start_time DESC"]
    )
    told = [f"{run.info.run_id} ({run.data.tags['fourgate.model']}, {run.info.run_name})" for run in runs]
    return f"the newest trainings are {', '.join(told)}" if told else "nothing was trained yet (`fourgate train`)"
