"""Who may pass through a folder after one user was let through; as real users, so only root can try it."""

import os
import subprocess
from pathlib import Path

import pytest

from ml.stack.passage import ATTRIBUTE, let_pass

GUEST, STRANGER = 54_321, 54_322
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look with the eyes of other users")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for its owner only, with a file that everybody may read, at a place that everybody can reach."""
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    inside = tmp_path / "private"
    inside.mkdir(mode=0o700)
    (inside / "open.txt").write_text("x")
    (inside / "open.txt").chmod(0o644)
    return inside


def can(uid: int, *command: str) -> bool:
    done = subprocess.run(command, user=uid, group=uid, extra_groups=[], capture_output=True, check=False)
    return done.returncode == 0


def test_the_guest_may_pass_but_not_look_around_and_nobody_else_may(folder: Path) -> None:
    assert not can(GUEST, "cat", str(folder / "open.txt"))
    let_pass(folder, GUEST)
    assert can(GUEST, "cat", str(folder / "open.txt"))
    assert not can(GUEST, "ls", str(folder))
    assert not can(STRANGER, "cat", str(folder / "open.txt"))
    assert folder.stat().st_mode & 0o007 == 0


def test_a_second_guest_keeps_the_first_and_a_repeat_changes_nothing(folder: Path) -> None:
    let_pass(folder, GUEST)
    let_pass(folder, STRANGER)
    listed = os.getxattr(folder, ATTRIBUTE)
    let_pass(folder, GUEST)
    assert os.getxattr(folder, ATTRIBUTE) == listed
    assert can(GUEST, "cat", str(folder / "open.txt"))
    assert can(STRANGER, "cat", str(folder / "open.txt"))


def test_a_folder_that_is_open_to_all_stays_as_it_is(folder: Path) -> None:
    folder.chmod(0o711)
    let_pass(folder, GUEST)
    assert ATTRIBUTE not in os.listxattr(folder)
