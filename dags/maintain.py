"""### Maintain

Weekly: merges the small files of the lake and removes the files that no live snapshot needs: every version that a
champion, its predecessor, its anchor, a current publication or the newest snapshot names stays readable.

**Normal:** green with "nothing to do" in the result while nothing was collected.

**Red is real when:** the lake's lock is held for more than ten minutes, or a table cannot be read.

**Mend:** clear the task; it can be killed at any moment. Owner: data engineering.
"""

from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from fourgate.defaults import AS_OF, DAG, LAKE_POOL, collected_at
from ml.settings import load_settings

FORM = {
    "retention_hours": Param(
        168, type="integer", minimum=24, maximum=87_600, title="Keep unnamed versions for (hours)"
    ),
    "as_of": AS_OF,
}


@dag(
    schedule=CronTriggerTimetable("0 4 * * 0", timezone="UTC"),
    params=FORM,
    tags=["fourgate", "maintenance"],
    doc_md=__doc__,
    **DAG,
)
def maintain():
    """Wire the one step."""

    @task(pool=LAKE_POOL, multiple_outputs=False)
    def compact_and_vacuum() -> dict[str, Any]:
        """Compact, record the new snapshot, vacuum what nothing names."""
        from ml.stages import maintenance

        context = get_current_context()
        return maintenance.maintain(load_settings(), context["params"]["retention_hours"], collected_at(context))

    compact_and_vacuum()


maintain()
