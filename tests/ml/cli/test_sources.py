"""The commands that name, test and collect CI servers, against servers that answer over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml.cli import complete
from tests.ml.sources.git.repositories import Repository
from tests.ml.sources.github.server import TOKEN, GitHubServer, add_run
from tests.postgres import Postgres

MOMENT = "2026-02-01T00:00:00Z"


@pytest.fixture
def server() -> Iterator[GitHubServer]:
    with GitHubServer() as served:
        add_run(served, 1, "2026-01-31T08:00:00Z")
        yield served


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOURGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FOURGATE_TOKEN_SHOP_CI", TOKEN)


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(complete(), list(arguments))
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


def add(name: str, url: str, project: str = "shop") -> tuple[int, str, str]:
    options = ("--kind", "github_actions", "--project", project, "--url", url, "--set", "repository=acme/shop")
    return call("source", "add", name, *options)


def test_a_source_is_added_listed_and_tested(server: GitHubServer) -> None:
    assert json.loads(call("source", "list", "--json")[1]) == []
    code, told, error = add("shop-ci", server.url)
    assert (code, error) == (0, "")
    assert "put its token into FOURGATE_TOKEN_SHOP_CI, then `fourgate source test shop-ci`" in told
    (listed,) = json.loads(call("source", "list", "--json")[1])
    assert listed == {
        "name": "shop-ci",
        "kind": "github_actions",
        "project": "shop",
        "url": f"{server.url}/",
        "secret": "FOURGATE_TOKEN_SHOP_CI",  # pragma: allowlist secret
    }
    code, told, error = call("source", "test", "shop-ci")
    assert (code, error) == (0, "")
    assert "ok  runs (Actions: read): 1 runs, created 2026-01-31 to 2026-01-31" in told


def test_a_test_that_finds_something_missing_ends_with_1(server: GitHubServer) -> None:
    add("shop-ci", server.url)
    server.tokens = set()
    code, told, _ = call("source", "test", "shop-ci", "--json")
    assert code == 1
    assert {finding["subject"] for finding in json.loads(told) if finding["is_ok"]} == {"secret"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("source add x --kind svn --project p", "kind is 'svn'; right would be one of bucket, git, github_actions,"),
        ("source add x --kind gitlab --project p --set path", "'path' is no option of a source; right would be"),
        ("source test x", "fourgate.toml names no source 'x'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments: str, told: str) -> None:
    code, _, error = call(*arguments.split())
    assert code == 2
    assert error.startswith("SettingsError: ")
    assert told in error


def test_options_are_lists_numbers_and_texts(tmp_path: Path) -> None:
    options = ("path=42", "jobs=unit-*,it-*", "history_days=1.5", "reports=artifacts")
    given = [part for option in options for part in ("--set", option)]
    assert call("source", "add", "lab", "--kind", "gitlab", "--project", "p", *given)[0] == 0
    assert (tmp_path / "fourgate.toml").read_text().splitlines() == [
        "[source.lab]",
        'kind = "gitlab"',
        'project = "p"',
        "path = 42",
        'jobs = ["unit-*", "it-*"]',
        "history_days = 1.5",
        'reports = "artifacts"',
    ]


def test_a_repository_is_added_tested_and_collected_without_a_secret(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOURGATE_WAREHOUSE_DSN", postgres.pipeline_dsn)
    made = Repository(tmp_path / "shop.git")
    made.commit({"a.py": b"1\n"})
    code, told, error = call(
        "source", "add", "code", "--kind", "git", "--project", "shop", "--set", f"url={made.folder}"
    )
    assert (code, error) == (0, "")
    assert "next: `fourgate source test code`" in told
    code, told, _ = call("source", "test", "code")
    assert code == 0
    assert "ok  history: 1 commits from 2026-01-01 to 2026-01-01" in told
    code, told, _ = call("collect", "code", "--as-of", MOMENT, "--json")
    assert (code, json.loads(told)["rows"]["commits"]) == (0, 1)
    hidden = "https://u:pass@host/x"  # pragma: allowlist secret
    code, _, error = call("source", "add", "bad", "--kind", "git", "--project", "p", "--url", hidden)
    assert (code, "pass" in error) == (2, False)
    assert "url: Value error, it holds a user or a secret; right would be the URL alone" in error


def test_a_source_that_fails_keeps_no_other_from_the_lake(
    server: GitHubServer, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOURGATE_WAREHOUSE_DSN", postgres.pipeline_dsn)
    with GitHubServer() as closed:
        closed.tokens = set()
        add("closed", closed.url, "other")
        add("shop-ci", server.url)
        code, told, error = call("collect", "--as-of", MOMENT, "--json")
    assert code == 3
    assert "SourceError: 127.0.0.1 answered 401" in error
    assert json.loads(told)["rows"] == {"runs": 1, "test_results": 1, "changed_files": 1}


def test_one_source_is_collected_by_its_name_and_a_name_of_nothing_is_refused(
    server: GitHubServer, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOURGATE_WAREHOUSE_DSN", postgres.pipeline_dsn)
    add("shop-ci", server.url)
    code, _, error = call("collect", "shop", "--as-of", MOMENT)
    assert code == 3
    assert "SourceError: 'shop' is no file or folder, and no source either; sources are shop-ci" in error
    code, told, _ = call("collect", "shop-ci", "--as-of", MOMENT, "--json")
    assert (code, json.loads(told)["rows"]["runs"]) == (0, 1)
