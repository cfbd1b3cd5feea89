"""The pages people look at, in a real browser (Debian's chromium)."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stack import Finished

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; on Debian `apt-get install chromium` brings it"),
]


@pytest.fixture(scope="module")
def page(finished: Finished) -> Iterator["Page"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(90_000)
        page.goto(f"{finished.stack.airflow_url}/auth/login")
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", finished.stack.secrets["airflow_admin"])
        page.click("button[type=submit], input[type=submit]")
        page.wait_for_url(lambda url: "/auth/login" not in url)
        yield page
        browser.close()


def test_airflow_lists_the_dags(finished: Finished, page: "Page") -> None:
    page.goto(f"{finished.stack.airflow_url}/dags")
    for dag_id in ("collect_ci_data", "train_test_selection", "publish_test_selection"):
        page.get_by_text(dag_id, exact=True).first.wait_for()


def test_the_training_dag_shows_the_four_gates(finished: Finished, page: "Page") -> None:
    page.goto(f"{finished.stack.airflow_url}/dags/train_test_selection/tasks")
    for task in ("statistical", "stability", "consistency", "data_quality"):
        page.get_by_text(task).first.wait_for()


def test_the_gate_report_opens_from_airflow(finished: Finished, page: "Page") -> None:
    told = {}
    for report in (finished.settings.home / "reports" / "gates").glob("*.html"):
        page.goto(f"{finished.stack.airflow_url}/fourgate/reports/gates/{report.name}")
        told[report.name] = page.inner_text("body")
    assert all("statistical" in text.lower() for text in told.values())
    assert any("failure_rate_with_decay" in text for text in told.values())


def test_data_docs_open_from_airflow(finished: Finished, page: "Page") -> None:
    docs = next((finished.settings.home / "reports" / "data_docs").glob("*/overview.html"))
    page.goto(f"{finished.stack.airflow_url}/fourgate/reports/data_docs/{docs.parent.name}/overview.html")
    assert "Data-quality score 1.0000" in page.inner_text("body")
    page.get_by_role("link", name="validations/test_results/").click()
    page.get_by_text("Evaluated Expectations").first.wait_for()


def test_mlflow_shows_candidates_and_baselines_by_name(finished: Finished, page: "Page") -> None:
    page.goto(f"{finished.stack.mlflow_url}/#/experiments/1/runs")
    page.get_by_text("retraining").first.wait_for()
