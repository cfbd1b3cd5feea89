"""What a commit becomes: its row, its files with renames, its churn; and what hostile ones do not."""

from pathlib import Path

import pygit2
import pytest

from ml.sources import Known
from ml.sources.git.commits import MAX_FILES
from tests.ml.sources.git.repositories import ADA, Repository, at, commits_of, files_of, lines, parsed

CHURN = ["commit_sha", "file_count", "added", "deleted"]
# of "Ada Lovelace <ada@example.org>" in project shop with the salt "salt"
PSEUDONYM = "09fdcd22cc89"


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_a_linear_history_is_a_row_per_commit_in_the_order_of_time(made: Repository, tmp_path: Path) -> None:
    first = made.commit({"a.py": lines(3)}, subject="Begin")
    second = made.commit({"a.py": lines(4), "b.py": lines(2)}, first, subject="Go on\n\nIn more words")
    third = made.commit({"b.py": lines(1)}, second, subject="  Clean up\t now ")
    found = parsed(made.folder, tmp_path)
    assert commits_of(found, CHURN) == [(first, 1, 3, 0), (second, 2, 3, 0), (third, 2, 0, 5)]
    told = ["project", "author_id", "committed_at", "parent_count", "subject"]
    assert commits_of(found, told) == [
        ("shop", PSEUDONYM, at(0), 0, "Begin"),
        ("shop", PSEUDONYM, at(1), 1, "Go on"),
        ("shop", PSEUDONYM, at(2), 1, "Clean up now"),
    ]
    assert {name: len(frame) for name, frame in found.frames.items()} == {
        "runs": 0,
        "test_results": 0,
        "changed_files": 0,
        "commits": 3,
    }


def test_the_name_of_an_author_lands_nowhere(made: Repository, tmp_path: Path) -> None:
    sha = made.commit({"a.py": lines(3)})
    parsed(made.folder, tmp_path, Known(commits={"r1": sha}))
    landed = b"".join(file.read_bytes() for file in (tmp_path / "landing").rglob("*") if file.is_file())
    assert PSEUDONYM.encode() in landed
    assert not any(part.encode() in landed for part in (*ADA, "Ada"))


def test_without_authors_nobody_is_hashed(made: Repository, tmp_path: Path) -> None:
    made.commit({"a.py": lines(3)})
    assert commits_of(parsed(made.folder, tmp_path, author=False), ["author_id"]) == [(None,)]


def test_a_root_commit_adds_all_its_files(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"a.py": lines(3), "docs/b.md": lines(1)})
    found = parsed(made.folder, tmp_path, Known(commits={"r1": root}))
    assert files_of(found) == [("r1", "a.py", 3, 0), ("r1", "docs/b.md", 1, 0)]
    assert set(found.frames["changed_files"]["change_source"]) == {"git"}


def test_a_merge_is_what_came_to_the_trunk(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"a.py": lines(1)})
    side = made.commit({"a.py": lines(1), "side.py": lines(5)}, root, branch="side")
    trunk = made.commit({"a.py": lines(2)}, root)
    merge = made.commit({"a.py": lines(2), "side.py": lines(5)}, trunk, side)
    found = parsed(made.folder, tmp_path, Known(commits={"r1": merge}))
    assert files_of(found) == [("r1", "side.py", 5, 0)]
    assert commits_of(found, ["commit_sha", "parent_count"]) == [(root, 0), (side, 1), (trunk, 1), (merge, 2)]


def test_a_renamed_file_is_named_by_both_paths_and_counts_once(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"old.py": lines(40), "kept.py": lines(1)})
    moved = made.commit({"new.py": lines(40), "kept.py": lines(1)}, root)
    found = parsed(made.folder, tmp_path, Known(commits={"r1": moved}))
    assert files_of(found) == [("r1", "new.py", 0, 0), ("r1", "old.py", None, None)]
    assert commits_of(found, CHURN)[-1] == (moved, 1, 0, 0)


def test_a_file_renamed_with_an_edit_is_still_one(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"old.py": lines(40)})
    moved = made.commit({"new.py": lines(39) + b"another\nand more\n"}, root)
    found = parsed(made.folder, tmp_path, Known(commits={"r1": moved}))
    assert files_of(found) == [("r1", "new.py", 2, 1), ("r1", "old.py", None, None)]


def test_a_path_that_was_renamed_away_and_filled_again_is_one_row(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"a.py": lines(40), "b.py": lines(1)})
    moved = made.commit({"a.py": lines(7, 900), "b.py": lines(1), "c.py": lines(40)}, root)
    paths = [path for _, path, *_ in files_of(parsed(made.folder, tmp_path, Known(commits={"r1": moved})))]
    assert paths == ["a.py", "c.py"]


def test_a_binary_file_has_no_lines(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"logo.png": b"\x89PNG\x00\x01", "a.py": lines(2)})
    found = parsed(made.folder, tmp_path, Known(commits={"r1": root}))
    assert files_of(found) == [("r1", "a.py", 2, 0), ("r1", "logo.png", None, None)]
    assert commits_of(found, CHURN) == [(root, 2, 2, 0)]


def test_a_very_large_file_is_not_compared_by_lines(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.sources.git.commits.MAX_BLOB", 100)
    root = made.commit({"data.csv": lines(50), "a.py": lines(2)})
    found = parsed(made.folder, tmp_path, Known(commits={"r1": root}))
    assert files_of(found) == [("r1", "a.py", 2, 0), ("r1", "data.csv", None, None)]


def test_a_commit_of_very_many_files_names_the_first_3000_and_counts_all(made: Repository, tmp_path: Path) -> None:
    root = made.commit({f"{number:05}.py": b"one line\n" for number in range(MAX_FILES + 2)})
    found = parsed(made.folder, tmp_path, Known(commits={"r1": root}))
    assert (len(files_of(found)), files_of(found)[-1][1]) == (3_000, "02999.py")
    assert commits_of(found, CHURN) == [(root, 3_002, 3_002, 0)]


def test_an_empty_commit_has_no_files(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"a.py": lines(2)})
    again = made.commit({"a.py": lines(2)}, root)
    found = parsed(made.folder, tmp_path, Known(commits={"r1": again}))
    assert commits_of(found, CHURN)[-1] == (again, 0, 0, 0)
    assert files_of(found) == []


COMMITTER = b"committer Ada <ada@example.org> 1767225600 +0000"


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        (b"red \x1b[31malert", "red \\u001b[31malert"),
        (b"before\x00after", "before"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"turned \xe2\x80\xaeround", "turned \\u202eround"),
        (b"\n\n  \nfirst line\nsecond", "first line"),
        (b"", None),
        (b"x" * 100_000, "x" * 200),
        (b"use token=ghp_" + b"a1B2" * 9, "use token=" + "*" * 40),  # pragma: allowlist secret
        (b"-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----"),  # pragma: allowlist secret
    ],
)
def test_a_subject_is_one_bounded_line_that_nothing_acts_on(
    made: Repository, tmp_path: Path, message: bytes, subject: str | None
) -> None:
    made.write(made.tree({"a.py": b""}), b"author Ada <ada@example.org> 1767225600 +0000\n" + COMMITTER, message)
    assert commits_of(parsed(made.folder, tmp_path), ["subject"]) == [(subject,)]


@pytest.mark.parametrize("encoding", [b"no-such-thing", b"idna", b"unicode_escape", b"base64"])
def test_an_encoding_that_nobody_knows_is_taken_for_utf_8(made: Repository, tmp_path: Path, encoding: bytes) -> None:
    header = b"author A <a@b.c> 1767225600 +0000\n" + COMMITTER + b"\nencoding " + encoding
    made.write(made.tree({"a.py": b""}), header, b"plain words")
    assert commits_of(parsed(made.folder, tmp_path), ["subject"]) == [("plain words",)]


def test_an_author_that_is_no_utf_8_is_a_pseudonym_too(made: Repository, tmp_path: Path) -> None:
    made.write(made.tree({"a.py": b""}), b"author \xed\xa0\x80 <\xff@x> 1767225600 +0000\n" + COMMITTER, b"x")
    ((author,),) = commits_of(parsed(made.folder, tmp_path), ["author_id"])
    assert len(author) == 12
    assert author != PSEUDONYM


def test_a_moment_that_no_calendar_has_is_left_to_the_contract(made: Repository, tmp_path: Path) -> None:
    header = b"author A <a@b.c> 1767225600 +0000\ncommitter A <a@b.c> 99999999999999999 +0000"
    sha = made.write(made.tree({"a.py": b"1\n"}), header, b"x")
    found = parsed(made.folder, tmp_path, Known(commits={"r1": sha}))
    assert commits_of(found, ["commit_sha", "committed_at"]) == [(sha, None)]
    assert files_of(found) == [("r1", "a.py", 1, 0)]


def test_a_commit_that_cannot_be_read_is_refused_and_the_others_are_not(made: Repository, tmp_path: Path) -> None:
    first = made.commit({"a.py": lines(2)})
    second = made.commit({"a.py": lines(3)}, first)
    blob = str(made.git[pygit2.Oid(hex=second)].tree["a.py"].id)
    (made.folder / "objects" / blob[:2] / blob[2:]).unlink()
    found = parsed(made.folder, tmp_path)
    assert commits_of(found, CHURN) == [(first, 1, 2, 0)]
    (refused,) = found.refused.to_dict("records")
    assert (refused["contract"], refused["reason"], refused["payload"]) == ("commits", "unreadable", second)


def test_hostile_paths_are_printable_and_free_of_secrets(made: Repository, tmp_path: Path) -> None:
    blob = bytes.fromhex(str(made.git.create_blob(b"1\n")))
    names = [b"\xff\xfe.py", b"new\nline", b"ghp_" + b"a1B2" * 9]
    raw = b"".join(b"100644 " + name + b"\x00" + blob for name in sorted(names))
    tree = made.git.odb.write(pygit2.enums.ObjectType.TREE, raw)
    sha = made.write(tree, b"author A <a@b.c> 1767225600 +0000\n" + COMMITTER, b"x")
    paths = [path for _, path, *_ in files_of(parsed(made.folder, tmp_path, Known(commits={"r1": sha})))]
    assert paths == ["*" * 40, "??.py", "new\nline"]
