"""### Monitor models

Joins published predictions with the outcomes that came in later: live measures per champion, stored in
`monitor_report`. Says of each failure whether it is a regression, flaky or infrastructure, and revises what later
results tell (`failure_labels`). Daily.

**Normal:** `monitor` is *skipped* when nothing was published, or no outcome came in yet; `label` when the lake is
empty.

**Red is real when:** PostgreSQL or the lake cannot be read.

**Mend:** clear the task. The measures are the task's result and rows of the table; going back is a person's choice:
DAG `roll_back_champion` or `fourgate rollback`. Owner: ML engineering.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from fourgate.defaults import AS_OF, DAG, LAKE_POOL, MODEL, moment, project_field
from ml.settings import MODELS, load_settings


@dag(
    # A stack that starts for the first time waits for its next tick: without this, Airflow makes up for a recent one.
    schedule=CronTriggerTimetable("0 6 * * *", timezone="UTC", run_immediately=timedelta(minutes=1)),
    params={"model": MODEL, "project": project_field(), "as_of": AS_OF},
    tags=["fourgate", "monitoring"],
    doc_md=__doc__,
    **DAG,
)
def monitor_models():
    """Wire one measurement per model, and the labels of failures."""

    @task
    def monitor(model: str) -> list[dict[str, Any]]:
        """Measure the champion's published predictions against what happened."""
        from ml.stages import serving

        context = get_current_context()
        settings = load_settings()
        if context["params"]["model"] not in {"", model}:
            raise AirflowSkipException("the form chose another model")
        measured = serving.monitor(settings, model, context["params"]["project"], moment(settings, context))
        if not measured:
            raise AirflowSkipException("no published prediction has an outcome yet")
        return measured

    @task(pool=LAKE_POOL)
    def label() -> list[dict[str, Any]]:
        """Label the failures of each project; append what is new or revised."""
        from ml.stages import labelling

        context = get_current_context()
        settings = load_settings()
        labelled = labelling.label(settings, context["params"]["project"], moment(settings, context))
        if not labelled:
            raise AirflowSkipException("the lake is empty")
        return labelled

    monitor.expand(model=list(MODELS))
    label()


monitor_models()
