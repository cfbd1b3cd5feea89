"""The site: it is built from the pages, refuses what leads nowhere, and loads nothing from another machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

pytestmark = pytest.mark.slow

LOADED = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")


def build(folder: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_in_the_site_and_its_search(site: Path) -> None:
    wanted = {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")}
    assert {page.relative_to(site).as_posix() for page in site.rglob("*.html")} - {"404.html"} == wanted
    assert "quadratic_score" in (site / "search" / "search_index.json").read_text()


def test_no_page_loads_anything_from_another_machine(site: Path) -> None:
    loaded = {page.name: LOADED.findall(page.read_text()) for page in site.rglob("*.html")}
    assert {name: found for name, found in loaded.items() if found} == {}
    styles = "".join(style.read_text() for style in site.rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles) == []


def test_the_build_names_a_page_left_out_a_dead_link_and_a_dead_anchor(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "docs" / "forgotten.md").write_text("# Forgotten\n")
    with (tmp_path / "docs" / "index.md").open("a") as index:
        index.write("\n[one](nowhere.md) [two](gates.md#nothing-here)\n")
    told = build(tmp_path, tmp_path / "site")
    assert told.returncode != 0
    for named in ("forgotten.md", "nowhere.md", "#nothing-here"):
        assert named in told.stderr, named
