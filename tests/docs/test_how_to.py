"""The how-to pages are followed: their files are written and changed as they say, their commands run as they stand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ml.sources.simulator import World, simulate, write_history
from ml.stages import serving
from tests.champion_builders import MODEL, PROJECT, crown, log_version
from tests.docs.pages import DOCS, ROOT, SHELL, Block, blocks
from tests.docs.place import Place

pytestmark = pytest.mark.integration
COPIED = ("ml", "plugins", "dags", "tests", "docs", "data", "pyproject.toml", ".env.example")
FOURGATE = "from ml.cli import main; main()"
SMALL = World(run_count=260, module_count=4, tests_per_module=4, regression_rate=0.4)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the code, to be changed."""
    folder = tmp_path / "source"
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def page(name: str) -> list[Block]:
    return blocks((DOCS / "how-to" / name).read_text())


def apply(folder: Path, page_blocks: list[Block]) -> list[Path]:
    """Write the files of a page, and make its changes; returns the files in Python."""
    touched = []
    for block in page_blocks:
        if block.title:
            file = folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_changed(file.read_text(), block.text) if block.language == "diff" else block.text)
            touched.append(file)
    return [file for file in dict.fromkeys(touched) if file.suffix == ".py"]


def _changed(text: str, diff: str) -> str:
    """The text with the lines of `diff` that lead with a blank or - replaced by those that lead with a blank or +."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if not line.startswith("+"))
    after = "".join(line[1:] or "\n" for line in lines if not line.startswith("-"))
    assert text.count(before) == 1, f"the page changes what is not there once:\n{before}"
    return text.replace(before, after)


def follow(folder: Path, page_blocks: list[Block]) -> str:
    """Run the commands of a page in a folder; `make` checks the whole project and is left out."""
    told = ""
    for block in page_blocks:
        if block.language in SHELL - {""}:
            for line in block.text.splitlines():
                program, *arguments = shlex.split(line)
                if program != "make":
                    told += run(folder, program, arguments)
    return told


def run(folder: Path, program: str, arguments: list[str]) -> str:
    """One command of the environment, on the code of the folder."""
    known = {".venv/bin/python": [], ".venv/bin/fourgate": ["-c", FOURGATE]}
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'plugins'}", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *known[program], *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{program} {arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def require_style(folder: Path, files: list[Path]) -> None:
    """What a reader copies must pass `make check`: here its quick part."""
    names = [str(file) for file in files]
    for command in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, *names]
        done = subprocess.run(ruff, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def test_a_source_is_added_as_the_page_says(source: Path, place: Place) -> None:
    place.warehouse()
    steps = page("add-a-source.md")
    require_style(source, apply(source, steps))
    told = follow(source, steps)
    assert "2 passed" in told
    assert re.search(r"new_rows +6\b", told)


def test_a_model_is_added_as_the_page_says(source: Path, place: Place) -> None:
    place.mlflow()
    place.warehouse()
    write_history(simulate(SMALL), place.folder / "world")
    assert "new_rows" in place.call("collect", place.folder / "world", "--as-of", "2027-01-01T00:00:00Z")
    steps = page("add-a-model.md")
    require_style(source, apply(source, steps))
    told = follow(source, steps)
    assert "2 passed" in told
    assert "model" in told
    assert "quick_selection" in told
    assert "name" in told
    assert "logistic_regression" in told


def test_a_gate_check_is_added_as_the_page_says(source: Path) -> None:
    steps = page("add-a-gate-check.md")
    require_style(source, apply(source, steps))
    assert "4 passed" in follow(source, steps)


def test_a_rollback_as_the_page_says_brings_the_first_version_back(place: Place) -> None:
    place.mlflow()
    place.warehouse()
    place.collect_runs()
    settings = place.settings()
    first, second = log_version(settings, 1), log_version(settings, 2)
    crown(settings, first, 1, None)
    crown(settings, second, 2, first.version)
    commands = [
        shlex.split(line)
        for block in page("roll-back.md")
        if block.language == "sh"
        for line in block.text.splitlines()
        if " publish " not in line  # these two small models cannot score a history; publishing has tests of its own
    ]
    assert len(commands) == 3
    shown = [place.call(*words) for _, *words in commands]
    assert serving.champion_of(settings, MODEL, PROJECT)["version"] == first.version
    assert f"champion  {first.version}" in shown[1]
