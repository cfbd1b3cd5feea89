"""Having a training back: its exact rows from the lake, and the same model from them, bit for bit."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml import models, training
from ml.errors import RegistryError
from ml.settings import Settings
from ml.spec import CandidateRecord, LoggedTraining, Measure, ModelSpec, Split
from ml.stages.evidence import split_of
from ml.stages.opening import open_registry, replacing
from ml.stages.preparation import code_version, training_rows
from ml.stages.recipe import Recipe, changes, digest_of, recipe_of
from ml.training import FitOptions, Fitted, Plan


def frame(settings: Settings, run: str, output: Path) -> dict[str, Any]:
    """Build the rows that a training saw from the snapshot that it names, into a Parquet file.

    No working file is read: the lake alone is the source.

    Args:
        settings: lake and MLflow; what the rows depend on is taken from the run.
        run: id of the MLflow run, or the address of its page.
        output: file to write, whole or not at all.

    Returns:
        path, rows, columns, digest, recorded_digest, is_equal, changes since then: name -> (then, now).
    """
    found = open_registry(settings).training(run)
    recipe = recipe_of(found)
    rows = _rebuilt(settings, recipe, output)
    return {
        "run_id": found.run_id,
        "path": str(output),
        "rows": len(rows),
        "columns": len(rows.columns),
        "snapshot_id": recipe.snapshot_id,
        "as_of": recipe.as_of,
        **_digests(found, rows),
        "changes": changes(recipe, code_version()),
    }


def reproduce(settings: Settings, run: str) -> dict[str, Any]:
    """Fit a training's chosen candidate again from the lake, and compare it with what was logged.

    Compared are the frame's digest; score and probability of each row of the validation and test periods, with those
    of the registered model; and every measure of the candidate and the baselines, bounds too.

    Args:
        settings: lake and MLflow; all that the model depends on is taken from the run.
        run: id of the MLflow run, or the address of its page.

    Returns:
        is_equal; frame, scores and metrics with what was compared and the largest difference; changes since then.

    Raises:
        RegistryError: the run left no recipe, or was cut off before its model was registered.
    """
    registry = open_registry(settings)
    found = registry.training(run)
    recipe = recipe_of(found)
    if found.version is None:
        raise RegistryError(f"run {found.run_id} was cut off ({found.status}): it has no model to compare with")
    with tempfile.TemporaryDirectory() as folder:
        rows = _rebuilt(settings, recipe, Path(folder) / "frame.parquet")
    spec, split = models.load_model(recipe.model), split_of({"split": recipe.split})
    again = _refit(spec, recipe, rows, split)
    frame_told = {"rows": len(rows), **_digests(found, rows)}
    scores = _scores(registry.load(found.version), again, rows, split)
    metrics = _metrics(found, _measures(spec, again, (rows, split), recipe))
    return {
        "run_id": found.run_id,
        "candidate": recipe.candidate,
        "version": found.version.version,
        "is_equal": frame_told["is_equal"] and scores["is_equal"] and metrics["is_equal"],
        "frame": frame_told,
        "scores": scores,
        "metrics": metrics,
        "changes": changes(recipe, code_version()),
    }


def _rebuilt(settings: Settings, recipe: Recipe, path: Path) -> pd.DataFrame:
    """Through a file, as in training: what Parquet does to a type is done to both."""
    rows = training_rows(recipe.applied(settings), recipe.model, recipe.project, recipe.snapshot, recipe.moment)
    with replacing(path) as scratch:
        rows.to_parquet(scratch, index=False)
    return pd.read_parquet(path)


def _digests(found: LoggedTraining, rows: pd.DataFrame) -> dict[str, Any]:
    digest = digest_of(rows)
    return {"digest": digest, "recorded_digest": found.digest, "is_equal": digest == found.digest}


def _refit(spec: ModelSpec, recipe: Recipe, rows: pd.DataFrame, split: Split) -> Fitted:
    chosen = recipe.choices
    options = FitOptions(chosen["seed"], chosen["outage_share"])
    plan = Plan(**recipe.plan) if recipe.plan else Plan(recipe.candidate)
    return training.with_threshold(spec, training.refit(spec, plan, rows, split, options), rows, split)


def _scores(model: Any, again: Fitted, rows: pd.DataFrame, split: Split) -> dict[str, Any]:
    judged = pd.concat([training.period_rows(rows, split, "validate"), training.period_rows(rows, split, "test")])
    then, now = (training.predict(one, judged).to_numpy(np.float64) for one in (model, again.estimator))
    largest = float(np.abs(then - now).max()) if len(judged) else 0.0
    differing = int((then != now).any(axis=1).sum())
    return {"rows": len(judged), "differing": differing, "largest_difference": largest, "is_equal": differing == 0}


def _measures(
    spec: ModelSpec, again: Fitted, data: tuple[pd.DataFrame, Split], recipe: Recipe
) -> dict[str, dict[str, Measure]]:
    """Measures of the candidate and of each baseline, on both periods, by name."""
    budget = recipe.choices["selection_budget"]
    validated = training.validated_measures(spec, again, *data, budget)
    judged = training.judged_measures(spec, again, *data, budget)
    return {name: {**validated[name], **judged[name]} for name in validated}


def _metrics(found: LoggedTraining, again: Mapping[str, Mapping[str, Measure]]) -> dict[str, Any]:
    then = {one.name: _flat(one) for one in found.candidates if one.name in again}
    now = {name: _flat(CandidateRecord(name, False, {}, measures)) for name, measures in again.items()}
    compared, largest, different = 0, 0.0, []
    for name, numbers in now.items():
        for metric in sorted(numbers.keys() | then.get(name, {}).keys()):
            compared += 1
            recorded, repeated = then.get(name, {}).get(metric), numbers.get(metric)
            if recorded != repeated:
                different.append({"name": name, "metric": metric, "recorded": recorded, "again": repeated})
            if recorded is not None and repeated is not None:
                largest = max(largest, abs(recorded - repeated))
    return {
        "compared": compared,
        "different": different,
        "largest_difference": largest,
        "is_equal": not different,
    }


def _flat(record: CandidateRecord) -> dict[str, float]:
    """Numbers of the two periods, without those that could not be computed; the fitting time is another each time."""
    periods = ("validation.", "test.")
    values = {
        f"{name}{end}": value
        for name, one in record.metrics.items()
        if name.startswith(periods)
        for end, value in (("", one.value), (".low", one.low), (".high", one.high))
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}
