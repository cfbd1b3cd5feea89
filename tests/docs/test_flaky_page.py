"""The example of the page on flaky tests is what the command prints for the history that the page describes."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from ml.cli import complete
from ml.settings import Settings
from tests.docs.pages import DOCS, blocks
from tests.flaky_history import collect
from tests.postgres import Postgres

pytestmark = pytest.mark.integration
PAGE = DOCS / "how-to" / "triage-flaky-tests.md"
TESTS = {
    ("linux", "cart_total"): "pppppppxppppppxpppppppppxpppppppxppppppp",
    ("windows", "cart_total"): "p" * 40,
    ("linux", "login"): "p" * 36 + "f" * 4,
    ("linux", "search"): "pfppfpppfppfpppfpfpppppfppfppfppfppppfpp",
    ("linux", "upload"): "pfpppfppfppfpppp" + "p" * 24,
    ("linux", "report"): "p" * 40,
}
COMMITS = "".join(letter * 2 for letter in "abcdefghijklmnopqrst")


@pytest.fixture
def printed(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each command of the page prints."""
    settings = Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn))
    collect(settings, TESTS, COMMITS, project="shop", seconds={"p": 60, "f": 300})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOURGATE_HOME", str(settings.home))
    monkeypatch.setenv("FOURGATE_WAREHOUSE_DSN", postgres.pipeline_dsn)
    calls = {"tests": ["shop"], "history": ["shop", "--history", "S::upload"], "json": ["shop", "--json"]}
    done = {name: CliRunner().invoke(complete(), ["flaky", *call]) for name, call in calls.items()}
    assert [one.exit_code for one in done.values()] == [0, 0, 0]
    return {name: one.stdout for name, one in done.items()}


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def test_the_page_shows_what_the_commands_print(printed: dict[str, str]) -> None:
    shown = [lines(block.text) for block in blocks(PAGE.read_text()) if block.language == "text"]
    assert shown == [lines(printed["tests"]), lines(printed["history"])]


def test_the_page_names_every_state_and_hint_and_every_key_of_the_json(printed: dict[str, str]) -> None:
    page = PAGE.read_text()
    tests = json.loads(printed["json"])
    assert {test["state"] for test in tests} == {"flaky", "broken", "fixed", "quarantine candidate", "healthy"}
    wanted = {test["state"] for test in tests} | {"timing", "resource", "platform", "order"} | set(tests[0])
    assert {word for word in wanted if word not in page} == set()
