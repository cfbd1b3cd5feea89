"""Preparing: the feature frame of a snapshot, and whether it drifted from what the champion learned on."""

import hashlib
import math
import subprocess
from collections.abc import Generator
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import pandas as pd

from ml import models
from ml.drift import DriftRule, Subject, measure_drift
from ml.features import Queries
from ml.schemas import GROWING_FEATURES
from ml.settings import Settings
from ml.spec import ALL_PROJECTS, Interval, ModelSpec, Snapshot
from ml.stages.all_projects import joined
from ml.stages.opening import (
    alone_if_large,
    feature_context,
    folder_of,
    head,
    key_of,
    now,
    open_history,
    open_registry,
    open_warehouse,
    projects,
    projects_in,
    replacing,
)

ROOT = Path(__file__).resolve().parents[2]
CURRENT_RUNS = 50


def features(settings: Settings, model: str, project: str, as_of: datetime | None = None) -> dict[str, Any]:
    """Build the training frame of a project as it was known at a moment; a frame that was built is found again.

    The frame of `ALL_PROJECTS` holds the newest runs of each project, see `all_projects.joined`.

    Returns:
        reference: model, project, snapshot_id, as_of, path of the Parquet file, rows, runs.
    """
    with open_warehouse(settings) as warehouse:
        snapshot = head(warehouse)
    return build_frame(settings, model, project, snapshot, now(settings, snapshot, project, as_of))


def build_frame(settings: Settings, model: str, project: str, snapshot: Snapshot, moment: datetime) -> dict[str, Any]:
    """The training frame of exactly this snapshot and moment; see `features`."""
    spec, context = models.load_model(model), feature_context(settings)
    asked = (project, snapshot.snapshot_id, moment.isoformat(), settings.max_frame_rows)
    key = key_of(*asked, feature_set(spec), code_version(), context)
    path = folder_of(settings, "frames", key) / "frame.parquet"
    if not path.exists():
        with alone_if_large(settings, _results_in(settings, snapshot, project)), replacing(path) as scratch:
            training_rows(settings, model, project, snapshot, moment).to_parquet(scratch, index=False)
    keys = pd.read_parquet(path, columns=["run_id"])
    return {
        "model": model,
        "project": project,
        "snapshot_id": snapshot.snapshot_id,
        "as_of": moment.isoformat(),
        "path": str(path),
        "rows": len(keys),
        "runs": int(keys["run_id"].nunique()),
    }


def _results_in(settings: Settings, snapshot: Snapshot, project: str) -> int:
    known = projects_in(settings, snapshot) if project == ALL_PROJECTS else [project]
    with open_warehouse(settings) as warehouse:
        ledgers = [warehouse.batches(one, snapshot.snapshot_id) for one in known]
    return sum(int(counts["test_results"]) for ledger in ledgers for counts in ledger["row_counts"])


def training_rows(settings: Settings, model: str, project: str, snapshot: Snapshot, moment: datetime) -> pd.DataFrame:
    """Rows that a model may learn from: of runs of a snapshot that were known at a moment, all or as many as may be."""
    if project == ALL_PROJECTS:
        known = projects_in(settings, snapshot)
        return joined(_rows_of(settings, model, one, snapshot, moment) for one in known)
    return _rows_of(settings, model, project, snapshot, moment)


def _rows_of(settings: Settings, model: str, project: str, snapshot: Snapshot, moment: datetime) -> pd.DataFrame:
    with open_history(settings, snapshot, project) as engine:
        asked = Queries.training(project, as_of=moment, max_rows=settings.max_frame_rows)
        frame: pd.DataFrame
        (frame,) = models.load_model(model).build(engine, asked, feature_context(settings))
    is_known = frame["known_at"] <= moment
    return frame if is_known.all() else frame.loc[is_known]


def rows_to_score(
    settings: Settings, spec: ModelSpec, snapshot: Snapshot, asked: Queries, piece_rows: int = 0
) -> Generator[pd.DataFrame]:
    """What publishing scores: the rows of a model for each run asked for, as of its start, and for the next run.

    In pieces of whole runs, at least one. The engine with the history is open until the last of them.

    Args:
        settings: engine, threads, shares.
        spec: the model, which says what a row is.
        snapshot: state of the lake to build from.
        asked: as `Queries.prediction` makes it.
        piece_rows: a piece may end with the run that reaches this many rows; 0 makes a single one.
    """
    with open_history(settings, snapshot, asked.project) as engine:
        yield from spec.build(engine, asked, feature_context(settings), piece_rows)


def feature_set(spec: ModelSpec) -> str:
    """A short name for the features of a model."""
    return key_of(spec.name, *spec.features)


def drift(settings: Settings, model: str, only: str = "", as_of: datetime | None = None) -> list[dict[str, Any]]:
    """Compare the newest runs of each project with the period its champion was judged on.

    Without a champion the first half of the history is the reference: the report is kept, but nothing is retrained.

    Returns:
        one entry per project: status, share of drifted columns, whether to retrain, a line to read.
    """
    return [_drift_of(settings, model, project, as_of) for project in projects(settings, only)]


def _drift_of(settings: Settings, model: str, project: str, as_of: datetime | None) -> dict[str, Any]:
    with open_warehouse(settings) as warehouse:
        snapshot = head(warehouse)
        champion = warehouse.champion(model, project)
        used = warehouse.used_periods(model, project)
    moment = now(settings, snapshot, project, as_of)
    built, spec = build_frame(settings, model, project, snapshot, moment), models.load_model(model)
    columns = [name for name in spec.features if name not in GROWING_FEATURES]
    rule = DriftRule(min_rows=spec.drift_rows)
    with alone_if_large(settings, built["rows"]):
        frame = pd.read_parquet(built["path"])
        reference, current = _periods(frame, used[-1] if used else None)
        subject = Subject(model, project, reference, current)
        report = measure_drift(_within(frame, reference), _within(frame, current), columns, subject, rule)
    with open_warehouse(settings) as warehouse:
        warehouse.record_drift(report, snapshot.snapshot_id, moment)
    registry = open_registry(settings)
    url = registry.run_url(registry.log_drift(report, moment)) if report.is_drift else ""
    measured = not math.isnan(report.share_drifted)
    share = f"{report.share_drifted:.0%} of {len(columns)} columns drifted" if measured else "too few rows to tell"
    summary = f"{project}: {report.status}, {share} (limit {report.threshold:.0%})"
    return {
        "project": project,
        "status": report.status,
        "share_drifted": report.share_drifted if measured else None,
        "drifted": list(report.drifted),
        "retrain": report.is_drift and champion is not None,
        "summary": summary if champion else f"{summary}; no champion yet, nothing to retrain",
        "report_url": url,
    }


def _periods(frame: pd.DataFrame, judged: Interval | None) -> tuple[Interval, Interval]:
    """Reference and current period: what the champion was judged on, and the newest runs after it."""
    starts = frame.drop_duplicates("run_id")["started_at"].sort_values(ignore_index=True)
    if starts.empty:
        return Interval(), Interval()
    if judged is None:
        middle = starts.iloc[len(starts) // 2].to_pydatetime()
        newest = starts.iloc[max(len(starts) // 2, len(starts) - CURRENT_RUNS)].to_pydatetime()
        return Interval(None, middle), Interval(newest, None)
    later = starts[starts >= pd.Timestamp(judged.end)] if judged.end else starts.iloc[:0]
    newest = later.iloc[max(0, len(later) - CURRENT_RUNS)].to_pydatetime() if len(later) else judged.end
    return judged, Interval(newest, None)


def _within(frame: pd.DataFrame, span: Interval) -> pd.DataFrame:
    inside = pd.Series(True, index=frame.index)
    if span.start is not None:
        inside &= frame["started_at"] >= span.start
    if span.end is not None:
        inside &= frame["started_at"] < span.end
    return frame.loc[inside]


def code_version() -> str:
    """Commit of the checkout, with a hash of what was changed since; the package's version where there is no checkout.

    The changes are part of it because frames are found again by it: code that was edited builds its own.
    """
    try:
        commit = _git("describe", "--always", "--dirty", "--abbrev=12").decode().strip()
        return (
            f"{commit}-{hashlib.sha256(_git('diff', 'HEAD')).hexdigest()[:8]}" if commit.endswith("-dirty") else commit
        )
    except (OSError, subprocess.SubprocessError):
        return installed("fourgate")


def _git(*arguments: str) -> bytes:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, timeout=10, check=True).stdout
