"""### Publish predictions

Scores every open change (and in a replay the newest runs, each as of its start, and the next run) with the champion of
the project, or with the shared one while it has none, and publishes the set to the results table in one transaction;
`flaky_tests` scores failures of the newest runs whose label has not settled. Runs on a new champion or new history, and
daily: Airflow keeps no asset event for a paused DAG, so what was missed in a pause is caught up with once, when it
ends. Emits `predictions_<model>` with the numbers of the set.

**Normal:** *skipped* when no project has a champion yet, and there is no shared one.

**Red is real when:** the champion's artifact is not the one that was promoted (`ArtifactRefused`: someone changed it;
roll back and look who), or PostgreSQL or MLflow cannot be reached.

**Mend:** clear the task. Publishing the same set twice changes nothing; readers see the old set or the new one.
Owner: ML engineering.
"""

from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from fourgate.assets import champion, ci_history, predictions
from fourgate.defaults import AS_OF, DAG, link_report, moment, project_field
from ml.settings import MODELS, load_settings

DAILY = CronTriggerTimetable("0 5 * * *", timezone="UTC")


def declare(model: str) -> None:
    """Declare the publishing DAG of one model."""

    @dag(
        dag_id=f"publish_{model}",
        schedule=AssetOrTimeSchedule(timetable=DAILY, assets=(champion(model) | ci_history)),
        params={"project": project_field(), "as_of": AS_OF},
        tags=["fourgate", "publishing", model],
        doc_md=__doc__,
        **DAG,
    )
    def publish_predictions():
        """Wire the one step."""

        @task(outlets=[predictions(model)])
        def publish(*, outlet_events: Any = None) -> list[dict[str, Any]]:
            """Score and publish, project by project."""
            from ml.stages import serving

            context = get_current_context()
            settings = load_settings()
            published = serving.publish(settings, model, context["params"]["project"], moment(settings, context))
            if not published:
                raise AirflowSkipException("no project has a champion yet; train one first")
            link_report(published[0]["report_url"])
            outlet_events[predictions(model)].extra = {"rows": sum(one["rows"] for one in published), "sets": published}
            return published

        publish()

    publish_predictions()


for name in MODELS:
    declare(name)
