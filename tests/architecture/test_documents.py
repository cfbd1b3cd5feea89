"""What the pages say must be so: commands, make targets, links."""

import re
import subprocess
from pathlib import Path

import pytest

from ml.cli import app, doctor, pipeline, stack, trace

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands}


def test_the_command_modules_register_what_the_issue_of_a_user_needs() -> None:
    assert {"collect", "validate", "features", "drift", "train", "judge", "promote"} <= COMMANDS
    assert {"publish", "monitor", "rollback", "status", "run", "up", "down"} <= COMMANDS
    assert {"explain", "frame", "reproduce", "doctor"} <= COMMANDS
    assert pipeline.app is stack.app is trace.app is doctor.app


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_on_a_page_exists(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"(?:`|bin/)fourgate ([a-z]+)", text))
    assert named <= COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_make_target_on_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\s*)make ([a-z]+)", page.read_text(), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_make_help_names_every_target_that_a_user_types() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "stop", "status", "test", "check", "bench", "format", "clean"):
        assert f"make {target}" in shown
