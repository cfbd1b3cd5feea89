"""Disk use and retention of local files: what lies below home, what may go, and removing it.

Age is when a file was written last, so the moment that it is held against is of the wall clock, whatever the age of
the history.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ml import sources
from ml.errors import SourceError
from ml.settings import Settings
from ml.stages import data_docs
from ml.stages.opening import key_of, open_warehouse
from ml.stages.project_retention import project_options

MB = 1_000_000
EXPIRED = ".expired"  # beside what goes: a folder is renamed into it whole before its files are removed
KINDS = {
    "lake": "lake",
    "payloads": "landing",
    "staged batches": "staging",
    "feature frames": "frames",
    "candidates' files": "candidates",
    "spilled queries": "spill",
    "caches of sources": "cache",
    "Data Docs": "reports/data_docs",
    "gate reports": "reports/gates",
    "simulated history": "simulated",
    "MLflow artifacts": "mlflow",
    "Airflow logs": "airflow/logs",
    "service logs": "logs",
    "PostgreSQL": "postgres",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder that stays or goes as one; `written_at` is that of its newest file."""

    path: Path
    size: int
    written_at: datetime


def disk_use(settings: Settings) -> dict[str, Any]:
    """Bytes and files below home by kind, and what the disk has left.

    Returns:
        home, kinds (kind, path, bytes, files; `path` is an address and `bytes` None where it is not on this disk),
        bytes of all kinds, free_bytes of the disk.
    """
    home = settings.home.absolute()
    rows: list[dict[str, Any]] = []
    for kind, folder in KINDS.items():
        path = Path(settings.lake) if kind == "lake" else home / folder
        if kind == "lake" and "://" in settings.lake:
            rows.append({"kind": kind, "path": settings.lake, "bytes": None, "files": None})
            continue
        sizes = [found.st_size for _, found in _files(path)]
        rows.append({"kind": kind, "path": str(path), "bytes": sum(sizes), "files": len(sizes)})
    free = shutil.disk_usage(home).free if home.exists() else None
    return {"home": str(home), "kinds": rows, "bytes": sum(row["bytes"] or 0 for row in rows), "free_bytes": free}


def clean_files(settings: Settings, as_of: datetime, *, dry_run: bool = False) -> dict[str, Any]:
    """Working files, reports and logs: all that this page knows; see the three."""
    steps = (clean_working_files, clean_reports, clean_logs)
    kinds = [step(settings, as_of, dry_run=dry_run)["kinds"] for step in steps]
    return _summed({kind: counts for found in kinds for kind, counts in found.items()}, dry_run)


def clean_working_files(settings: Settings, as_of: datetime, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove staged batches, frames and candidates' files that are old, and payloads whose retention has ended.

    Kept at any age: the files of versions in service and of the candidate trained last, and the frame that it was
    trained on. What goes can be made again from the lake; payloads go only after they are in it.

    Returns:
        per kind and in all: removed and bytes; with `dry_run`, what would go.
    """
    home = settings.home.absolute()
    kept = _needed(settings)
    old = as_of - timedelta(days=settings.keep_working_days)
    going = {
        kind: [one for one in _entries(home / KINDS[kind]) if one.written_at < old and one.path not in kept]
        for kind in ("staged batches", "feature frames", "candidates' files", "spilled queries")
    }
    going["payloads"] = _old_payloads(settings, as_of)
    return _expire(going, dry_run)


def clean_reports(settings: Settings, as_of: datetime, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove old Data Docs and gate reports; those of versions in service stay. Returns as `clean_working_files`."""
    home = settings.home.absolute()
    old = as_of - timedelta(days=settings.keep_reports_days)
    in_service = {f"{key}.html" for key in _keys_in_service(settings)}
    docs = [one for one in _entries(home / KINDS["Data Docs"]) if one.path.is_dir() and one.written_at < old]
    gates = _entries(home / KINDS["gate reports"])
    going = {
        "Data Docs": docs,
        "gate reports": [one for one in gates if one.written_at < old and one.path.name not in in_service],
    }
    done = _expire(going, dry_run)
    if docs and not dry_run:
        data_docs.write_index(settings)
    return done


def clean_logs(settings: Settings, as_of: datetime, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove old task logs, and all but the end of long service logs. Returns as `clean_working_files`."""
    home = settings.home.absolute()
    old = (as_of - timedelta(days=settings.keep_airflow_days)).timestamp()
    tasks = [(path, found.st_size) for path, found in _files(home / KINDS["Airflow logs"]) if found.st_mtime < old]
    most = settings.keep_log_mb * MB
    services = [(path, found.st_size - most) for path, found in _files(home / KINDS["service logs"])]
    services = [(path, excess) for path, excess in services if excess > 0]
    if not dry_run:
        for path, _ in tasks:
            path.unlink(missing_ok=True)
        _remove_empty_folders(home / KINDS["Airflow logs"])
        for path, _ in services:
            _keep_end(path, most)
    counted = {"Airflow logs": tasks, "service logs": services}
    kinds = {kind: {"removed": len(ones), "bytes": sum(size for _, size in ones)} for kind, ones in counted.items()}
    return _summed(kinds, dry_run)


def _needed(settings: Settings) -> set[Path]:
    """Files that stay at any age: of versions in service, and of the newest candidate with its frame."""
    candidates = settings.home.absolute() / KINDS["candidates' files"]
    needed = {candidates / key for key in _keys_in_service(settings)}
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for path in candidates.glob("*/candidate.json"):
        candidate = json.loads(path.read_text())
        subject = (candidate["model"], candidate["project"])
        known = newest.get(subject)
        if known is None or int(known["version"]["version"]) < int(candidate["version"]["version"]):
            newest[subject] = candidate
    for candidate in newest.values():
        needed |= {Path(candidate["folder"]), Path(candidate["path"]).parent}
    return needed


def _keys_in_service(settings: Settings) -> set[str]:
    with open_warehouse(settings) as warehouse:
        return {key_of(*version) for version in warehouse.versions_in_service()}


def _old_payloads(settings: Settings, as_of: datetime) -> list[Entry]:
    """Landed batches whose retention has ended and that are in the lake."""
    options = project_options(settings)
    own = {name: one.keep_payload_days for name, one in options.items() if one.keep_payload_days is not None}
    if not any((settings.keep_payloads_days, *own.values())):
        return []
    with open_warehouse(settings) as warehouse:
        projects = warehouse.projects_of_batches()
    found = []
    for source in (path for path in _listed(settings.home.absolute() / KINDS["payloads"]) if path.is_dir()):
        for one in (one for one in _entries(source) if one.path.is_dir()):
            project = projects.get(_holder(one.path))
            days = 0 if project is None else own.get(project, settings.keep_payloads_days)
            found += [one] if days and one.written_at < as_of - timedelta(days=days) else []
    return found


def _holder(folder: Path) -> str:
    try:
        return sources.holder(folder)
    except SourceError:  # no batch, or one without a record that can be read
        return folder.name


def _expire(going: dict[str, list[Entry]], dry_run: bool) -> dict[str, Any]:
    if not dry_run:
        for entry in (one for entries in going.values() for one in entries):
            _remove(entry.path)
        for parent in {entry.path.parent for entries in going.values() for entry in entries}:
            shutil.rmtree(parent / EXPIRED, ignore_errors=True)
    kinds = {
        kind: {"removed": len(entries), "bytes": sum(entry.size for entry in entries)}
        for kind, entries in going.items()
    }
    return _summed(kinds, dry_run)


def _summed(kinds: dict[str, dict[str, int]], dry_run: bool) -> dict[str, Any]:
    total = {name: sum(counts[name] for counts in kinds.values()) for name in ("removed", "bytes")}
    return {"kinds": kinds, **total, "dry_run": dry_run}


def _remove(path: Path) -> None:
    """Remove a file or a folder, whole: a kill in the middle leaves no half folder in its place."""
    trash = path.parent / EXPIRED
    trash.mkdir(exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=trash)) / path.name
    try:
        path.rename(place)
    except FileNotFoundError:  # somebody else removed it
        return
    shutil.rmtree(place.parent, ignore_errors=True)


def _entries(folder: Path) -> Iterator[Entry]:
    """What lies in a folder, with what a killed writer or an earlier clean-up left there."""
    for path in _listed(folder):
        if path.name in {EXPIRED, ".lock", data_docs.INDEX}:
            continue
        found = [stat for _, stat in _files(path)]
        newest = max((stat.st_mtime for stat in found), default=path.lstat().st_mtime)
        yield Entry(path, sum(stat.st_size for stat in found), datetime.fromtimestamp(newest, UTC))


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file at or below a path; links are not followed, and what goes meanwhile is left out."""
    walked: Iterable[tuple[str, list[str], list[str]]] = os.walk(path)
    places = [path] if path.is_file() else (Path(folder, name) for folder, _, names in walked for name in names)
    for place in places:
        try:
            yield place, place.lstat()
        except FileNotFoundError:
            continue


def _remove_empty_folders(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        if Path(folder) != root and not os.listdir(folder):
            try:
                Path(folder).rmdir()
            except OSError:  # a task began to write there
                continue


def _keep_end(path: Path, most: int) -> None:
    """Shorten a log in place, from a whole line on: the service that writes it appends and keeps it open."""
    with path.open("r+b") as stream:
        stream.seek(-most, os.SEEK_END)
        end = stream.read().split(b"\n", 1)[-1]
        stream.seek(0)
        stream.truncate()
        stream.write(end)
