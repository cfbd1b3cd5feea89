"""### Maintain

Weekly, and by hand: removes history that its project does not keep (`keep_days` in `fourgate.toml`), merges the small
files of the lake and removes what is old. Every version of the lake that a
champion, its predecessor, its anchor, a current publication or the newest snapshot names stays readable, and so do the
models in service. How long the rest stays are settings (`FOURGATE_KEEP_...`, see `.env.example`); the form's *dry run*
says what would go. The numbers are each task's result; `disk_use` says what is left, and so does `fourgate disk`.

**Normal:** "nothing to do" in a result while nothing was collected; `clean_airflow` is *skipped* and `clean_models`
collects no garbage where the address of their database is not set.

**Red is real when:** the lake's lock is held for more than ten minutes, a table cannot be read, or MLflow or Airflow
refuse (the message says why).

**Mend:** clear the task; each can be killed at any moment, and running it twice changes nothing more. What was deleted
in MLflow by mistake: `mlflow runs restore` within `FOURGATE_KEEP_DELETED_MODELS_DAYS`. Owner: data engineering.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from fourgate.defaults import AS_OF, DAG, LAKE_POOL, no_later_than_start
from ml.settings import load_settings

FORM = {
    "dry_run": Param(False, type="boolean", title="Dry run", description="Only say what would go."),
    "as_of": AS_OF,
}


def call(step: Any) -> dict[str, Any]:
    """One step of maintenance, with the form's choices, as of the run's start at the latest."""
    context = get_current_context()
    return step(load_settings(), no_later_than_start(context), dry_run=context["params"]["dry_run"])


@dag(
    # A stack that starts for the first time waits for its next tick: without this, Airflow makes up for a recent one.
    schedule=CronTriggerTimetable("0 4 * * 0", timezone="UTC", run_immediately=timedelta(minutes=1)),
    params=FORM,
    tags=["fourgate", "maintenance"],
    doc_md=__doc__,
    **DAG,
)
def maintain():
    """Wire the steps, which know nothing of each other, and the look at what is left."""

    @task(pool=LAKE_POOL, multiple_outputs=False)
    def compact_and_vacuum() -> dict[str, Any]:
        """Remove history that is not kept, compact the lake, vacuum what nothing names, record the new snapshots."""
        from ml.stages import maintenance

        return call(maintenance.maintain)

    @task(multiple_outputs=False)
    def clean_predictions() -> dict[str, Any]:
        """Remove rows of published sets that are no longer current from the results table."""
        from ml.stages import maintenance

        return call(maintenance.clean_predictions)

    @task(multiple_outputs=False)
    def clean_models() -> dict[str, Any]:
        """Delete old trainings in MLflow; never a champion, its predecessor, its anchor or the newest version."""
        from ml.stages import maintenance

        return call(maintenance.clean_models)

    @task(multiple_outputs=False)
    def clean_airflow() -> dict[str, Any]:
        """Remove old runs, events and logs from Airflow's own database."""
        from ml.stages import maintenance

        cleaned = call(maintenance.clean_airflow)
        if "rows" not in cleaned:
            raise AirflowSkipException(cleaned["done"])
        return cleaned

    @task(multiple_outputs=False)
    def clean_files() -> dict[str, Any]:
        """Remove old working files, reports and logs."""
        from ml.stages import retention

        return call(retention.clean_files)

    @task(trigger_rule="none_failed", multiple_outputs=False)
    def disk_use() -> dict[str, Any]:
        """Bytes by kind, and what the disk has left."""
        from ml.stages import retention

        return retention.disk_use(load_settings())

    [compact_and_vacuum(), clean_predictions(), clean_models(), clean_airflow(), clean_files()] >> disk_use()


maintain()
