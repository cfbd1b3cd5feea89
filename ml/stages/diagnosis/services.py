"""What can be wrong with the servers, and with what they should agree on."""

from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version as installed
from urllib.parse import urlsplit

import httpx

from ml.errors import FourgateError, LakeError, WarehouseError
from ml.settings import Settings
from ml.spec import Snapshot
from ml.stages.diagnosis.finding import LOOPBACK, Finding, Health, Patient, place
from ml.stages.opening import open_lake, open_registry, open_warehouse
from ml.warehouse import Champion

TIMEOUT_S = 5.0
MAX_SKEW = timedelta(seconds=5)
PROJECT = "fourgate doctor --repair"


def database(patient: Patient) -> Iterator[Finding]:
    """Whether PostgreSQL answers the pipeline's role, with the tables of this release."""
    try:
        with open_warehouse(patient.settings) as warehouse:
            server = warehouse.server_version()
            missing, unknown = warehouse.migrations()
    except WarehouseError as error:
        lacks = "run its migrations" in str(error)
        start = patient.start("FOURGATE_WAREHOUSE_DSN", _database_host(patient.settings))
        yield Finding("database", Health.WRONG, str(error), "fourgate migrate" if lacks else start)
        return
    if missing:
        mend = "fourgate down && fourgate up" if patient.is_up else "fourgate migrate"
        yield Finding("database", Health.WRONG, f"it lacks {', '.join(missing)}", mend)
    elif unknown:
        told = f"it has {', '.join(unknown)}, which this release does not know or has otherwise"
        yield Finding("database", Health.WRONG, told, "git pull && make setup   (the database is of a later release)")
    else:
        yield Finding("database", Health.OK, f"PostgreSQL {server}, every migration applied")


def clock(patient: Patient) -> Iterator[Finding]:
    """Whether this machine and the database server agree on the time: tokens and leases rest on it."""
    try:
        with open_warehouse(patient.settings) as warehouse:
            before = patient.now()
            theirs = warehouse.clock()
            after = patient.now()
    except WarehouseError:
        yield Finding("clock", Health.SKIPPED, "the database comes first")
        return
    margin = (after - before) / 2
    skew = abs(theirs - (before + margin)) - margin
    told = f"{max(skew, timedelta()).total_seconds():.1f} s apart from the database server"
    if skew > MAX_SKEW:
        wrong = f"{told}; at most {MAX_SKEW.total_seconds():g} s are right"
        yield Finding("clock", Health.WRONG, wrong, "sudo timedatectl set-ntp true   (on the machine that is wrong)")
    else:
        yield Finding("clock", Health.OK, told)


def mlflow(patient: Patient) -> Iterator[Finding]:
    """Whether MLflow answers, in a version that this client speaks with."""
    uri = patient.settings.mlflow_tracking_uri.rstrip("/")
    if not uri:
        yield _unset("mlflow", "FOURGATE_MLFLOW_TRACKING_URI")
        return
    start = patient.start("FOURGATE_MLFLOW_TRACKING_URI", str(urlsplit(uri).hostname))
    try:
        health, server = _get(f"{uri}/health"), _get(f"{uri}/version")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield Finding("mlflow", Health.WRONG, f"{place(uri)} does not answer: {type(error).__name__}: {error}", start)
        return
    if health.status_code != httpx.codes.OK:
        yield Finding("mlflow", Health.WRONG, f"{place(uri)} answers {health.status_code} instead of 200", start)
        return
    theirs, ours = server.text.strip()[:20], installed("mlflow")
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        told = f"{place(uri)} is MLflow {theirs}, the client here is {ours}"
        yield Finding("mlflow", Health.WARNING, told, "make setup   (and the server from the same lock)")
    else:
        yield Finding("mlflow", Health.OK, f"MLflow {theirs} at {place(uri)}")


def airflow(patient: Patient) -> Iterator[Finding]:
    """Whether every part of Airflow is alive."""
    url = patient.settings.airflow_url.rstrip("/")
    if not url:
        yield _unset("airflow", "FOURGATE_AIRFLOW_URL")
        return
    start = patient.start("FOURGATE_AIRFLOW_URL", str(urlsplit(url).hostname))
    try:
        answer = _get(f"{url}/api/v2/monitor/health")
        parts = dict(answer.json())
        sick = [name for name, part in parts.items() if part.get("status") not in ("healthy", None)]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError) as error:
        yield Finding("airflow", Health.WRONG, f"{place(url)} does not answer: {type(error).__name__}: {error}", start)
        return
    if answer.status_code != httpx.codes.OK or sick:
        told = f"{place(url)} answers {answer.status_code}; not healthy: {', '.join(sick) or 'the server'}"
        yield Finding("airflow", Health.WRONG, told, start)
    else:
        yield Finding("airflow", Health.OK, f"{', '.join(parts)} healthy at {place(url)}")


def receiver(patient: Patient) -> Iterator[Finding]:
    """Whether the embedded stack's push endpoint answers; one that was started by hand is not known here."""
    port = patient.stack.get("ports", {}).get("receiver")
    if not patient.is_up or not port:
        yield Finding("receiver", Health.SKIPPED, "no embedded stack runs that has a push endpoint")
        return
    address = f"http://127.0.0.1:{port}"
    try:
        answer = _get(f"{address}/api/v1/health")
    except httpx.HTTPError as error:
        told = f"{place(address)} does not answer: {type(error).__name__}: {error}"
        yield Finding("receiver", Health.WRONG, told, patient.start("FOURGATE_RECEIVER_PORT"))
        return
    if answer.status_code != httpx.codes.OK:
        told = f"{place(address)} answers {answer.status_code} instead of 200"
        yield Finding("receiver", Health.WRONG, told, patient.start("FOURGATE_RECEIVER_PORT"))
    else:
        yield Finding("receiver", Health.OK, f"runs can be pushed to {place(address)}")


def lake(patient: Patient) -> Iterator[Finding]:
    """Whether the tables of the newest snapshot can be read, and are those that the ledger names."""
    try:
        with open_warehouse(patient.settings) as warehouse:
            snapshot = warehouse.head()
    except WarehouseError:
        yield Finding("lake", Health.SKIPPED, f"{_lake_place(patient.settings)}: the database comes first")
        return
    if snapshot is None:
        yield Finding("lake", Health.OK, f"{_lake_place(patient.settings)}: nothing was collected yet")
        return
    yield _lake_at(patient.settings, snapshot)


def _lake_at(settings: Settings, snapshot: Snapshot) -> Finding:
    there, opened = _lake_place(settings), open_lake(settings)
    mend = f"put {there} back from its backup, or correct FOURGATE_LAKE_URI and FOURGATE_HOME"
    try:
        current = opened.versions()
        older = [f"{name} {current[name]}, not {at}" for name, at in snapshot.versions.items() if current[name] < at]
        if older:
            told = f"{there} is older than snapshot {snapshot.snapshot_id} of the ledger: {', '.join(older)}"
            return Finding("lake", Health.WRONG, told, mend)
        until = opened.data_until(snapshot.versions["runs"])
    except LakeError as error:
        return Finding("lake", Health.WRONG, f"it cannot be read: {error}", mend)
    newer = [name for name, at in snapshot.versions.items() if current[name] > at]
    if newer:
        told = f"{', '.join(newer)} went on without the ledger: a writer is at work, or was killed"
        return Finding("lake", Health.WARNING, told, "fourgate collect   (the next writer puts it right)")
    return Finding("lake", Health.OK, f"{there}, snapshot {snapshot.snapshot_id}, history until {until}")


def aliases(patient: Patient) -> Iterator[Finding]:
    """Whether MLflow's aliases name the champions of the warehouse."""
    if not patient.settings.mlflow_tracking_uri:
        yield Finding("aliases", Health.SKIPPED, "MLflow comes first")
        return
    try:
        serving = champions(patient.settings)
        _get(f"{patient.settings.mlflow_tracking_uri.rstrip('/')}/health")  # the client would try for minutes
        registry = open_registry(patient.settings)
        for one in serving:
            found = registry.aliases(one.version.model, one.version.project)
            yield _alias(one, {name: found.get(name) for name in ("champion", "previous")})
    except (FourgateError, httpx.HTTPError):
        yield Finding("aliases", Health.SKIPPED, "the database and MLflow come first")
        return
    if not serving:
        yield Finding("aliases", Health.OK, "there is no champion yet")


def _alias(one: Champion, found: dict[str, str | None]) -> Finding:
    wanted = {"champion": one.version.version, "previous": one.previous.version if one.previous else None}
    name = f"{one.version.model} of {one.version.project}"
    if found == wanted:
        return Finding("aliases", Health.OK, f"{name}: champion {wanted['champion']}")
    told = f"{name}: MLflow has {_versions(found)}, the warehouse {_versions(wanted)}"
    return Finding("aliases", Health.WRONG, told, PROJECT)


def _versions(found: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'none'}" for name, version in found.items())


def champions(settings: Settings) -> list[Champion]:
    """Every version in service."""
    with open_warehouse(settings) as warehouse:
        rows = warehouse.status()["champions"]
        found = [warehouse.champion(row["model"], row["project"]) for row in rows]
    return [one for one in found if one is not None]


def repair_aliases(settings: Settings) -> int:
    """Point MLflow's aliases at the champions of the warehouse, which are the truth; returns how many there are."""
    registry = open_registry(settings)
    serving = champions(settings)
    for one in serving:
        registry.project_champion(one.version, one.previous)
    return len(serving)


def _unset(subject: str, variable: str) -> Finding:
    health = Health.WRONG if subject == "mlflow" else Health.WARNING  # stages run without Airflow
    return Finding(subject, health, f"{variable} is not set", f"fourgate up   (or set {variable})")


def _get(address: str) -> httpx.Response:
    is_local = urlsplit(address).hostname in LOOPBACK  # no proxy reaches our loopback address
    return httpx.get(address, timeout=TIMEOUT_S, trust_env=not is_local)


def _lake_place(settings: Settings) -> str:
    return settings.lake.partition("?")[0]


def _database_host(settings: Settings) -> str:
    return urlsplit(settings.warehouse_dsn.get_secret_value()).hostname or ""
