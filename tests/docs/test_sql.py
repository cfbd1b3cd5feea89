"""Queries on the pages run as they stand, with the rights of a reader."""

import pytest

from tests.docs.pages import PAGES, ROOT, blocks
from tests.postgres import Postgres, run_sql

pytestmark = pytest.mark.integration
QUERIES = [
    (page.relative_to(ROOT).as_posix(), statement.strip())
    for page in PAGES
    for block in blocks(page.read_text())
    if block.language == "sql"
    for statement in block.text.split(";")
    if statement.strip()
]


def test_the_pages_hold_queries() -> None:
    assert {page for page, _ in QUERIES} >= {"README.md", "docs/runbook.md"}


@pytest.mark.parametrize(("page", "statement"), QUERIES)
def test_a_query_on_a_page_runs_as_a_reader(page: str, statement: str, postgres: Postgres) -> None:
    run_sql(postgres.reader_dsn, statement)
