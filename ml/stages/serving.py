"""Serving: score with the champion, publish the set, and measure it against what happened."""

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ml import models, monitoring, publishing, training, validation
from ml.features import NEXT_RUN, Queries
from ml.schemas import feature_descriptions
from ml.settings import Settings
from ml.spec import END, MERGED_RESULT, ModelSpec, Objective, Question, Snapshot
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
# A row takes some kB while it is scored. Another number moves the last bits of linear scores, and with them a set's id.
PIECE_ROWS = 250_000
REFERENCE_ROWS = 250_000
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
    publication = Publication(version, champion.gate_report, snapshot.snapshot_id, moment, served=project)
    made = _predictions(settings, spec, estimator, snapshot, Queries.prediction(project, runs, moment))
    sizes: list[tuple[int, int]] = []
    with closing(made), open_warehouse(settings) as warehouse:
        publication_id = warehouse.publish(publication, _measured(made, sizes))
    return {
        "project": project,
        "publication_id": publication_id,
        "rows": sum(rows for rows, _ in sizes),
        "changes": sum(changes for _, changes in sizes),
        "version": version.version,
        "is_shared": publication.is_shared,
        "as_of": moment.isoformat(),
        "report_url": registry.model_url(version),
    }


def _measured(pieces: Iterable[pd.DataFrame], sizes: list[tuple[int, int]]) -> Iterator[pd.DataFrame]:
    """The pieces, and of each that was asked for its rows and changes in `sizes`."""
    for piece in pieces:
        sizes.append((len(piece), piece["change_id"].nunique()))
        yield piece


def _predictions(
    settings: Settings, spec: ModelSpec, estimator: Any, snapshot: Snapshot, asked: Queries
) -> Generator[pd.DataFrame]:
    """Rows of the results table that keep its contract, in pieces of whole runs: memory holds two of them at most."""
    moment = asked.as_of or END
    limit = decision_limit(settings, spec, estimator)
    origin = publishing.Origin(spec.name, limit, moment, spec.objective, spec.decisions)
    occluder, words = training.occluder(estimator, settings.threads), feature_descriptions(spec.contract)
    answered = _answered(settings, spec, snapshot, asked)
    with closing(rows_to_score(settings, spec, snapshot, asked, PIECE_ROWS)) as pieces:
        for reference, known in _with_reference(pieces, spec.features):
            rows = known if answered is None else _without(known, answered)
            explanation = publishing.Explanation(occluder, reference, words)
            predicted = training.predict(estimator, rows).join(_by_cost(spec, estimator, rows, reference))
            predictions = publishing.prediction_rows(rows, predicted, explanation, origin)
            validation.require_predictions(predictions)
            yield predictions


def _by_cost(spec: ModelSpec, estimator: Any, rows: pd.DataFrame, reference: pd.Series) -> pd.DataFrame:
    """The order by cost; what is not known of a test takes as long as is ordinary, the same in all pieces."""
    return training.by_cost(spec, estimator, rows, reference.get(spec.cost))


def _with_reference(
    pieces: Iterator[pd.DataFrame], features: Sequence[str]
) -> Iterator[tuple[pd.Series, pd.DataFrame]]:
    """Each piece with what is ordinary, which scores are explained against: a median of each of the features.

    It is that of all rows, and where these are more than `REFERENCE_ROWS` that of the earliest runs that hold so many:
    it must be known before the first row is explained, and the other rows are not there yet. All pieces have the same
    reference, and it does not depend on where they end, so that neither do the reasons.
    """
    first: list[pd.DataFrame] = []
    while sum(map(len, first)) < REFERENCE_ROWS:
        piece = next(pieces, None)
        if piece is None:
            break
        first.append(piece)
    reference = _earliest(first)[list(features)].median()
    while first:
        yield reference, first.pop(0)
    for piece in pieces:
        yield reference, piece


def _earliest(pieces: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of the first runs that hold `REFERENCE_ROWS` rows together."""
    rows = pieces[0] if len(pieces) == 1 else pd.concat(pieces, ignore_index=True)
    if len(rows) <= REFERENCE_ROWS:
        return rows
    is_last = rows["run_id"] == rows["run_id"].iloc[REFERENCE_ROWS - 1]
    return rows.iloc[: int(np.flatnonzero(is_last)[-1]) + 1]


def decision_limit(settings: Settings, spec: ModelSpec, estimator: Any) -> float:
    """Share of tests (0..1) that a selection may run, or the threshold (0..1) that the estimator brings."""
    if spec.objective is Objective.RANKING:
        return settings.selection_budget
    return training.decision_threshold(estimator)


def _answered(settings: Settings, spec: ModelSpec, snapshot: Snapshot, asked: Queries) -> pd.MultiIndex | None:
    """What a model that is asked at the finish of a run need not be asked any more; None for one asked at the start."""
    if spec.question is Question.START or asked.runs is None:
        return None
    known = Queries.training(asked.project, as_of=asked.as_of)
    outcomes = _outcomes(settings, spec, snapshot, known, set(asked.runs["run_id"]))
    return pd.MultiIndex.from_frame(outcomes[MERGED_RESULT])


def _without(rows: pd.DataFrame, answered: pd.MultiIndex) -> pd.DataFrame:
    waiting: pd.DataFrame = rows.loc[~pd.MultiIndex.from_frame(rows[MERGED_RESULT]).isin(answered)]
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
