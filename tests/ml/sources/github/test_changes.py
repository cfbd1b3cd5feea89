"""Which change a run tested, and its files."""

from pathlib import Path
from typing import Any

import pytest

from tests.ml.sources.github.collecting import NEW_YEAR, downloaded, keys, opened, the_document
from tests.ml.sources.github.server import (
    REPOSITORY,
    Answer,
    GitHubServer,
    run_payload,
)

pytestmark = pytest.mark.slow


def test_a_pull_request_is_the_change_with_both_names_of_a_renamed_file(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1, event="pull_request", pull_requests=[{"number": 7}]))
    renamed = {"filename": "new.py", "previous_filename": "old.py", "status": "renamed", "additions": 1, "deletions": 2}
    github.pulls[7] = [{"filename": "a.py", "additions": 5, "deletions": 0}, renamed]
    document = the_document(github, tmp_path)
    assert document["change_id"] == "PR-7"
    assert [tuple(file.values()) for file in document["changed_files"]] == [
        ("a.py", 5, 0, "pull_request"),
        ("new.py", 1, 2, "pull_request"),
        ("old.py", None, None, "pull_request"),
    ]


BASE = "ba5e" * 10


def test_files_are_those_of_the_commit_that_ran_and_not_of_later_ones(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1, event="pull_request", pull_requests=[{"number": 7, "base": {"sha": BASE}}]))
    github.compared[f"{BASE}...{1:040x}"] = [{"filename": "a.py", "additions": 5, "deletions": 0}]
    github.pulls[7] = [{"filename": "a.py"}, {"filename": "later.py"}]
    document = the_document(github, tmp_path)
    assert document["change_id"] == "PR-7"
    assert [tuple(file.values()) for file in document["changed_files"]] == [("a.py", 5, 0, "compare")]


@pytest.mark.parametrize("count", [0, 300])
def test_a_comparison_that_may_not_tell_all_gives_way_to_the_pull_request(
    github: GitHubServer, tmp_path: Path, count: int
) -> None:
    github.add(run_payload(1, event="pull_request", pull_requests=[{"number": 7, "base": {"sha": BASE}}]))
    github.compared[f"{BASE}...{1:040x}"] = [{"filename": f"{number}.py"} for number in range(count)]
    github.pulls[7] = [{"filename": "all.py"}]
    assert [file["path"] for file in the_document(github, tmp_path)["changed_files"]] == ["all.py"]


def test_files_of_several_pages_come_whole_up_to_what_github_lists(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1, pull_requests=[{"number": 7}]))
    github.pulls[7] = [{"filename": f"{number}.py"} for number in range(3_100)]
    files = the_document(github, tmp_path)["changed_files"]
    assert [file["path"] for file in files] == [f"{number}.py" for number in range(3_000)]


def test_a_fork_is_marked_and_its_pull_request_is_found_by_its_commit(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1, event="pull_request", head_repository={"full_name": "eve/shop"}))
    github.pulls_of_commits[f"{1:040x}"] = [8]
    github.pulls[8] = [{"filename": "b.py"}]
    document = the_document(github, tmp_path)
    assert (document["is_fork"], document["change_id"]) == (True, "PR-8")
    assert [file["path"] for file in document["changed_files"]] == ["b.py"]


@pytest.mark.parametrize(("head", "is_fork"), [(None, True), ({"full_name": REPOSITORY}, False)])
def test_a_deleted_fork_is_a_fork(github: GitHubServer, tmp_path: Path, head: Any, *, is_fork: bool) -> None:
    github.add(run_payload(1, head_repository=head))
    assert the_document(github, tmp_path)["is_fork"] is is_fork


@pytest.mark.parametrize("status", [404, 422])
def test_a_commit_that_is_gone_leaves_a_run_without_files(github: GitHubServer, tmp_path: Path, status: int) -> None:
    github.add(run_payload(1))
    github.special[f"/repos/{REPOSITORY}/commits/{1:040x}"] = Answer({"message": "No commit found"}, status)
    assert the_document(github, tmp_path)["changed_files"] == []


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"head_commit": {"message": "Fix the cart\n\nSigned-off-by: Ada"}, "display_title": "later"}, "Fix the cart"),
        ({"head_commit": None, "display_title": "Fix the cart"}, "Fix the cart"),
        ({"head_commit": {"message": "Merge branch 'ada/cart'"}, "display_title": "later"}, None),
        ({"head_commit": {"message": 7}}, None),
        ({}, None),
    ],
)
def test_the_title_is_the_subject_of_the_head_commit(
    github: GitHubServer, tmp_path: Path, fields: dict[str, Any], title: str | None
) -> None:
    github.add(run_payload(1, **fields))
    assert the_document(github, tmp_path)["change_title"] == title


def test_a_scheduled_run_has_no_change(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1, event="schedule"))
    github.commits[f"{1:040x}"] = [{"filename": "a.py"}]
    document = the_document(github, tmp_path)
    assert (document["change_id"], document["changed_files"]) == (None, [])


def test_what_was_asked_before_is_answered_304_and_gives_the_same(github: GitHubServer, tmp_path: Path) -> None:
    for number in (1, 2):
        github.add(run_payload(number, pull_requests=[{"number": 7}]))
    github.pulls[7] = [{"filename": "a.py", "additions": 5, "deletions": 0}]
    first, second = downloaded(github, tmp_path)
    assert [asked.status for asked in github.asked if asked.path.endswith("/files")] == [200, 304]
    assert first.document["changed_files"] == second.document["changed_files"]
    assert first.document["changed_files"][0]["path"] == "a.py"


def test_a_kept_answer_that_changed_is_read_anew(github: GitHubServer) -> None:
    github.add(run_payload(1))
    with opened(github) as actions:
        assert keys(list(actions.find(NEW_YEAR))) == [("1", 1)]
        github.add(run_payload(2, "2026-01-01T09:00:00Z"))
        assert keys(list(actions.find(NEW_YEAR))) == [("1", 1), ("2", 1)]
    assert [asked.status for asked in github.asked] == [200, 200]
