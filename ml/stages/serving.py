"""Serving: score with the champion, publish the set, and measure it against what happened."""

import logging
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from ml import models, monitoring, publishing, training, validation
from ml.features import NEXT_RUN, Queries
from ml.schemas import feature_descriptions
from ml.settings import Settings
from ml.spec import MERGED_RESULT, ModelSpec, Objective, Question, Snapshot
from ml.stages.opening import (
    feature_context,
    head,
    now,
    open_history,
    open_lake,
    open_registry,
    open_warehouse,
    projects,
    serving_champion,
    without_nan,
)
from ml.stages.preparation import rows_to_score
from ml.warehouse import Champion, Publication

RUN_COLUMNS = ["run_id", "started_at", "event", "branch", "workflow", "change_id", "author_id"]
# A change that waits longer than this lost its results: its run was cancelled, or its report never came.
MAX_WAIT = timedelta(days=7)
MAX_ANNOUNCED = 100
log = logging.getLogger(__name__)


def publish(settings: Settings, model: str, only: str = "", as_of: datetime | None = None) -> list[dict[str, Any]]:
    """Score with each project's champion and make the set current in the results table.

    Published are: each change that was announced without results, in a replay the newest runs as of their start, and
    the next run. Of a model that is asked at the finish of a run: what has no outcome yet in the newest runs, as of
    their finish. A project without a champion of its own is scored by the shared one; without either it is left out.

    Returns:
        one entry per published project; `is_shared` says which of the two it was.

    Raises:
        ArtifactRefused: a champion's model file is not the promoted one.
    """
    published = []
    for project in projects(settings, only):
        with open_warehouse(settings) as warehouse:
            snapshot, champion = head(warehouse), serving_champion(settings, warehouse, model, project)
        if champion is not None:
            moment = now(settings, snapshot, project, as_of)
            published.append(_publish_one(settings, champion, project, snapshot, moment))
    return published


def _publish_one(
    settings: Settings, champion: Champion, project: str, snapshot: Snapshot, moment: datetime
) -> dict[str, Any]:
    version = champion.version
    registry = open_registry(settings)
    estimator, spec = registry.load(version), models.load_model(version.model)
    runs = _runs_to_publish(settings, spec, project, snapshot, moment)
    known = rows_to_score(settings, spec, snapshot, Queries.prediction(project, runs, moment))
    asked = Queries.training(project, as_of=moment)
    rows = _without_outcome(settings, spec, snapshot, asked, known) if spec.question is Question.FINISH else known
    predictions = publishing.prediction_rows(
        rows,
        training.predict(estimator, rows),
        publishing.Explanation(
            training.occluder(estimator, settings.threads),
            known[list(spec.features)].median(),
            feature_descriptions(spec.contract),
        ),
        publishing.Origin(
            version.model, decision_limit(settings, spec, estimator), moment, spec.objective, spec.decisions
        ),
    )
    validation.require_predictions(predictions)
    publication = Publication(version, champion.gate_report, snapshot.snapshot_id, moment, served=project)
    with open_warehouse(settings) as warehouse:
        publication_id = warehouse.publish(publication, predictions)
    return {
        "project": project,
        "publication_id": publication_id,
        "rows": len(predictions),
        "changes": int(predictions["change_id"].nunique()),
        "version": version.version,
        "is_shared": publication.is_shared,
        "as_of": moment.isoformat(),
        "report_url": registry.model_url(version),
    }


def decision_limit(settings: Settings, spec: ModelSpec, estimator: Any) -> float:
    """Share of tests (0..1) that a selection may run, or the threshold (0..1) that the estimator brings."""
    if spec.objective is Objective.RANKING:
        return settings.selection_budget
    return training.decision_threshold(estimator)


def _without_outcome(
    settings: Settings, spec: ModelSpec, snapshot: Snapshot, asked: Queries, rows: pd.DataFrame
) -> pd.DataFrame:
    """The rows whose answer nobody knows yet."""
    answered = _outcomes(settings, spec, snapshot, asked, set(rows["run_id"]))
    is_answered = pd.MultiIndex.from_frame(rows[MERGED_RESULT]).isin(pd.MultiIndex.from_frame(answered[MERGED_RESULT]))
    waiting: pd.DataFrame = rows.loc[~is_answered]
    return waiting


def _runs_to_publish(
    settings: Settings, spec: ModelSpec, project: str, snapshot: Snapshot, moment: datetime
) -> pd.DataFrame:
    """The runs that a model is asked about, at most one row per run.

    Asked at the start: changes that wait for their results, and in a replay the newest runs. Asked at the finish: the
    newest runs with results, in a replay as many of them.
    """
    runs = _started_runs(settings, snapshot, project, moment)
    if spec.question is Question.START:
        return _waiting_runs(settings, runs, project, moment)
    newest = MAX_ANNOUNCED if settings.clock == "wall" else settings.publish_runs
    over: pd.DataFrame = runs.loc[runs["has_results"], RUN_COLUMNS].tail(newest)
    return over


def _started_runs(settings: Settings, snapshot: Snapshot, project: str, moment: datetime) -> pd.DataFrame:
    lake = open_lake(settings)
    runs = lake.read("runs", snapshot.versions["runs"], project, [*RUN_COLUMNS, "finished_at"]).to_pandas()
    runs = runs.loc[runs["started_at"] <= moment].sort_values(["started_at", "run_id"]).drop_duplicates("run_id")
    ran = lake.read("test_results", snapshot.versions["test_results"], project, ["run_id"]).column("run_id").unique()
    started: pd.DataFrame = runs.assign(has_results=runs["run_id"].isin(set(ran.to_pylist())))
    return started


def _waiting_runs(settings: Settings, runs: pd.DataFrame, project: str, moment: datetime) -> pd.DataFrame:
    """Changes that wait for their results, and in a replay the newest runs.

    A run that had finished by then does not wait any more, with or without results; one that finished later still did.
    Of more than `MAX_ANNOUNCED` that wait, the newest are taken, and the log says how many are left out.
    """
    waits = (runs["finished_at"] > moment) | (runs["finished_at"].isna() & ~runs["has_results"])
    waits &= runs["started_at"] > moment - MAX_WAIT
    runs = runs[RUN_COLUMNS]
    announced: pd.DataFrame = runs.loc[waits].tail(MAX_ANNOUNCED)
    if waits.sum() > MAX_ANNOUNCED:
        log.warning("%s: %d changes wait for results, the newest %d are published", project, waits.sum(), MAX_ANNOUNCED)
    if settings.clock == "wall" or settings.publish_runs == 0:
        return announced
    replayed = runs.drop(announced.index).tail(settings.publish_runs)
    both: pd.DataFrame = pd.concat([replayed, announced])
    return both.sort_values(["started_at", "run_id"], ignore_index=True)


def monitor(settings: Settings, model: str, only: str = "", as_of: datetime | None = None) -> list[dict[str, Any]]:
    """Measure what each project's champion published, or the shared one for it, against the outcomes known now.

    Returns:
        one entry per project with at least one published run that has results: the live measures, None where there
        is nothing to measure.
    """
    measured, spec = [], models.load_model(model)
    for project in projects(settings, only):
        with open_warehouse(settings) as warehouse:
            snapshot, champion = head(warehouse), serving_champion(settings, warehouse, model, project)
            moment = now(settings, snapshot, project, as_of)
            if champion is None:
                continue
            predictions = warehouse.published(champion.version, project)
            runs = set(predictions["change_id"]) - {NEXT_RUN}
            outcomes = _outcomes(settings, spec, snapshot, Queries.training(project, as_of=moment), runs)
            if outcomes.empty:
                continue
            measures = monitoring.live_measures(predictions, outcomes, spec.objective)
            warehouse.record_monitor(champion.version, project, measures, snapshot.snapshot_id, moment)
            told = {"project": project, "version": champion.version.version, "measures": measures}
            measured.append(without_nan(told))
    return measured


def _outcomes(
    settings: Settings, spec: ModelSpec, snapshot: Snapshot, asked: Queries, run_ids: set[str]
) -> pd.DataFrame:
    """What became of some runs, in the grain of the model."""
    with open_history(settings, snapshot, asked.project) as engine:
        engine.register_frame("published", _as_table(sorted(run_ids)))
        found: pd.DataFrame = spec.outcomes(engine, asked, feature_context(settings))
    return found


def _as_table(run_ids: list[str]) -> Any:
    return pa.table({"run_id": pa.array(run_ids, pa.string())})


def champion_of(settings: Settings, model: str, project: str) -> dict[str, Any]:
    """The champion as a reference; without a version before the first promotion."""
    with open_warehouse(settings) as warehouse:
        champion = warehouse.champion(model, project)
    return {"model": model, "project": project, "version": champion.version.version if champion else None}
