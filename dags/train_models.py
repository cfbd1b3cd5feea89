"""### Train models

Features -> candidates -> gates -> promotion (emits `champion_<model>`), per project and for all, nightly or on drift.

**Normal:** `promote` is *skipped* when a gate refuses (*Report* says why, with every number), and all after `fit` when
the history is too small or nothing new came in. **Red is real when:** the snapshot or MLflow cannot be read, or a gate
*raises* (one that lacks a number refuses with status `error` instead). **Mend:** clear the failed task: a logged fit is
found again, a promotion happens once. `fourgate rollback` goes back to the previous champion. Owner: ML engineering.
"""

from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from fourgate.assets import champion, drift
from fourgate.defaults import AS_OF, DAG, TRAINING_POOL, link_report, moment, project_field
from ml.settings import GATES, MODELS, load_settings


@task
def projects() -> list[str]:
    """Projects to retrain: the form's, or every one in the lake and, of several, `*`: all of them as one."""
    from ml.stages import opening

    return opening.learners(load_settings(), get_current_context()["params"]["project"])


@task(pool=TRAINING_POOL, multiple_outputs=False)
def features(model: str, project: str) -> dict[str, Any]:
    """Build the point-in-time feature frame of one snapshot."""
    from ml.stages import preparation

    settings = load_settings()
    return preparation.features(settings, model, project, moment(settings, get_current_context()))


@task(pool=TRAINING_POOL, multiple_outputs=False)
def fit(frame: dict[str, Any]) -> dict[str, Any]:
    """Fit the candidates, choose one on the validation period, log all of it to MLflow."""
    from ml.stages import retraining

    candidate = retraining.train(load_settings(), frame, get_current_context()["ti"].log_url)
    if not candidate["version"]:
        raise AirflowSkipException(candidate["reason"])
    link_report(candidate["report_url"])
    return candidate


@task(multiple_outputs=False)
def judge(gate: str, candidate: dict[str, Any]) -> dict[str, Any]:
    """Hold the candidate against one gate; a task each: `data_quality`, `statistical`, `stability`, `consistency`."""
    from ml.stages import retraining

    link_report(candidate["report_url"])
    return retraining.judge(load_settings(), gate, candidate)


@task(multiple_outputs=False)
def promote(candidate: dict[str, Any], verdicts: list[dict[str, Any]], *, outlet_events: Any = None) -> dict[str, Any]:
    """Record the verdicts; four passes make the candidate champion."""
    from ml.stages import retraining

    outcome = retraining.promote(load_settings(), candidate, list(verdicts))
    link_report(outcome["report_url"])
    if not outcome["promoted"]:
        raise AirflowSkipException(outcome["reason"])
    outlet_events[champion(candidate["model"])].extra = outcome | {name: candidate[name] for name in ("rows", "runs")}
    return outcome


def declare(model: str) -> None:
    """Declare the training DAG of one model."""

    @dag(
        dag_id=f"train_{model}",
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable("0 2 * * *", timezone="UTC"), assets=[drift(model)]
        ),
        params={"project": project_field(), "as_of": AS_OF},
        tags=["fourgate", "training", model],
        doc_md=__doc__,
        **DAG,
    )
    def train_models():
        """Wire one retraining per project."""

        @task_group
        def retrain(project: str) -> None:
            candidate = fit(features(model, project))
            judged = [judge.override(task_id=gate)(gate, candidate) for gate in GATES]
            promote.override(outlets=[champion(model)])(candidate, judged)

        retrain.expand(project=projects())

    train_models()


for name in MODELS:
    declare(name)
