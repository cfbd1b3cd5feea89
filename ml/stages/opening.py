"""Opens what a stage works with, from the settings alone."""

import errno
import fcntl
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.engine import Engine, open_engine
from ml.errors import NotEnoughData, SettingsError, StorageError
from ml.features import Context
from ml.lake import Lake
from ml.settings import Settings
from ml.spec import ALL_PROJECTS, Interval, ModelVersion, Snapshot
from ml.warehouse import Champion, Warehouse

if TYPE_CHECKING:
    from ml.registry import Registry

HISTORY_TABLES = ("runs", "test_results", "changed_files")
UNTITLED = "untitled_runs"
LARGE_ROWS = 1_000_000
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def open_warehouse(settings: Settings) -> Warehouse:
    """Connection of the pipeline role."""
    return Warehouse(settings.warehouse_dsn.get_secret_value())


def open_registry(settings: Settings) -> "Registry":
    """The MLflow server of the settings.

    Raises:
        SettingsError: none is set.
    """
    if not settings.mlflow_tracking_uri:
        raise SettingsError("FOURGATE_MLFLOW_TRACKING_URI is not set; `make run` starts a server and sets it")
    from ml.registry import Registry  # noqa: PLC0415 - brings skops and scikit-learn: 3 s that few stages need

    return Registry(settings.mlflow_tracking_uri)


def open_lake(settings: Settings) -> Lake:
    """The Delta tables of the settings."""
    return Lake(settings.lake)


@contextmanager
def open_history(settings: Settings, snapshot: Snapshot, project: str) -> Iterator[Engine]:
    """An engine with the history of one project, as a snapshot has it, as views of the lake tables' names.

    A run whose source told no title has the subject of its commit, where table commits knows it.
    """
    lake = open_lake(settings)
    spill = settings.home.absolute() / "spill"
    with open_engine(settings.engine, settings.threads, settings.engine_memory_gb, str(spill)) as engine:
        # a snapshot of an earlier release has no commits
        has_commits = "commits" in snapshot.versions and bool(_files(lake, snapshot, "commits", project))
        for table in (*HISTORY_TABLES, *["commits"] * has_commits):
            name = UNTITLED if table == "runs" and has_commits else table
            schema = lake.schema(table, snapshot.versions[table])
            engine.register_files(name, _files(lake, snapshot, table, project), schema)
        if has_commits:
            _tell_titles(engine, lake.schema("runs", snapshot.versions["runs"]).names)
        yield engine


def _files(lake: Lake, snapshot: Snapshot, table: str, project: str) -> list[str]:
    return lake.files(table, snapshot.versions[table], project)


def _tell_titles(engine: Engine, columns: Sequence[str]) -> None:
    """``runs``, with subjects of ``commits`` as titles; what git writes over a merge names branches alone."""
    kept = ", ".join(f"r.{name}" for name in columns if name != "change_title")
    engine.store(
        "runs",
        f"""
        SELECT {kept}, COALESCE(r.change_title, c.subject) AS change_title
        FROM {UNTITLED} AS r
        LEFT JOIN (SELECT commit_sha, MAX(subject) AS subject FROM commits WHERE subject NOT LIKE 'Merge %'
                   GROUP BY commit_sha) AS c ON c.commit_sha = r.commit_sha
        """,
    )


def feature_context(settings: Settings) -> Context:
    """The choices of the settings that features depend on."""
    return Context(outage_share=settings.outage_share, author_features=settings.author_features)


def head(warehouse: Warehouse) -> Snapshot:
    """The newest snapshot of the history.

    One that only added labels does not count: what is built, fitted and published comes from facts, and would be made
    again from the same ones.

    Raises:
        NotEnoughData: nothing was collected yet.
    """
    snapshot = warehouse.history_head()
    if snapshot is None or snapshot.data_until is None:
        raise NotEnoughData("the lake is empty: collect a history first (`fourgate collect` or DAG collect_ci_data)")
    return snapshot


def now(settings: Settings, snapshot: Snapshot, project: str, as_of: datetime | None) -> datetime:
    """What counts as now for a project: the given moment, or the end of its own collected history.

    For `ALL_PROJECTS` it is the latest end of all.

    Raises:
        NotEnoughData: no moment is given and the project has no runs.
    """
    only = None if project == ALL_PROJECTS else project
    end = as_of or open_lake(settings).data_until(snapshot.versions["runs"], only)
    if end is None:
        raise NotEnoughData(f"{project} has no runs in snapshot {snapshot.snapshot_id}: no end of history to stand at")
    return end


def projects(settings: Settings, only: str = "") -> list[str]:
    """Projects in the head snapshot, or the given one if it is there.

    Raises:
        NotEnoughData: the given project is not in the lake; names those that are.
    """
    with open_warehouse(settings) as warehouse:
        snapshot = warehouse.head()
    if snapshot is None:
        return []
    known = projects_in(settings, snapshot)
    if only and only not in known:
        raise NotEnoughData(f"project {only!r} is not in the lake; there are: {', '.join(known) or 'none'}")
    return [only] if only else known


def projects_in(settings: Settings, snapshot: Snapshot) -> list[str]:
    """Projects that have runs in a snapshot."""
    names = open_lake(settings).read("runs", snapshot.versions["runs"], columns=["project"])
    return sorted(set(names["project"].to_pylist()))


def learners(settings: Settings, only: str = "") -> list[str]:
    """What a model is trained for: every project of the lake, and where there are several, `ALL_PROJECTS` as one more.

    Args:
        settings: whether there is a shared model.
        only: a project, or `ALL_PROJECTS` for the shared model alone.

    Raises:
        NotEnoughData: the given project is not in the lake, or nothing is there to share; says what there is.
    """
    if only not in {"", ALL_PROJECTS}:
        return projects(settings, only)
    known = projects(settings)
    shared = [ALL_PROJECTS] if settings.shared_model and len(known) > 1 else []
    if only and not shared:
        there = f"{len(known)} in the lake" if settings.shared_model else "FOURGATE_SHARED_MODEL is off"
        raise NotEnoughData(f"the shared model learns from two projects with runs or more; {there}")
    return shared if only else [*known, *shared]


def serving_champion(settings: Settings, warehouse: Warehouse, model: str, project: str) -> Champion | None:
    """Who scores a project: its own champion, and while it has none the shared one; None where there is neither."""
    own = warehouse.champion(model, project)
    if own is not None or not settings.shared_model:
        return own
    return warehouse.champion(model, ALL_PROJECTS)


def key_of(*parts: object) -> str:
    """A short name for a combination of values, the same on every machine."""
    text = json.dumps([str(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder_of(settings: Settings, kind: str, key: str) -> Path:
    """Folder ``<home>/<kind>/<key>``, made if it is not there."""
    folder = settings.home.absolute() / kind / key
    with room_for(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def candidate_folder(settings: Settings, version: ModelVersion) -> Path:
    """Folder of what was computed for one logged version."""
    return folder_of(settings, "candidates", key_of(version.model, version.project, version.version))


def report_url(settings: Settings, path: str) -> str:
    """Address under which Airflow shows a file of the reports folder; the file itself where there is no Airflow."""
    if not settings.airflow_url:
        return str(settings.home.absolute() / "reports" / path)
    return f"{settings.airflow_url}/fourgate/reports/{path}"


@contextmanager
def alone_if_large(settings: Settings, rows: int) -> Iterator[None]:
    """Wait until nobody else below this home works on a frame of more than `LARGE_ROWS`, if this one is as large.

    The tasks of one machine may be many, and its memory holds one such frame with all that is made of it. The place is
    free again when the process ends, however it does.
    """
    if rows <= LARGE_ROWS:
        yield
        return
    with (settings.home.absolute() / "large_frame.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """A full or read-only disk as `StorageError` that names the place; any other error stays what it is."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StorageError(
            f"{path} cannot be written: {os.strerror(error.errno or 0)}; make room there, or set FOURGATE_HOME to a "
            "folder on another disk, and repeat: what was half written does not count"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A scratch file that takes the place of `path` when the block ends well: readers see the old file or the new one.

    Each writer has a scratch file of its own: two at once must not write into each other's.
    """
    with room_for(path):
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        os.close(handle)
        scratch = Path(name)
        try:
            yield scratch
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file whole or not at all."""
    text = json.dumps(value, default=str)
    with replacing(path) as scratch:
        scratch.write_text(text)


def without_nan(value: Any) -> Any:
    """The value with None for NaN and infinity, which JSON, and so a task's result in Airflow, cannot hold."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_span(start: str | None, end: str | None) -> Interval:
    """Interval from ISO-8601 texts; None or empty leaves a side open.

    Raises:
        SettingsError: a text is no moment with a time zone, or the start is not before the end.
    """
    span = Interval(_moment(start), _moment(end))
    if span.start is not None and span.end is not None and span.start >= span.end:
        raise SettingsError(f"the interval starts at {start} but ends at {end}; the start must be earlier")
    return span


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{text!r} is no moment; right would be 2026-01-31T08:00:00Z") from error
    if found.tzinfo is None:
        raise SettingsError(f"{text!r} has no time zone; right would be {text}Z for UTC")
    return found
