"""### Detect drift

Compares the newest runs with the period the champion learned from, feature by feature (Evidently). One DAG per model;
after every new history and at least daily. Only real drift emits `drift_<model>`, which starts a retraining.

**Normal:** `announce` is *skipped*: no drift, no champion yet, or too few rows to tell (the log gives the numbers).

**Red is real when:** `measure` cannot read the snapshot or reach PostgreSQL or MLflow.

**Mend:** clear the task. The report is stored once per model, project and snapshot. Owner: ML engineering.
"""

from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from fourgate.assets import ci_history, drift
from fourgate.defaults import AS_OF, DAG, link_report, moment, project_field
from ml.settings import MODELS, load_settings

DAILY = AssetOrTimeSchedule(timetable=CronTriggerTimetable("30 1 * * *", timezone="UTC"), assets=[ci_history])


def declare(model: str) -> None:
    """Declare the drift DAG of one model."""

    @dag(
        dag_id=f"detect_drift_{model}",
        schedule=DAILY,
        params={"project": project_field(), "as_of": AS_OF},
        tags=["fourgate", "drift", model],
        doc_md=__doc__,
        **DAG,
    )
    def detect_drift():
        """Wire measuring and announcing."""

        @task
        def measure() -> list[dict[str, Any]]:
            """Measure drift per project and store the report."""
            from ml.stages import preparation

            context = get_current_context()
            settings = load_settings()
            reports = preparation.drift(settings, model, context["params"]["project"], moment(settings, context))
            link_report(next((report["report_url"] for report in reports), ""))
            return reports

        @task(outlets=[drift(model)])
        def announce(reports: list[dict[str, Any]], *, outlet_events: Any = None) -> list[str]:
            """Emit the drift asset when a project drifted from its champion's reference."""
            drifted = [report for report in reports if report["retrain"]]
            if not drifted:
                raise AirflowSkipException("; ".join(report["summary"] for report in reports) or "no project yet")
            names = [report["project"] for report in drifted]
            shares = {report["project"]: report["share_drifted"] for report in drifted}
            outlet_events[drift(model)].extra = {"projects": names, "share_drifted": shares}
            return names

        announce(measure())

    detect_drift()


for name in MODELS:
    declare(name)
