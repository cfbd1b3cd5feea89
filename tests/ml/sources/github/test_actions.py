"""A run becomes rows; what a test of the source says, and its options."""

import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml.sources.github.actions import Options
from tests.ml.sources.github.collecting import collect, opened, rows, shop, the_document
from tests.ml.sources.github.server import (
    REPORT,
    REPOSITORY,
    Answer,
    GitHubServer,
    run_payload,
    zipped,
)

pytestmark = pytest.mark.slow


def test_a_run_becomes_a_row_with_its_results_and_files(github: GitHubServer, tmp_path: Path) -> None:
    run = github.add(run_payload(5, conclusion="failure", run_started_at="2026-01-01T08:00:30Z"))
    github.jobs[run, 1] = [
        {"completed_at": "2026-01-01T08:20:00Z"},
        {"completed_at": "2026-01-01T08:40:00Z"},
        {"completed_at": None},
    ]
    github.commits[f"{5:040x}"] = [{"filename": "a.py", "additions": 3, "deletions": 0}]
    github.add_artifact(run, "linux, py3.12", zipped({"deep/er/r.xml": REPORT.format("t"), "notes.txt": "no report"}))
    github.add_artifact(run, "mac", zipped({"r.xml": REPORT.format("t")}))
    read = rows(collect(github, tmp_path))
    row = read["runs"].iloc[0]
    facts = ["project", "run_id", "attempt", "workflow", "event", "branch", "commit_sha", "change_id", "status"]
    assert row[facts].tolist() == ["p", "5", 1, "tests", "push", "main", f"{5:040x}", None, "failure"]
    assert row["started_at"] == pd.Timestamp("2026-01-01T08:00:30Z")
    assert row["finished_at"] == pd.Timestamp("2026-01-01T08:40:00Z")
    assert len(row["author_id"]) == 12
    assert read["test_results"][["run_id", "variant", "test_id", "outcome"]].to_numpy().tolist() == [
        ["5", "linux, py3.12", "S::t", "passed"],
        ["5", "mac", "S::t", "passed"],
    ]
    assert read["changed_files"][["path", "added", "deleted", "change_source"]].to_numpy().tolist() == [
        ["a.py", 3, 0, "commit"]
    ]


def test_without_jobs_a_run_ends_when_it_was_last_touched(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1, updated_at="2026-01-01T09:00:00Z"))
    assert the_document(github, tmp_path)["finished_at"] == "2026-01-01T09:00:00+00:00"


def test_an_end_before_the_start_is_no_end(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1, updated_at="2025-12-31T09:00:00Z"))
    github.jobs[1, 1] = [{"completed_at": "2026-01-01T07:59:59Z"}]
    assert the_document(github, tmp_path)["finished_at"] is None


def test_a_run_without_its_own_start_started_when_it_was_created(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1, run_started_at=None))
    assert the_document(github, tmp_path)["started_at"] == "2026-01-01T08:00:00+00:00"


def test_jobs_of_several_pages_are_all_looked_at(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1))
    github.jobs[1, 1] = [
        {"completed_at": f"2026-01-01T09:{number // 60:02}:{number % 60:02}Z"} for number in range(250)
    ]
    assert the_document(github, tmp_path)["finished_at"] == "2026-01-01T09:04:09+00:00"


def test_nothing_but_the_login_names_a_person(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1, head_commit={"author": {"name": "Ada Lovelace", "email": "ada@example.org"}}))
    document = the_document(github, tmp_path)
    assert document["author"] == "ada"
    assert "Lovelace" not in repr(document)
    assert "example.org" not in repr(document)


def findings(server: GitHubServer, **options: Any) -> dict[str, tuple[bool, str]]:
    with opened(server, **options) as actions:
        return {finding.subject.split(" ")[0]: (finding.is_ok, finding.detail) for finding in actions.test()}


def test_a_test_says_what_is_there(github: GitHubServer) -> None:
    shop(github)
    github.add(run_payload(77, "2025-06-01T00:00:00Z"))
    assert findings(github) == {
        "repository": (True, "can be read; it is private"),
        "runs": (True, "4 runs, created 2025-06-01 to 2026-01-01"),
        "artifacts": (True, "3 artifacts"),
        "changed": (True, "can be read"),
        "rate": (True, "4321 of 5000 requests left until 2026-01-01 00:00:00 UTC"),
    }


def test_a_test_without_runs_artifacts_and_rate_limit(github: GitHubServer) -> None:
    github.special["/rate_limit"] = Answer({"message": "Rate limiting is not enabled."}, 404)
    found = findings(github)
    assert (found["runs"][0], found["artifacts"][0], found["rate"]) == (False, False, (True, "the server sets none"))


def test_a_test_goes_on_after_a_refusal_and_names_the_permission(github: GitHubServer) -> None:
    shop(github)
    github.special[f"/repos/{REPOSITORY}/pulls"] = Answer({"message": "Resource not accessible"}, 403)
    github.special["/rate_limit"] = Answer({"resources": {"core": {"remaining": {}, "limit": 1, "reset": 10**30}}})
    found = findings(github)
    assert found["runs"][0]
    assert found["changed"][0] is False
    assert "'Pull requests: read'" in found["changed"][1]
    assert found["rate"][0] is False


def test_a_test_with_a_wrong_token_says_so(github: GitHubServer) -> None:
    found = findings(github, secret="wrong")
    assert [is_ok for is_ok, _ in found.values()] == [False] * 5
    assert "missing or expired" in found["repository"][1]


@pytest.mark.parametrize("repository", ["shop", "acme/shop/x", "acme/..", "../x", "acme/.", "a b/c", "acme/shop?x", ""])
def test_a_repository_is_an_owner_and_a_name(repository: str) -> None:
    with pytest.raises(ValueError, match="repository"):
        Options.model_validate({"kind": "github_actions", "project": "p", "repository": repository})


def test_the_page_about_github_names_every_option_and_its_example_is_right() -> None:
    page = (Path(__file__).parents[4] / "docs" / "how-to" / "collect-from-github.md").read_text()
    example = page.split('```toml title="fourgate.toml"\n')[1].split("```")[0]
    assert Options.model_validate(tomllib.loads(example)["source"]["shop"]).artifacts == ("junit-*",)
    assert {name for name in Options.model_fields if f"| `{name}` |" not in page} == {"kind"}


def test_the_address_of_github_is_the_default() -> None:
    options = Options.model_validate({"kind": "github_actions", "project": "p", "repository": "acme/shop.js"})
    assert str(options.url) == "https://api.github.com/"
