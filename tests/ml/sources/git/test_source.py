"""What of a repository is fetched, and what is left out: the branch, the interval, what is known, what is not there."""

import json
import os
import subprocess
from pathlib import Path

import pygit2
import pytest
from pydantic import ValidationError

from ml.errors import SourceError
from ml.sources import Finding, Known, find_batch, read_batch
from ml.sources.git.source import Options
from ml.spec import Batch, Interval
from tests.ml.sources.git.repositories import (
    LIMITS,
    NEW_YEAR,
    Repository,
    at,
    commits_of,
    fetched,
    files_of,
    lines,
    parsed,
    source,
)


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def chain(made: Repository, count: int) -> list[str]:
    """So many commits on `main`, an hour apart."""
    found: list[str] = []
    for number in range(count):
        found.append(made.commit({"a.py": lines(number + 1)}, *found[-1:]))
    return found


def shas(batch: Batch) -> list[object]:
    return [sha for (sha,) in commits_of(read_batch(batch, LIMITS), ["commit_sha"])]


def test_commits_of_the_interval_and_the_branch_are_fetched(made: Repository, tmp_path: Path) -> None:
    root, second, third, _ = chain(made, 4)
    made.commit({"b.py": b""}, root, branch="side", at=NEW_YEAR + 2 * 3_600)
    (batch,) = fetched(made.folder, tmp_path, interval=Interval(at(1), at(3)))
    assert shas(batch) == [second, third]


def test_a_named_branch_is_fetched_in_place_of_head(made: Repository, tmp_path: Path) -> None:
    root, _ = chain(made, 2)
    side = made.commit({"b.py": b""}, root, branch="release/1.0")
    (batch,) = fetched(made.folder, tmp_path, branch="release/1.0")
    assert shas(batch) == [root, side]


def test_a_wrong_clock_hides_neither_the_commit_before_nor_the_one_after(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"a.py": lines(1)})
    early = made.commit({"a.py": lines(2)}, root, at=7)
    last = made.commit({"a.py": lines(3)}, early)
    (batch,) = fetched(made.folder, tmp_path, interval=Interval(at(0), at(9)))
    assert shas(batch) == [root, last]


def test_twice_gives_the_same_batch_and_what_is_known_is_left_out(made: Repository, tmp_path: Path) -> None:
    root, second, third = chain(made, 3)
    (once,) = fetched(made.folder, tmp_path)
    assert fetched(made.folder, tmp_path) == [once]
    assert fetched(made.folder, tmp_path, Known(landed={root, second, third})) == []
    (rest,) = fetched(made.folder, tmp_path, Known(landed={root, second}))
    assert shas(rest) == [third]
    again = Repository(tmp_path / "again")
    assert chain(again, 3) == [root, second, third]
    assert [batch.batch_id for batch in fetched(again.folder, tmp_path / "elsewhere")] == [once.batch_id]


def test_a_landed_batch_is_read_again_without_the_repository(made: Repository, tmp_path: Path) -> None:
    (sha,) = chain(made, 1)
    (batch,) = fetched(made.folder, tmp_path, Known(commits={"r1": sha}))
    made.folder.rename(tmp_path / "gone")
    found = read_batch(find_batch(tmp_path / "landing", batch.batch_id), LIMITS)
    assert (shas(batch), files_of(found)) == ([sha], [("r1", "a.py", 1, 0)])


def test_a_fetch_that_is_killed_goes_on_where_it_was(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.sources.git.source.MAX_BATCH_COMMITS", 2)
    first, second, third, fourth, fifth = chain(made, 5)
    whole = fetched(made.folder, tmp_path / "whole")
    assert [shas(batch) for batch in whole] == [[first, second], [third, fourth], [fifth]]
    with source(made.folder, tmp_path) as opened:
        killed = opened.fetch(Interval())
        appended = next(killed)
        landed_only = next(killed)
        killed.close()
    rest = fetched(made.folder, tmp_path, Known(landed=set(map(str, shas(appended)))))
    assert [batch.batch_id for batch in (appended, *rest)] == [batch.batch_id for batch in whole]
    assert rest[0] == landed_only


def test_progress_counts_commits(made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.sources.git.source.MAX_BATCH_COMMITS", 2)
    chain(made, 3)
    told: list[tuple[int, int]] = []
    with source(made.folder, tmp_path) as opened:
        list(opened.fetch(Interval(), lambda done, total: told.append((done, total))))
    assert told == [(2, 3), (3, 3)]


def test_runs_get_the_files_of_their_commit_also_of_one_that_is_known_or_on_no_branch(
    made: Repository, tmp_path: Path
) -> None:
    root = made.commit({"a.py": lines(1)})
    known = made.commit({"a.py": lines(3)}, root)
    proposed = made.commit({"a.py": lines(3), "b.py": lines(2)}, known, branch="feature")
    commits = {"r1": known, "r2": known, "r3": proposed, "r4": proposed[:10]}
    found = parsed(made.folder, tmp_path, Known(commits=commits, landed={root, known}))
    assert files_of(found) == [
        ("r1", "a.py", 2, 0),
        ("r2", "a.py", 2, 0),
        ("r3", "b.py", 2, 0),
        ("r4", "b.py", 2, 0),
    ]
    assert commits_of(found, ["commit_sha"]) == [(proposed,)]


def test_a_known_commit_without_files_is_not_landed_for_its_run(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"a.py": lines(1)})
    empty = made.commit({"a.py": lines(1)}, root)
    assert fetched(made.folder, tmp_path, Known(commits={"r1": empty}, landed={root, empty})) == []


def test_a_commit_of_very_many_runs_lands_in_several_pieces(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.sources.git.source.MAX_ENTRY_RUNS", 2)
    monkeypatch.setattr("ml.sources.git.source.MAX_BATCH_ROWS", 5)
    (sha,) = chain(made, 1)
    batches = fetched(made.folder, tmp_path, Known(commits={f"r{number}": sha for number in range(5)}))
    assert [shas(batch) for batch in batches] == [[sha], []]
    read = [files_of(read_batch(batch, LIMITS)) for batch in batches]
    assert [[run_id for run_id, *_ in files] for files in read] == [["r0", "r1"], ["r2", "r3", "r4"]]


def test_commits_that_are_not_there_are_counted_and_no_error(
    made: Repository, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (sha,) = chain(made, 1)
    blob = str(made.git[pygit2.Oid(hex=sha)].tree["a.py"].id)
    names = ("f" * 40, "c0ffee", "not hexadecimal\x1b[2J", "A" * 40, blob, "../../HEAD", "\ud800", "0" * 5_000)
    commits = {f"r{number}": name for number, name in enumerate(names)}
    found = parsed(made.folder, tmp_path, Known(commits={**commits, "good": sha}))
    assert files_of(found) == [("good", "a.py", 1, 0)]
    assert f"8 of 9 runs name a commit that is not in {made.folder}: a forced push" in caplog.text
    assert "\x1b" not in caplog.text


def git(*words: object) -> None:
    """The git that people have, with nobody's settings."""
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
    subprocess.run(["git", *map(str, words)], check=True, capture_output=True, env=settings)


def test_a_shallow_clone_is_named_with_the_command_that_mends_it(made: Repository, tmp_path: Path) -> None:
    chain(made, 3)
    clone = tmp_path / "clone"
    git("clone", "--depth", "1", f"file://{made.folder}", clone)
    for url in (clone, f"file://{clone}"):
        with pytest.raises(SourceError, match=r"clone is a shallow clone.*git -C PATH fetch --unshallow"):
            fetched(url, tmp_path)
        with source(url, tmp_path) as opened:
            (finding,) = opened.test()
        assert (finding.subject, finding.is_ok) == ("access", False)
    git("-C", clone, "fetch", "--unshallow")
    assert len(shas(fetched(clone, tmp_path)[0])) == 3


def test_a_clone_with_files_is_read_like_a_bare_one(made: Repository, tmp_path: Path) -> None:
    chain(made, 2)
    git("clone", made.folder, tmp_path / "clone")
    assert fetched(tmp_path / "clone", tmp_path) == fetched(tmp_path / "clone" / ".git", tmp_path)
    made.commit({"b.py": b""}, branch="later")
    git("-C", tmp_path / "clone", "fetch")
    assert len(shas(fetched(tmp_path / "clone", tmp_path, branch="later")[0])) == 1


def test_a_repository_without_commits_has_nothing_to_fetch(made: Repository, tmp_path: Path) -> None:
    assert fetched(made.folder, tmp_path, Known(commits={"r1": "f" * 40})) == []
    with source(made.folder, tmp_path) as opened:
        assert [(finding.subject, finding.is_ok) for finding in opened.test()] == [
            ("repository", True),
            ("branch", False),
        ]


@pytest.mark.parametrize("branch", ["missing", "a..b", "\x00", "refs/heads/", "main\nside", "x" * 1_000])
def test_a_branch_that_is_not_there_is_told_with_those_that_are(made: Repository, tmp_path: Path, branch: str) -> None:
    made.commit({"a.py": b""}, branch="side")
    with pytest.raises(SourceError, match=r"has no branch .*; set `branch` to one of: side"):
        fetched(made.folder, tmp_path, branch=branch)
    with pytest.raises(SourceError, match="has no branch 'HEAD'; set `branch` to one of: side"):
        fetched(made.folder, tmp_path)


def test_what_is_no_repository_is_refused(tmp_path: Path, made: Repository) -> None:
    for folder in (tmp_path / "missing", tmp_path, made.folder / "objects"):
        with pytest.raises(SourceError, match=r"no repository can be read in .*; right would be the folder of a clone"):
            fetched(folder, tmp_path)


def test_a_damaged_history_says_where_to_look(made: Repository, tmp_path: Path) -> None:
    root, _ = chain(made, 2)
    (made.folder / "objects" / root[:2] / root[2:]).unlink()
    with pytest.raises(SourceError, match=r"breaks off: .*; see `git fsck` there"):
        fetched(made.folder, tmp_path)


def test_a_source_is_examined(made: Repository, tmp_path: Path) -> None:
    first, *_, last = chain(made, 30)
    with source(made.folder, tmp_path, Known(commits={"r1": first, "r2": "f" * 40})) as opened:
        found = list(opened.test())
    assert found == [
        Finding("repository", True, f"{made.folder} can be read, and its history is whole"),
        Finding("branch", True, f"HEAD is at {last[:7]}"),
        Finding("history", True, "30 commits from 2026-01-01 to 2026-01-02"),
        Finding("commits of runs", True, "the commits of 1 of 2 runs without changed files are there"),
    ]


def test_what_lands_is_what_the_page_says(made: Repository, tmp_path: Path) -> None:
    (sha,) = chain(made, 1)
    (batch,) = fetched(made.folder, tmp_path, Known(commits={"r1": sha}))
    (line,) = (Path(batch.folder) / "payloads" / "commits.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "commit_sha": sha,
        "author_id": "09fdcd22cc89",
        "committed_at": "2026-01-01T00:00:00+00:00",
        "parent_count": 0,
        "subject": "a change",
        "file_count": 1,
        "added": 1,
        "deleted": 0,
        "files": [["a.py", 1, 0]],
        "runs": ["r1"],
        "is_new": True,
    }


@pytest.mark.parametrize(
    "url",
    [
        "/srv/git/shop.git",
        "~/shop",
        "file:///srv/shop%20new",
        "https://git.example.org:8443/acme/shop.git",
        "ssh://git@git.example.org/acme/shop.git",
    ],
)
def test_these_are_addresses(url: str) -> None:
    assert Options(project="shop", url=url).url == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ext::sh -c touch% /tmp/pwned", "is none that is read; right would be an absolute path"),
        ("http://git.example.org/shop.git", "is none that is read"),
        ("git://git.example.org/shop.git", "is none that is read"),
        ("git@git.example.org:acme/shop.git", "is none that is read"),
        ("shop", "is none that is read"),
        ("../shop", "is none that is read"),
        ("--upload-pack=touch /tmp/pwned", "is none that is read"),
        ("https://git.example.org", "is none that is read"),
        ("https:///acme/shop", "is none that is read"),
        ("file://elsewhere/srv/shop", "is none that is read"),
        ("https://[::1/shop", "is none that is read"),
        ("/srv/a\x00b", "control characters"),
        ("/srv/a\nb", "control characters"),
        ("", "is none that is read"),
    ],
)
def test_anything_else_is_none(url: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Options(project="shop", url=url)


@pytest.mark.parametrize(
    "url",
    [
        "https://token@host/shop",
        "http://token@host/shop",
        "https://u:token@host/shop",  # pragma: allowlist secret
        "ssh://git:token@host/shop",  # pragma: allowlist secret
    ],
)
def test_a_secret_in_an_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Options(project="shop", url=url)
    (problem,) = refused.value.errors(include_input=False)
    assert "the token in the environment" in problem["msg"]
    assert "token@" not in problem["msg"]
