"""The runs that GitHub lists."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ml.errors import SourceError
from ml.sources.github import runs as github_runs
from ml.spec import Interval
from tests.ml.sources.github.collecting import collect, downloaded, find, keys, rows
from tests.ml.sources.github.server import (
    REPORT,
    REPOSITORY,
    Answer,
    GitHubServer,
    run_payload,
    zipped,
)

pytestmark = pytest.mark.slow


def test_runs_come_in_the_order_of_their_creation_and_the_interval_is_half_open(github: GitHubServer) -> None:
    for number, moment in ((1, "01T00:00:00"), (2, "01T23:59:59"), (3, "02T00:00:00"), (4, "01T12:00:00")):
        github.add(run_payload(number, f"2026-01-{moment}Z"))
    github.add(run_payload(5, "2025-12-31T23:59:59Z"))
    assert keys(find(github)) == [("1", 1), ("4", 1), ("2", 1)]


def test_without_an_interval_everything_is_listed(github: GitHubServer) -> None:
    for number, year in ((1, 2019), (2, 2025)):
        github.add(run_payload(number, f"{year}-01-01T00:00:00Z"))
    assert keys(find(github, Interval())) == [("1", 1), ("2", 1)]


def test_an_empty_interval_asks_nothing(github: GitHubServer) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert find(github, Interval(moment, moment)) == []
    assert github.asked == []


def test_a_listing_that_is_cut_off_is_asked_for_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_runs, "LISTED_AT_MOST", 10)
    with GitHubServer(listed_at_most=10) as server:
        for number in range(1, 101):
            server.add(run_payload(number, f"2026-01-01T{number // 60:02}:{number % 60:02}:00Z"))
        assert keys(find(server)) == [(str(number), 1) for number in range(1, 101)]


def test_more_runs_in_a_second_than_are_listed_are_said_with_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_runs, "LISTED_AT_MOST", 10)
    with GitHubServer(listed_at_most=10) as server:
        for number in range(1, 12):
            server.add(run_payload(number, "2026-01-01T08:00:05Z"))
        with pytest.raises(SourceError, match="more than 10 runs of 2026-01-01T08:00:05Z"):
            find(server)


def test_exactly_as_many_runs_as_are_listed_need_no_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_runs, "LISTED_AT_MOST", 10)
    with GitHubServer(listed_at_most=10) as server:
        for number in range(1, 11):
            server.add(run_payload(number, "2026-01-01T08:00:05Z"))
        assert len(find(server)) == 10
        assert len(server.asked) == 1


@pytest.mark.parametrize("wanted", ["tests", "tests.yml"])
def test_workflows_are_chosen_by_name_or_file(github: GitHubServer, wanted: str) -> None:
    github.add(run_payload(1, path=".github/workflows/tests.yml@refs/heads/main"))
    github.add(run_payload(2, name="deploy", path=".github/workflows/deploy.yml"))
    github.add(run_payload(3, name=None, path=None))
    assert keys(find(github, workflows=(wanted,))) == [("1", 1)]


@pytest.mark.parametrize(
    "strange",
    [
        5,
        None,
        {"id": None},
        {"id": "../../x", "created_at": "2026-01-01T08:00:00Z"},
        {"id": 7, "created_at": "yesterday"},
        {"id": 7, "created_at": ["2026-01-01T08:00:00Z"]},
        {"id": True, "created_at": "2026-01-01T08:00:00Z"},
        {"id": 7, "created_at": "2026-01-01T08:00:00Z", "run_attempt": 10**9},
    ],
)
def test_what_is_no_run_is_left_out_and_the_others_listed(
    github: GitHubServer, strange: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listed = {"total_count": 2, "workflow_runs": [strange, run_payload(1)]}
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = Answer(listed)
    with caplog.at_level(logging.WARNING):
        assert keys(find(github)) == [("1", 1)]
    assert "1 entries of the runs of acme/shop are no runs" in caplog.text


def test_fields_of_wrong_types_and_hostile_texts_stop_nothing(github: GitHubServer, tmp_path: Path) -> None:
    wrong: Any
    for number, wrong in enumerate(({"a": 1}, [1], 5, True, "\x00", "\ud800", "x" * 100_000), start=1):
        names = ("name", "path", "event", "conclusion", "head_branch", "head_sha", "run_started_at", "updated_at")
        more = ("actor", "pull_requests", "repository", "head_repository")
        run = github.add(run_payload(number, **dict.fromkeys((*names, *more), wrong)))
        github.add_artifact(run, wrong, zipped({"r.xml": REPORT.format("t")}), created_at=wrong)
        github.jobs[run, 1] = [wrong, {"completed_at": wrong}]
    github.add(run_payload(99))
    read = rows(collect(github, tmp_path))
    assert "99" in read["runs"]["run_id"].tolist()
    assert len(downloaded(github, tmp_path)) == 8


@pytest.mark.parametrize(
    "body", [None, [], 5, {}, {"total_count": "many", "workflow_runs": []}, b"<html>", b"[" * 99_999]
)
def test_what_is_no_listing_is_an_error_that_says_so(github: GitHubServer, body: Any) -> None:
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = Answer(body)
    with pytest.raises(SourceError, match="right would be"):
        find(github)


def test_pages_that_lead_to_another_host_are_not_followed(github: GitHubServer) -> None:
    link = f'<http://{github.store}/store/1>; rel="next"'
    listed = Answer({"total_count": 0, "workflow_runs": []}, 200, {"Link": link})
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = listed
    with pytest.raises(SourceError, match="lead away"):
        find(github)
    assert len(github.asked) == 1


def test_pages_without_an_end_are_an_error(github: GitHubServer) -> None:
    path = f"/repos/{REPOSITORY}/actions/runs"
    link = {"Link": f'<{github.url}{path}>; rel="next"'}
    github.special[path] = Answer({"total_count": 0, "workflow_runs": []}, 200, link)
    with pytest.raises(SourceError, match="more than 300 pages"):
        find(github)
