"""Refusals, limits and faults of the server."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml.errors import SourceError
from ml.sources import Known, Surroundings, http
from ml.sources.ci_server import BATCH_RUNS, CiServer
from ml.sources.github import api as github_api
from ml.sources.github.actions import GitHubActions, Options
from ml.sources.http import PatientTransport
from ml.spec import Interval
from tests.ml.sources.github.collecting import LIMITS, NEW_YEAR, assert_same, collect, find, keys, opened, rows, shop
from tests.ml.sources.github.server import (
    REPOSITORY,
    TOKEN,
    Answer,
    GitHubServer,
    run_payload,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "token is missing or expired"),
        (403, "'Actions: read' on acme/shop"),
        (404, "the name acme/shop is wrong"),
        (418, "right would be 200"),
    ],
)
def test_a_refusal_says_what_would_be_right(github: GitHubServer, status: int, remedy: str) -> None:
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = Answer({"message": "no"}, status)
    with pytest.raises(SourceError, match=remedy):
        find(github)


def test_a_short_wait_is_waited_for(github: GitHubServer) -> None:
    github.add(run_payload(1))
    github.faults = ["429"]
    slept: list[float] = []
    assert keys(find(github, slept=slept)) == [("1", 1)]
    assert slept == [7.0]


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("is_primary", [True, False])
def test_a_far_reset_is_said_with_its_moment_and_not_waited_for(
    github: GitHubServer, status: int, *, is_primary: bool
) -> None:
    reset = int(time.time()) + 1_800
    primary = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
    headers = primary if is_primary else {"Retry-After": "1800"}
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = Answer({"message": "limit"}, status, headers)
    slept: list[float] = []
    with pytest.raises(SourceError, match="what landed stays") as raised:
        find(github, slept=slept)
    said = datetime.fromisoformat(str(raised.value).split("until ")[1].split(" UTC")[0]).replace(tzinfo=UTC)
    assert abs(said.timestamp() - reset) <= 5
    assert slept == []


def test_a_second_limit_without_headers_is_no_missing_permission(github: GitHubServer) -> None:
    refused = Answer({"message": "You have exceeded a secondary rate limit."}, 403)
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = refused
    with pytest.raises(SourceError, match="for some minutes; what landed stays"):
        find(github)


def test_an_absurd_wait_is_an_error_too(github: GitHubServer) -> None:
    refused = Answer({}, 429, {"Retry-After": "9" * 400})
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = refused
    with pytest.raises(SourceError, match="what landed stays"):
        find(github)


def test_a_server_that_is_not_there_is_said_by_name() -> None:
    with GitHubServer() as server:
        url = server.url
    options = Options(kind="github_actions", project="p", url=url, repository=REPOSITORY)
    actions = GitHubActions(options, TOKEN, PatientTransport(sleep=[].append))
    with actions, pytest.raises(SourceError, match=r"127.0.0.1 cannot be reached \(ConnectError\)"):
        list(actions.find(NEW_YEAR))


@pytest.mark.parametrize("fault", ["500", "cut", "429"])
def test_faults_in_between_change_nothing(github: GitHubServer, tmp_path: Path, fault: str) -> None:
    shop(github)
    whole = rows(collect(github, tmp_path / "whole"))
    asked = len(github.asked)
    github.faults = ["", fault] * (2 * asked)
    slept: list[float] = []
    assert_same(rows(collect(github, tmp_path / "faulty", slept=slept)), whole)
    assert len(slept) >= asked // 2  # a redirect has no body to cut, and a cut artifact is asked for again at once


def test_a_server_that_stays_broken_is_an_error(github: GitHubServer) -> None:
    github.faults = ["500"] * http.ATTEMPTS
    with pytest.raises(SourceError, match="answered 500 for /repos/acme/shop/actions/runs"):
        find(github)


def test_collected_twice_or_in_pieces_gives_the_same_rows(github: GitHubServer, tmp_path: Path) -> None:
    shop(github, 60)
    first, second = collect(github, tmp_path), collect(github, tmp_path)
    assert [batch.batch_id for batch in first] == [batch.batch_id for batch in second]
    noon = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    pieces = collect(github, tmp_path, Interval(NEW_YEAR.start, noon), Interval(noon, NEW_YEAR.end))
    assert_same(rows(pieces), rows(first))


def test_after_a_kill_the_rest_is_collected(github: GitHubServer, tmp_path: Path) -> None:
    shop(github, BATCH_RUNS + 10)
    whole = rows(collect(github, tmp_path / "whole"))
    with opened(github) as actions:
        killed = CiServer(actions, Surroundings(tmp_path / "landing", LIMITS)).fetch(NEW_YEAR)
        landed = next(killed)
        killed.close()
    known = {(str(run), int(attempt)) for run, attempt in rows([landed])["runs"][["run_id", "attempt"]].to_numpy()}
    assert len(known) == BATCH_RUNS
    with opened(github) as actions:
        rest = list(CiServer(actions, Surroundings(tmp_path / "landing", LIMITS, Known(known))).fetch(NEW_YEAR))
    assert_same(rows([landed, *rest]), whole)


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": "max-age=many, =, ,private=", "Date": "yesterday", "Age": "-1", "Expires": "never"},
        {"Vary": "*", "ETag": "\x7f", "Last-Modified": "0"},
        {"Cache-Control": "max-age=" + "9" * 5_000, "Vary": ",,,"},
        {"Date": "Mon, 99 Foo 99999 99:99:99 GMT", "Age": "9" * 400},
        {"Link": ';;=<,>; rel="next"'},
    ],
)
def test_headers_that_no_cache_understands_stop_nothing(github: GitHubServer, headers: dict[str, str]) -> None:
    listed = {"total_count": 1, "workflow_runs": [run_payload(1)]}
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = Answer(listed, 200, headers)
    with opened(github) as actions:
        assert [keys(list(actions.find(NEW_YEAR))) for _ in range(2)] == [[("1", 1)]] * 2


def test_more_than_may_be_kept_is_forgotten(github: GitHubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_api, "MAX_KEPT_BYTES", 10)
    github.add(run_payload(1))
    with opened(github) as actions:
        assert keys(list(actions.find(NEW_YEAR))) == keys(list(actions.find(NEW_YEAR))) == [("1", 1)]
    assert [asked.status for asked in github.asked] == [200, 200]


class Watched(httpx.HTTPTransport):
    """Notes the time limit of every request."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[Any] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.limits.append(request.extensions.get("timeout"))
        return super().handle_request(request)


def test_every_request_has_a_time_limit(github: GitHubServer, tmp_path: Path) -> None:
    shop(github, 1)
    watched = Watched()
    options = {"kind": "github_actions", "project": "p", "url": github.url, "repository": REPOSITORY}
    with GitHubActions(Options.model_validate(options), TOKEN, PatientTransport(watched)) as actions:
        list(CiServer(actions, Surroundings(tmp_path, LIMITS)).fetch(NEW_YEAR))
    assert len(watched.limits) == len(github.asked)
    assert all(limit == http.TIMEOUT.as_dict() for limit in watched.limits)


def test_options_are_read_without_the_client_library() -> None:
    told = "import sys, ml.sources.github.actions; print('githubkit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout == "False\n"
