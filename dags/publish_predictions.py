"""### Publish predictions

Scores every open change (and in a replay the newest runs, each as of its start, and the next run) with the champion
and publishes the set to the results table in one transaction. Runs on a new champion or new history.

**Normal:** *skipped* when no project has a champion yet.

**Red is real when:** the champion's artifact is not the one that was promoted (`ArtifactRefused`: someone changed it;
roll back and look who), or PostgreSQL or MLflow cannot be reached.

**Mend:** clear the task. Publishing the same set twice changes nothing; readers see the old set or the new one.
Owner: ML engineering.
"""

from typing import Any

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from fourgate.assets import champion, ci_history
from fourgate.defaults import AS_OF, DAG, PROJECT, link_report, moment
from ml.settings import MODELS, load_settings


def declare(model: str) -> None:
    """Declare the publishing DAG of one model."""

    @dag(
        dag_id=f"publish_{model}",
        schedule=(champion(model) | ci_history),
        params={"project": PROJECT, "as_of": AS_OF},
        tags=["fourgate", "publishing", model],
        doc_md=__doc__,
        **DAG,
    )
    def publish_predictions():
        """Wire the one step."""

        @task
        def publish() -> list[dict[str, Any]]:
            """Score and publish, project by project."""
            from ml.stages import serving

            context = get_current_context()
            settings = load_settings()
            published = serving.publish(settings, model, context["params"]["project"], moment(settings, context))
            if not published:
                raise AirflowSkipException("no project has a champion yet; train one first")
            link_report(published[0]["report_url"])
            return published

        publish()

    publish_predictions()


for name in MODELS:
    declare(name)
