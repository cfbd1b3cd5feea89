"""Registers Fourgate with Airflow: the Report button of a task, and the pages it opens."""

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperator, BaseOperatorLink

from fourgate.defaults import REPORT_KEY
from fourgate.reports import app


class Report(BaseOperatorLink):
    """Opens what a task reported: Data Docs of a batch, an MLflow run, a gate report."""

    name = "Report"
    xcom_key = REPORT_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: object) -> str:
        """Tasks store the address under `REPORT_KEY` themselves; without one there is nothing to open."""
        return ""


class FourgatePlugin(AirflowPlugin):
    """Found by Airflow in the plugins folder."""

    name = "fourgate"
    global_operator_extra_links = [Report()]  # noqa: RUF012 - the form Airflow reads
    fastapi_apps = [{"app": app, "url_prefix": "/fourgate", "name": "Fourgate reports"}]  # noqa: RUF012 - likewise
