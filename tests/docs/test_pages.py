"""What the pages say must be so: every command with its options, every make target, every link, every anchor."""

import re
import subprocess
from pathlib import Path

import pytest
import typer
from typer.exceptions import TyperException
from typer.main import get_command

from ml.cli import complete
from tests.docs.pages import PAGES, ROOT, anchors, command_lines, prose, spans

COMMANDS = get_command(complete()).commands
TARGETS = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VARIABLE = re.compile(r"([A-Z_]+)=")
# its calls name a model that the page adds; test_how_to.py runs them
RUN_ON_CHANGED_CODE = {"add-a-model.md"}


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


of_each_page = pytest.mark.parametrize("page", PAGES, ids=_name)


def test_the_command_modules_register_what_the_issue_of_a_user_needs() -> None:
    assert {"collect", "validate", "features", "drift", "train", "judge", "promote"} <= set(COMMANDS)
    assert {"publish", "monitor", "rollback", "status", "run", "up", "down"} <= set(COMMANDS)


def refusal_of(words: list[str]) -> str:
    """Why the command line would refuse this call before it does anything; empty if it would not."""
    name, *arguments = words
    if name == "--help":
        return ""
    if name not in COMMANDS:
        return f"no command {name}"
    try:
        COMMANDS[name].make_context(name, list(arguments))
    except typer.Exit:
        return ""  # --help
    except TyperException as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["status", "--json"], ""),
        (["tell"], "no command tell"),
        (["status", "--colour"], "No such option"),
        (["rollback"], "Missing parameter"),
        (["flaky", "shop", "--top", "many"], "valid integer"),
    ],
)
def test_a_call_that_the_command_line_would_refuse_is_found(words: list[str], refusal: str) -> None:
    found = refusal_of(words)
    assert (refusal in found) if refusal else found == ""


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in RUN_ON_CHANGED_CODE], ids=_name)
def test_every_call_in_a_code_block_would_be_accepted(page: Path) -> None:
    told = {" ".join(call): refusal_of(call[1:]) for call in command_lines(page.read_text()) if call[0] == "fourgate"}
    assert {call: refusal for call, refusal in told.items() if refusal} == {}


@of_each_page
def test_every_command_and_option_in_a_sentence_exists(page: Path) -> None:
    for tool, name, *rest in spans(page.read_text()):
        if tool == "fourgate" and re.fullmatch(r"[a-z_]+", name):
            assert name in COMMANDS
            known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
            assert {word for word in rest if word.startswith("--")} <= known | {"--help"}, name


@of_each_page
def test_every_make_target_and_its_variable_exist(page: Path) -> None:
    text = page.read_text()
    makefile = (ROOT / "Makefile").read_text()
    for words in [call for call in (*command_lines(text), *spans(text)) if call[0] == "make"]:
        for word in words[1:]:
            variable = VARIABLE.match(word)
            if variable:
                assert re.search(rf"^{variable[1]} [?:]?=", makefile, re.MULTILINE), word
            elif word.isalpha():
                assert word in TARGETS, words


@of_each_page
def test_every_link_leads_to_a_page_and_an_anchor_of_it(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose(page.read_text())):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert broken == []


def test_make_help_names_every_target_that_a_user_types() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "stop", "status", "test", "check", "bench", "docs", "format", "clean"):
        assert f"make {target}" in shown
