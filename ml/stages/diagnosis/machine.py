"""What can be wrong with the machine and the installation."""

import importlib.metadata
import os
import shutil
import socket
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from ml.errors import SettingsError
from ml.gates.thresholds import load_thresholds
from ml.settings import MODELS
from ml.sources.configured import load as load_sources
from ml.stages.diagnosis.finding import Finding, Health, Patient

ROOT = Path(__file__).resolve().parents[3]
PYTHONS = ((3, 11), (3, 14))
FULL_GB, LOW_GB = 1.0, 5.0
SHOWN = 5
SYNC = "rm -f .venv/.synced && make setup"


def settings(patient: Patient) -> Iterator[Finding]:
    """Whether they can be read, and name what is there."""
    if patient.problem:
        yield Finding("settings", Health.WRONG, patient.problem, "correct it in .env or in the environment")
        return
    values = patient.settings
    try:
        for model in MODELS:
            load_thresholds(values.gates_file, model)
    except SettingsError as error:
        yield Finding("settings", Health.WRONG, str(error), "correct the file that FOURGATE_GATES_FILE names")
        return
    try:
        load_sources(values.sources)
    except SettingsError as error:
        yield Finding("settings", Health.WRONG, str(error), "correct the file that FOURGATE_SOURCES names")
        return
    if values.history and not Path(values.history).exists():
        told = f"there is no history {values.history}"
        yield Finding("settings", Health.WRONG, told, "correct FOURGATE_HISTORY, or leave it out")
        return
    source = ".env and the environment" if Path(".env").exists() else "the environment; there is no .env"
    yield Finding("settings", Health.OK, f"{len(values.model_fields_set)} set, from {source}")


def python(patient: Patient) -> Iterator[Finding]:
    """Whether this Python is one that Fourgate is made for."""
    least, beyond = PYTHONS
    found = ".".join(map(str, sys.version_info[:3]))
    if least <= sys.version_info[:2] < beyond:
        yield Finding("python", Health.OK, f"{found} at {sys.executable}")
    else:
        told = f"{found}; Fourgate needs {least[0]}.{least[1]} to {beyond[0]}.{beyond[1] - 1}"
        yield Finding("python", Health.WRONG, told, "rm -r .venv && make setup PYTHON=python3.12")


def packages(patient: Patient, lock: Path = ROOT / "uv.lock") -> Iterator[Finding]:
    """Whether the installed versions are those that the lock names."""
    if not lock.exists():
        yield Finding("packages", Health.SKIPPED, f"there is no {lock}: installed as a package, without a lock")
        return
    wanted = _locked(lock)
    present = {_normal(one.name): one.version for one in importlib.metadata.distributions()}
    other = [
        f"{name} {version} instead of {' or '.join(sorted(wanted[name]))}"
        for name, version in sorted(present.items())
        if name in wanted and version not in wanted[name]
    ]
    other += [f"{name} is missing" for name in _needed() if name in wanted and name not in present]
    if other:
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        yield Finding("packages", Health.WRONG, "; ".join(other[:SHOWN]) + more, SYNC)
    else:
        yield Finding("packages", Health.OK, f"{len(present)} installed, as {lock.name} names them")


def _locked(lock: Path) -> Mapping[str, set[str]]:
    wanted: dict[str, set[str]] = defaultdict(set)
    for package in tomllib.loads(lock.read_text(encoding="utf-8"))["package"]:
        if "version" in package:
            wanted[_normal(package["name"])].add(package["version"])
    return wanted


def _needed() -> list[str]:
    required = importlib.metadata.requires("fourgate") or []
    names = (line.partition(";")[0] for line in required if "extra ==" not in line)
    return [_normal(name.split(">")[0].split("[")[0].split("<")[0].split("=")[0].strip()) for name in names]


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def home(patient: Patient) -> Iterator[Finding]:
    """Whether the folder of all local state can be written, and its secrets are private."""
    folder = patient.settings.home.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        owner = f"ls -ld {there}   (choose another FOURGATE_HOME, or become its owner)"
        yield Finding("home", Health.WRONG, f"{there} is no folder that this user may write to", owner)
        return
    loose = [name for name in ("secrets.json", "stack.env") if _is_open(folder / name)]
    if loose:
        files = " ".join(str(folder / name) for name in loose)
        yield Finding("home", Health.WRONG, f"{', '.join(loose)} can be read by other users", f"chmod 600 {files}")
    else:
        yield Finding("home", Health.OK, str(folder) if folder.exists() else f"{folder}, not made yet")


def _is_open(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & 0o077)


def disk(patient: Patient) -> Iterator[Finding]:
    """Whether there is room for one more collection and training."""
    folder = patient.settings.home.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(there)
    free_gb = usage.free / 1e9
    told = f"{free_gb:.1f} GB free of {usage.total / 1e9:.0f} GB at {there}"
    mend = (
        f"rm -r {folder}/frames {folder}/spill   (working files, when nothing trains; du -sh {folder}/* shows the rest)"
    )
    if free_gb < FULL_GB:
        yield Finding("disk", Health.WRONG, f"{told}; at least {FULL_GB:g} GB are needed", mend)
    elif free_gb < LOW_GB:
        yield Finding("disk", Health.WARNING, f"{told}; that will not last", mend)
    else:
        yield Finding("disk", Health.OK, told)


def ports(patient: Patient) -> Iterator[Finding]:
    """Who listens where the embedded servers do, or would."""
    for name in ("postgres", "mlflow", "airflow", "receiver"):
        wished = int(getattr(patient.settings, f"{name}_port"))
        used = int(patient.stack.get("ports", {}).get(name, wished)) if patient.is_up else wished
        listener = _listener(used)
        if patient.is_up and listener is None:
            told = f"{name}: nothing listens on {used}, though the stack says that it runs"
            yield Finding("ports", Health.WRONG, told, "fourgate down && fourgate up")
        elif patient.is_up and not _is_ours(patient, listener):
            told = f"{name}: {used} is held by {_told(listener)}, not by the stack"
            yield Finding("ports", Health.WRONG, told, "fourgate down && fourgate up")
        elif patient.is_up or listener is None:
            yield Finding("ports", Health.OK, f"{name}: {used}, {'ours' if patient.is_up else 'free'}")
        else:
            told = f"{name}: {used} is taken by {_told(listener)}; `fourgate up` takes the next free one"
            mend = f"FOURGATE_{name.upper()}_PORT={_free()} chooses another"
            yield Finding("ports", Health.WARNING, told, mend)


def _listener(port: int) -> int | None:
    """Process that listens on a port; 0 where another user's process does, None where nobody does."""
    try:
        for one in psutil.net_connections(kind="tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port:
                return one.pid or 0
    except psutil.AccessDenied:  # some systems show connections to root only
        pass
    with socket.socket() as probe:
        probe.settimeout(1)
        return 0 if probe.connect_ex(("127.0.0.1", port)) == 0 else None


def _is_ours(patient: Patient, pid: int | None) -> bool:
    """Whether a process belongs to the embedded stack: to its session, or PostgreSQL on its data."""
    if not pid:
        return pid == 0  # not to be seen: taken for ours, as the stack says so and it listens
    try:
        session = int(patient.stack.get("session", -1))
        data = str(patient.settings.home.absolute() / "postgres")
        return os.getsid(pid) == session or data in " ".join(psutil.Process(pid).cmdline())
    except (psutil.Error, ProcessLookupError):
        return False


def _told(pid: int | None) -> str:
    try:
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else "a process of another user"
    except psutil.Error:
        return f"process {pid}"


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
