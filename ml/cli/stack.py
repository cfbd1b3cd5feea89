"""Commands of the embedded stack: up, down, run."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from ml import stack as embedded
from ml.cli import app
from ml.cli.output import console, plain
from ml.cli.watch import Watch
from ml.errors import SettingsError, SourceError, StackError
from ml.settings import MODELS, Settings, home_only, load_settings, read_secret, source_names
from ml.stack.postgres import ensure_database
from ml.stack.services import Stack

History = Annotated[
    Path | None, typer.Argument(help="History folder or archive; without one a simulated history is used.")
]


@app.command()
def up() -> None:
    """Start PostgreSQL, MLflow, Airflow and the push endpoint on this machine and wait until they answer."""
    _print_addresses(_start(load_settings()))


@app.command()
def down() -> None:
    """Stop every process of the stack, whatever state it is in."""
    ended = embedded.stop(home_only())
    console.print(f"stopped {ended} processes" if ended else "nothing was running")


@app.command()
def migrate() -> None:
    """Bring a PostgreSQL of your own to this release; the embedded one is migrated by `up`.

    FOURGATE_WAREHOUSE_ADMIN_DSN says where. Passwords come from the environment: PIPELINE_PASSWORD and READER_PASSWORD
    for the two roles (unset: left as they are); AIRFLOW_DATABASE_PASSWORD and MLFLOW_DATABASE_PASSWORD, if set, also
    make the databases airflow and mlflow with an owner of the same name. Each may stand in a file that a variable of
    the same name with _FILE at its end names.
    """
    from ml import warehouse

    admin = load_settings().warehouse_admin_dsn.get_secret_value()
    if not admin:
        raise SettingsError(
            "FOURGATE_WAREHOUSE_ADMIN_DSN is not set; right would be postgresql://owner:password@host:5432/fourgate"
        )
    passwords = read_secret("PIPELINE_PASSWORD", os.environ), read_secret("READER_PASSWORD", os.environ)
    applied = warehouse.migrate(admin, *passwords)
    console.print(f"applied {', '.join(applied)}" if applied else "the warehouse is up to date", markup=False)
    for name in ("airflow", "mlflow"):
        password = read_secret(f"{name.upper()}_DATABASE_PASSWORD", os.environ)
        if password:
            ensure_database(admin, name, name, password)
            console.print(f"database {name} is there, role {name} owns it")


@app.command()
def run(history: History = None) -> None:
    """Let Airflow's scheduler take a CI history all the way to the results table, then sum up. The stack stays up."""
    from ml.cli.summary import is_published, print_summary

    began = time.monotonic()
    settings = load_settings()
    form = _form(settings, history)
    stack = _start(settings)
    api = stack.airflow_api()
    stages = ("detect_drift", "train", "publish")
    dag_ids = ["collect_ci_data", *(f"{stage}_{model}" for model in MODELS for stage in stages)]
    for dag_id in dag_ids:
        api.wait_for_dag(dag_id, timeout_s=180)
    watch = Watch(api, dag_ids)
    watch.run("collect_ci_data", form)
    for model in MODELS:
        if not watch.was_started_by_asset(f"train_{model}"):  # drift of the new history may have started it already
            watch.run(f"train_{model}", {})
        if not is_published(load_settings(), model):
            watch.run(f"publish_{model}", {})
    tasks = list(watch.tasks())
    print_summary(load_settings(), MODELS, tasks, time.monotonic() - began)
    _print_addresses(stack)
    failed = [f"{task['dag_id']}.{task['task_id']}" for task in tasks if task["state"] == "failed"]
    if failed:
        raise StackError(
            f"failed: {', '.join(failed)}; open the Airflow page for their logs, clear the task to repeat it"
        )


def _form(settings: Settings, history: Path | None) -> dict[str, str]:
    """What is collected: the history given or configured, else the CI servers, else a simulated history."""
    from ml.stages import simulation

    if history is None and not settings.history:
        if servers := source_names(settings):
            console.print(f"collecting from {', '.join(map(plain, servers))}")
            return {}
        console.print("no history given: simulating one (deterministic, no network)")
        return {"history": str(simulation.write_simulation(settings))}
    folder = (history or Path(settings.history)).absolute()
    if not folder.exists():
        raise SourceError(
            f"there is no folder or archive {folder}; see docs/getting-started.md for the layouts of a history"
        )
    return {"history": str(folder)}


def _start(settings: Settings) -> Stack:
    with console.status("starting PostgreSQL, MLflow, Airflow and the push endpoint") as status:
        return embedded.start(settings, lambda detail: status.update(f"starting: {plain(detail)}"))


def _print_addresses(stack: Stack) -> None:
    console.print()
    console.print(
        f"Airflow   {stack.airflow_url}   user admin, password {stack.secrets['airflow_admin']}", markup=False
    )
    console.print(f"MLflow    {stack.mlflow_url}   no login: it listens on this machine only", markup=False)
    console.print(f"Results   psql '{stack.role_dsn('reader')}'   views current_prediction, prediction", markup=False)
    console.print(f"Push      {stack.receiver_url}   for CI jobs with a token of `fourgate token create`", markup=False)
    console.print("Everything stays up; `make stop` ends it.")
