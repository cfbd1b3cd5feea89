"""### Roll back a champion

On demand: makes the previous champion of one model and project the champion again, in one transaction with its audit
row, and publishes its predictions. The form asks for the reason; it is kept in `audit_log`.

**Red is real when:** there is no previous champion (the message says so), or PostgreSQL cannot be reached.

**Mend:** clear the task `roll_back`: a repeat of it undoes nothing. A new run of the DAG goes back again, so
look at the champion first (`fourgate status`).
Owner: ML engineering.
"""

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from fourgate.assets import champion
from fourgate.defaults import AS_OF, DAG, moment, project_field
from ml.settings import MODELS, load_settings

FORM = {
    "model": Param(MODELS[0], type="string", enum=list(MODELS), title="Model"),
    "project": project_field(required=True),
    "reason": Param(
        "", type="string", minLength=5, maxLength=1000, title="Reason", description="Kept in the audit log."
    ),
    "as_of": AS_OF,
}


@dag(schedule=None, params=FORM, tags=["fourgate", "rescue"], doc_md=__doc__, **DAG)
def roll_back_champion():
    """Wire looking and swapping."""

    @task(multiple_outputs=False)
    def champion_now() -> dict[str, Any]:
        """The champion that is to go; kept, so that a repeated attempt does not bring it back."""
        from ml.stages import serving

        form = get_current_context()["params"]
        return serving.champion_of(load_settings(), form["model"], form["project"])

    @task(outlets=[champion(model) for model in MODELS], multiple_outputs=False)
    def roll_back(leaving: dict[str, Any], *, outlet_events: Any = None) -> dict[str, Any]:
        """Swap champion and previous champion."""
        from ml.stages import retraining

        context = get_current_context()
        settings, form = load_settings(), context["params"]
        actor = context["dag_run"].triggering_user_name or "airflow"
        outcome = retraining.rollback(settings, leaving, moment(settings, context), actor, form["reason"])
        outlet_events[champion(form["model"])].extra = outcome
        return outcome

    roll_back(champion_now())


roll_back_champion()
