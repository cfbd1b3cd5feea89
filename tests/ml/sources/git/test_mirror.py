"""Mirrors of URLs: made once, brought up to date, and of servers only with a token that goes nowhere else."""

import logging
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pygit2
import pytest

from ml.errors import SourceError
from ml.sources import Known
from ml.sources.git.source import GitSource, Options
from ml.sources.source import Surroundings
from ml.spec import Interval
from tests.ml.sources.git.repositories import LIMITS, Repository, commits_of, fetched, files_of, lines, parsed
from tests.ml.sources.git.server import TOKEN, GitServer, backend, certificate


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "served" / "shop.git")


def mirror(tmp_path: Path) -> Path:
    (folder,) = [path for path in (tmp_path / "cache" / "git").iterdir() if path.is_dir()]
    return folder


def shas(url: str, tmp_path: Path, known: Known | None = None, **options: object) -> list[object]:
    return [sha for (sha,) in commits_of(parsed(url, tmp_path, known, **options), ["commit_sha"])]


def test_a_mirror_is_brought_up_to_date(made: Repository, tmp_path: Path) -> None:
    url = f"file://{made.folder}"
    first = made.commit({"a.py": lines(1)})
    assert shas(url, tmp_path) == [first]
    second = made.commit({"a.py": lines(2)}, first)
    assert shas(url, tmp_path, Known(landed={first})) == [second]
    assert fetched(url, tmp_path, Known(landed={first, second})) == []
    assert len(list(mirror(tmp_path).parent.glob("*/HEAD"))) == 1


def test_a_mirror_follows_head_and_forgets_branches_but_not_their_commits(made: Repository, tmp_path: Path) -> None:
    url = f"file://{made.folder}"
    first = made.commit({"a.py": lines(1)})
    lost = made.commit({"a.py": lines(5)}, first, branch="side")
    shas(url, tmp_path)
    made.git.references.delete("refs/heads/side")
    trunk = made.commit({"a.py": lines(2)}, first, branch="trunk")
    made.git.set_head("refs/heads/trunk")
    assert shas(url, tmp_path) == [first, trunk]
    assert sorted(pygit2.Repository(str(mirror(tmp_path))).branches) == ["main", "trunk"]
    assert files_of(parsed(url, tmp_path, Known(commits={"r1": lost}))) == [("r1", "a.py", 4, 0)]


def test_the_heads_of_pull_and_merge_requests_are_there(made: Repository, tmp_path: Path) -> None:
    root = made.commit({"a.py": lines(1)})
    heads = {}
    for name in ("pull/7/head", "merge-requests/8/head"):
        heads[name] = made.commit({"a.py": lines(1), "b.py": lines(len(heads) + 1)}, root, branch="gone")
        made.git.references.create(f"refs/{name}", pygit2.Oid(hex=heads[name]))
    made.git.references.delete("refs/heads/gone")
    known = Known(commits=dict(zip(("r1", "r2"), heads.values(), strict=True)))
    assert files_of(parsed(f"file://{made.folder}", tmp_path, known)) == [("r1", "b.py", 1, 0), ("r2", "b.py", 2, 0)]


def test_a_mirror_that_was_left_half_made_is_made_whole(made: Repository, tmp_path: Path) -> None:
    url = f"file://{made.folder}"
    first = made.commit({"a.py": lines(1)})
    assert shas(url, tmp_path) == [first]
    (mirror(tmp_path) / "HEAD").unlink()
    shutil.rmtree(mirror(tmp_path) / "refs")
    left = mirror(tmp_path) / "objects" / "pack" / "pack_git2_1234"
    left.write_bytes(b"half a pack")
    assert shas(url, tmp_path) == [first]
    assert not left.exists()


def test_a_mirror_of_very_many_packs_begins_anew(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.sources.git.repository.MOST_PACKS", 2)
    url, found = f"file://{made.folder}", []
    counts = []
    for number in range(5):
        found.append(made.commit({"a.py": lines(number + 1)}, *found[-1:]))
        assert shas(url, tmp_path) == found
        counts.append(len(list(mirror(tmp_path).glob("objects/pack/*.pack"))))
    assert counts == [1, 2, 3, 1, 2]


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no repository can be read in .*nowhere"):
        fetched(f"file://{tmp_path}/nowhere", tmp_path)


needs_backend = pytest.mark.skipif(
    not backend().exists() or shutil.which("openssl") is None, reason="needs git http-backend and openssl"
)


@pytest.fixture
def server(made: Repository, tmp_path: Path) -> Iterator[GitServer]:
    pem = certificate(tmp_path)
    pygit2.settings.set_ssl_cert_locations(str(pem), None)
    with GitServer(made.folder.parent, pem) as served:
        yield served
    del pygit2.settings.ssl_cert_file


def over_https(server: GitServer, tmp_path: Path, token: str, known: Known | None = None) -> GitSource:
    around = Surroundings(tmp_path / "landing", LIMITS, known or Known(), tmp_path / "cache")
    return GitSource(Options(project="shop", url=f"{server.url}/shop.git"), token, around)


@needs_backend
def test_a_server_is_mirrored_with_a_token_that_is_written_nowhere(
    made: Repository, server: GitServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    first = made.commit({"a.py": lines(1)})
    for number in range(2):
        with over_https(server, tmp_path, TOKEN) as opened:
            (batch,) = opened.fetch(Interval())
            assert [finding.is_ok for finding in opened.test()] == [True] * 3
        assert first in (Path(batch.folder) / "payloads" / "commits.jsonl").read_text()
        first = made.commit({"a.py": lines(number + 2)}, first)
    everywhere = [file for kind in ("cache", "landing") for file in (tmp_path / kind).rglob("*") if file.is_file()]
    assert everywhere
    assert not any(TOKEN.encode() in file.read_bytes() for file in everywhere)
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(opened.__dict__)


@needs_backend
@pytest.mark.parametrize(
    ("token", "told"), [("wrong", "refuses what it was given"), ("", "refuses that nobody signs in")]
)
def test_a_server_that_refuses_is_asked_once_and_told(
    made: Repository, server: GitServer, tmp_path: Path, token: str, told: str
) -> None:
    made.commit({"a.py": lines(1)})
    with over_https(server, tmp_path, token) as opened, pytest.raises(SourceError, match=told) as refused:
        list(opened.fetch(Interval()))
    assert "wrong" not in str(refused.value)
    assert len([given for given in server.given if given]) == bool(token)


@needs_backend
@pytest.mark.parametrize(("before", "after"), [("127.0.0.1", "localhost"), ("https", "http")])
def test_the_token_goes_to_no_other_host_and_never_in_the_open(
    made: Repository, server: GitServer, tmp_path: Path, before: str, after: str
) -> None:
    made.commit({"a.py": lines(1)})
    with GitServer(made.folder.parent, tmp_path / "server.pem") as elsewhere:
        server.redirect = elsewhere.url.replace(before, after)
        with over_https(server, tmp_path, TOKEN) as opened, pytest.raises(SourceError, match="cannot redirect from"):
            list(opened.fetch(Interval()))
        assert elsewhere.asked == []


@needs_backend
def test_a_certificate_that_nobody_vouches_for_is_refused(made: Repository, server: GitServer, tmp_path: Path) -> None:
    made.commit({"a.py": lines(1)})
    (tmp_path / "other").mkdir()
    with GitServer(made.folder.parent, certificate(tmp_path / "other")) as unknown:
        with over_https(unknown, tmp_path, TOKEN) as opened, pytest.raises(SourceError, match="certificate"):
            list(opened.fetch(Interval()))
        assert unknown.asked == []


@needs_backend
def test_a_server_with_a_cut_off_history_is_told(made: Repository, server: GitServer, tmp_path: Path) -> None:
    made.commit({"a.py": lines(2)}, made.commit({"a.py": lines(1)}))
    cut = made.folder.parent / "cut.git"
    subprocess.run(
        ["git", "clone", "-q", "--bare", "--depth", "1", f"file://{made.folder}", cut], check=True, capture_output=True
    )
    made.folder.rename(tmp_path / "aside")
    cut.rename(made.folder)
    with over_https(server, tmp_path, TOKEN) as opened, pytest.raises(SourceError, match="own repository is shallow"):
        list(opened.fetch(Interval()))


@needs_backend
def test_a_fetch_that_takes_too_long_ends(
    made: Repository, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.sources.git.repository.LONGEST_S", -1)
    made.commit({"a.py": lines(1)})
    with over_https(server, tmp_path, TOKEN) as opened, pytest.raises(SourceError, match="git clone --mirror"):
        list(opened.fetch(Interval()))


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.sources.git.repository.SILENT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/shop.git"
        with pytest.raises(SourceError, match="cannot be mirrored"):
            fetched(url, tmp_path)
