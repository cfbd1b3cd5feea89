"""What a frame is found again by."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from ml.stages import preparation


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_edited_code_has_a_version_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "ROOT", tmp_path)
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "first")
    clean = preparation.code_version()
    (tmp_path / "a.py").write_text("2")
    edited = preparation.code_version()
    (tmp_path / "a.py").write_text("3")
    assert edited.startswith(f"{clean}-dirty-")
    assert len({clean, edited, preparation.code_version()}) == 3
    (tmp_path / "a.py").write_text("2")
    assert preparation.code_version() == edited


def test_without_a_checkout_it_is_the_version_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "ROOT", tmp_path)
    assert preparation.code_version() == version("fourgate")
