"""Says in the log, in one line, what failed and where to look. A channel of your own goes here."""

import logging

from airflow.sdk import Context

log = logging.getLogger("fourgate")


def notify(context: Context) -> None:
    """Report a task that failed for good: DAG, task, run, reason, and the page that says what to do."""
    task = context["ti"]
    log.error(
        "FOURGATE FAILED dag=%s task=%s run=%s reason=%s help=%s",
        task.dag_id,
        task.task_id,
        task.run_id,
        context.get("exception"),
        "see the DAG's own page (Docs) for what to do",
    )
