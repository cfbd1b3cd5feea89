"""The stack, PostgreSQL, MLflow, Airflow."""

from functools import partial

from psycopg2 import extensions

from ml.artifact import MODEL_FILE
from ml.registry.tracking import Tracking
from ml.stack.airflow_api import AirflowApi
from ml.stages import collection
from ml.stages.opening import open_warehouse
from tests.champion_builders import MODEL, PROJECT, crown, log_version, unlogged_version
from tests.docs.errors.cases import Cases, entries
from tests.docs.place import Place
from tests.mlflow_server import free_port
from tests.postgres import run_sql

CASES: Cases = {}
of = partial(entries, CASES)


@of("the-embedded-postgresql-does-not-start")
def _broken_cluster(place: Place) -> str:
    data = place.folder / "home" / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("18\n")  # and nothing else: a copy that was broken off
    try:
        return place.run("up")
    finally:
        place.run("down")


@of("airflow-does-not-answer")
def _no_airflow(place: Place) -> str:
    api = AirflowApi(f"http://127.0.0.1:{free_port()}", "admin", "secret")
    return place.printed(api.make_pools)


@of("no-postgresql-is-set")
def _no_dsn(place: Place) -> str:
    return place.call("status")


@of("the-address-of-postgresql-cannot-be-read")
def _odd_dsn(place: Place) -> str:
    place.set("FOURGATE_WAREHOUSE_DSN", "postgresql://fourgate:secret@[db/fourgate")
    return place.call("status")


@of("postgresql-does-not-answer")
def _no_postgres(place: Place) -> str:
    dsn = f"postgresql://fourgate_pipeline:secret@127.0.0.1:{free_port()}/fourgate"
    place.set("FOURGATE_WAREHOUSE_DSN", dsn)
    return place.call("status")


@of("the-password-of-postgresql-is-wrong")
def _wrong_password(place: Place) -> str:
    dsn = extensions.make_dsn(place.warehouse().pipeline_dsn, password="wrong")
    place.set("FOURGATE_WAREHOUSE_DSN", dsn)
    return place.call("status")


@of("the-warehouse-was-not-migrated")
def _not_migrated(place: Place) -> str:
    place.set("FOURGATE_WAREHOUSE_DSN", place.empty_database().admin_dsn)
    return place.call("status")


@of("the-warehouse-is-newer-than-fourgate")
def _newer(place: Place) -> str:
    admin = place.warehouse().admin_dsn
    run_sql(admin, "INSERT INTO fourgate.schema_migration (version, name, checksum) VALUES (99, '0099_later.sql', 'x')")
    place.set("FOURGATE_WAREHOUSE_ADMIN_DSN", admin)
    return place.call("migrate")


@of("the-owner-of-the-warehouse-is-not-named")
def _no_owner(place: Place) -> str:
    return place.call("migrate")


@of("a-role-may-not-migrate")
def _no_right_to_migrate(place: Place) -> str:
    place.set("FOURGATE_WAREHOUSE_ADMIN_DSN", place.warehouse().pipeline_dsn)
    return place.call("migrate")


@of("a-role-may-not-write")
def _reader_writes(place: Place) -> str:
    place.set("FOURGATE_WAREHOUSE_DSN", place.warehouse().reader_dsn)
    return place.call("collect", place.history(), "--as-of", "2026-02-01T00:00:00Z")


@of("another-process-writes-the-lake")
def _locked(place: Place) -> str:
    place.warehouse()
    place.patch(collection, "LOCK_TIMEOUT_S", 0.2)
    with open_warehouse(place.settings()) as other, other.lake_lock(10):
        return place.collect_runs()


def _with_champion(place: Place) -> None:
    """A champion that only PostgreSQL knows."""
    place.warehouse()
    place.collect_runs()
    crown(place.settings(), unlogged_version(1), 1, None)


@of("no-mlflow-is-set")
def _no_mlflow(place: Place) -> str:
    _with_champion(place)
    return place.call("publish")


@of("mlflow-does-not-answer")
def _mlflow_down(place: Place) -> str:
    _with_champion(place)
    place.set("MLFLOW_HTTP_REQUEST_MAX_RETRIES", 0)
    place.set("FOURGATE_MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    return place.call("publish")


@of("the-address-of-mlflow-holds-a-login")
def _mlflow_login(place: Place) -> str:
    _with_champion(place)
    place.set("FOURGATE_MLFLOW_TRACKING_URI", "https://anna:secret@mlflow.example")
    return place.call("publish")


@of("the-experiment-was-deleted-in-mlflow")
def _deleted_experiment(place: Place) -> str:
    place.mlflow()
    place.warehouse()
    tracking = Tracking(place.settings().mlflow_tracking_uri)
    client, number = tracking.client, tracking.experiment(MODEL)
    client.delete_experiment(number)
    try:
        return place.printed(lambda: log_version(place.settings(), 1))
    finally:
        client.restore_experiment(number)


@of("the-model-file-is-not-the-promoted-one")
def _tampered(place: Place) -> str:
    artifacts = place.mlflow()
    place.warehouse()
    place.collect_runs()
    version = log_version(place.settings(), 1)
    crown(place.settings(), version, 1, None)
    file = artifacts / version.artifact_uri.removeprefix("mlflow-artifacts:/") / MODEL_FILE
    file.write_bytes(file.read_bytes() + b" ")
    return place.call("publish", "--project", PROJECT)
