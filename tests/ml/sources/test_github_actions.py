"""A repository on GitHub becomes rows: listing, attempts, artifacts, changes, refusals, faults and secrets."""

import logging
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ml.errors import SourceError
from ml.sources import Limits, http
from ml.sources.ci_server import BATCH_RUNS, CiServer, Downloaded, ServerRun
from ml.sources.github import api as github_api
from ml.sources.github import runs as github_runs
from ml.sources.github.actions import GitHubActions, Options
from ml.sources.http import PatientTransport
from ml.spec import Batch, Interval
from tests.ml.sources.github_server import (
    REPORT,
    REPOSITORY,
    SIGNATURE,
    TOKEN,
    Answer,
    GitHubServer,
    replay,
    run_payload,
    zipped,
)

pytestmark = pytest.mark.slow

LIMITS = Limits(max_payload_bytes=50_000_000, author_salt="salt")
SHARED = Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
RECORDED = SHARED / "github_payloads" / "ozone-2022-02-03.tar.xz"
NEW_YEAR = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
Rows = dict[str, pd.DataFrame]


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with GitHubServer() as server:
        yield server


def opened(
    server: GitHubServer, secret: str = TOKEN, slept: list[float] | None = None, **options: Any
) -> GitHubActions:
    given = {"kind": "github_actions", "project": "p", "url": server.url, "repository": server.repository, **options}
    transport = PatientTransport(sleep=(slept if slept is not None else []).append)
    return GitHubActions(Options.model_validate(given), secret, transport)


def find(server: GitHubServer, interval: Interval = NEW_YEAR, **options: Any) -> list[ServerRun]:
    with opened(server, **options) as actions:
        return list(actions.find(interval))


def keys(runs: list[ServerRun]) -> list[tuple[str, int]]:
    return [(run.run_id, run.attempt) for run in runs]


def downloaded(server: GitHubServer, folder: Path, **options: Any) -> list[Downloaded]:
    """What each attempt's own folder holds."""
    with opened(server, **options) as actions:
        found = []
        for run in actions.find(NEW_YEAR):
            place = folder / f"{run.run_id}-{run.attempt}"
            place.mkdir()
            found.append(actions.download(run, place, 100_000))
        return found


def the_document(server: GitHubServer, folder: Path, **options: Any) -> dict[str, Any]:
    (found,) = downloaded(server, folder, **options)
    return found.document


def collect(server: GitHubServer, landing: Path, *spans: Interval, slept: list[float] | None = None) -> list[Batch]:
    with opened(server, slept=slept) as actions:
        source = CiServer(actions, landing, LIMITS)
        return [batch for span in spans or (NEW_YEAR,) for batch in source.fetch(span)]


def rows(batches: list[Batch]) -> Rows:
    """The rows of all batches, in one order."""
    with GitHubServer() as idle, opened(idle) as actions:
        source = CiServer(actions, Path(), LIMITS)
        parsed = [source.read(batch, LIMITS) for batch in batches]
    merged = {}
    for name in parsed[0].frames:
        frame = pd.concat([one.frames[name].astype(object) for one in parsed], ignore_index=True).drop_duplicates()
        merged[name] = frame.sort_values(list(frame), key=lambda column: column.astype(str)).reset_index(drop=True)
    return merged


def assert_same(left: Rows, right: Rows) -> None:
    assert left.keys() == right.keys()
    for name, frame in left.items():
        pd.testing.assert_frame_equal(frame, right[name])


def shop(server: GitHubServer, runs: int = 3) -> None:
    """Runs 1, 2, ... at noon, one minute apart, each with a report `S::t<number>` and a changed file."""
    for number in range(1, runs + 1):
        run = server.add(run_payload(number, f"2026-01-01T{12 + number // 60:02}:{number % 60:02}:00Z"))
        server.add_artifact(run, "linux", zipped({f"out/TEST-{number}.xml": REPORT.format(f"t{number}")}))
        server.commits[f"{number:040x}"] = [{"filename": f"src/{number}.py", "additions": 2, "deletions": 1}]


# --- from a run to its rows ---


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


# --- changes ---


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


# --- artifacts ---


@pytest.mark.parametrize("is_listed_as_expired", [True, False])
def test_an_artifact_that_is_gone_is_refused_by_name_and_the_run_collected(
    github: GitHubServer, tmp_path: Path, *, is_listed_as_expired: bool
) -> None:
    shop(github, 1)
    number = github.add_artifact(1, "mac", b"", expired=is_listed_as_expired)
    del github.stored[number]
    (found,) = downloaded(github, tmp_path)
    (refusal,) = found.refused
    assert (refusal.reason, refusal.payload, refusal.contract) == ("artifact_gone", "mac", "test_results")
    assert refusal.value == "mac, expires 2026-04-01T08:30:00Z"
    assert [report["variant"] for report in found.document["reports"]] == ["linux"]


def test_a_refusal_lands_with_the_run_it_belongs_to(github: GitHubServer, tmp_path: Path) -> None:
    shop(github, 1)
    github.add_artifact(1, "mac", b"", expired=True)
    (batch,) = collect(github, tmp_path)
    with opened(github) as actions:
        refused = CiServer(actions, tmp_path, LIMITS).read(batch, LIMITS).refused
    assert refused[["reason", "payload"]].to_numpy().tolist() == [["artifact_gone", "0001/mac"]]


def test_only_artifacts_of_the_wanted_names_are_fetched(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1))
    for name in ("junit-linux", "junit-mac", "binaries"):
        github.add_artifact(1, name, zipped({"r.xml": REPORT.format("t")}))
    document = the_document(github, tmp_path, artifacts=("junit-*",))
    assert [report["variant"] for report in document["reports"]] == ["junit-linux", "junit-mac"]
    assert len([asked for asked in github.asked if asked.host == github.store]) == 2


def test_reports_are_known_by_their_endings_and_json_by_what_it_announces(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1))
    ctrf = '{"reportFormat": "CTRF", "results": {"tool": {"name": "x"}, "tests": []}}'
    files = {"a.xml": "<testsuite/>", "b.TRX": "<x/>", "c.json": ctrf, "d.json": '{"results": 1}', "e.log": "text"}
    github.add_artifact(1, "all", zipped(files))
    document = the_document(github, tmp_path)
    assert [report["path"] for report in document["reports"]] == ["0001/a.xml", "0001/b.TRX", "0001/c.json"]


def test_a_manifest_in_an_artifact_is_no_run(github: GitHubServer, tmp_path: Path) -> None:
    shop(github, 1)
    forged = (
        '{"reportFormat": "CTRF", "run_id": "forged", "project": "other", "commit_sha": "x", '
        '"started_at": "2026-01-01T00:00:00Z"}'
    )
    github.add_artifact(1, "evil", zipped({"manifest.json": forged, "deep/manifest.json": forged, "r.xml": "<a/>"}))
    batches = collect(github, tmp_path)
    assert [batch.project for batch in batches] == ["p"]
    assert rows(batches)["runs"]["run_id"].tolist() == ["1"]


def test_hostile_archives_are_refused_and_the_rest_is_read(github: GitHubServer, tmp_path: Path) -> None:
    shop(github, 1)
    github.add_artifact(1, "slip", zipped({"../../out.xml": "<a/>", "in.xml": REPORT.format("t")}))
    github.add_artifact(1, "bomb", zipped({"b.xml": b"\0" * 30_000_000}))
    github.add_artifact(1, "page", b"<html>sign in</html>")
    (found,) = downloaded(github, tmp_path)
    assert [(one.reason, one.payload) for one in found.refused] == [
        ("path_outside_archive", "slip/../../out.xml"),
        ("payload_too_large", "bomb/b.xml"),
        ("damaged_archive", "page"),
    ]
    assert [report["path"] for report in found.document["reports"]] == ["0001/out/TEST-1.xml", "0002/in.xml"]


def test_an_artifact_kept_at_a_strangers_address_is_not_asked_for(github: GitHubServer, tmp_path: Path) -> None:
    github.add(run_payload(1))
    for url in (f"http://{github.store}/store/1", "file:///etc/passwd", None, 5):
        github.add_artifact(1, "x", b"", archive_download_url=url)
    (found,) = downloaded(github, tmp_path)
    assert [one.reason for one in found.refused] == ["artifact_elsewhere"] * 4
    assert {asked.host for asked in github.asked} == {github.url.removeprefix("http://")}


# --- attempts ---


def rerun(server: GitHubServer) -> None:
    """Run 1 in three attempts, at 8, 9 and 10 o'clock, with an artifact of each."""
    attempts = [
        run_payload(1, run_attempt=number, run_started_at=f"2026-01-01T{7 + number:02}:00:00Z", conclusion=conclusion)
        for number, conclusion in ((1, "failure"), (2, "cancelled"), (3, "success"))
    ]
    server.attempts = {(1, number): payload for number, payload in enumerate(attempts, start=1)}
    server.add(attempts[-1])
    for number in (1, 2, 3):
        server.add_artifact(
            1, f"of {number}", zipped({"r.xml": REPORT.format("t")}), created_at=f"2026-01-01T{7 + number:02}:30:00Z"
        )


def test_every_attempt_has_its_own_status_start_and_artifacts(github: GitHubServer, tmp_path: Path) -> None:
    rerun(github)
    found = [one.document for one in downloaded(github, tmp_path)]
    assert [(one["attempt"], one["status"], one["started_at"][11:16]) for one in found] == [
        (1, "failure", "08:00"),
        (2, "cancelled", "09:00"),
        (3, "success", "10:00"),
    ]
    assert [[report["variant"] for report in one["reports"]] for one in found] == [["of 1"], ["of 2"], ["of 3"]]


def test_earlier_attempts_of_a_run_that_runs_again_are_finished(github: GitHubServer) -> None:
    github.add(run_payload(1, run_attempt=3, status="in_progress"))
    assert [(run.attempt, run.is_finished) for run in find(github)] == [(1, True), (2, True), (3, False)]


def test_a_later_attempt_is_collected_beside_what_is_known(github: GitHubServer, tmp_path: Path) -> None:
    rerun(github)
    with opened(github) as actions:
        source = CiServer(actions, tmp_path, LIMITS, known={("1", 1), ("1", 2)})
        read = rows(list(source.fetch(NEW_YEAR)))
    assert read["runs"]["attempt"].tolist() == [3]
    assert read["test_results"]["variant"].tolist() == ["of 3"]


def test_an_attempt_that_is_gone_is_refused_and_the_others_kept_apart(github: GitHubServer, tmp_path: Path) -> None:
    rerun(github)
    del github.attempts[1, 2]
    first, second, third = downloaded(github, tmp_path)
    assert [refusal.reason for refusal in second.refused] == ["attempt_gone"]
    assert (second.document["status"], second.document.get("reports")) == (None, None)
    assert [report["variant"] for report in third.document["reports"]] == ["of 3"]
    assert [report["variant"] for report in first.document["reports"]] == ["of 1", "of 2"]


# --- listing ---


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


# --- refusals, limits and faults of the server ---


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
    options = Options(kind="github_actions", project="p", url=url, repository=REPOSITORY)  # type: ignore[arg-type]
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
        killed = CiServer(actions, tmp_path / "landing", LIMITS).fetch(NEW_YEAR)
        landed = next(killed)
        killed.close()  # type: ignore[attr-defined]
    known = {(str(run), int(attempt)) for run, attempt in rows([landed])["runs"][["run_id", "attempt"]].to_numpy()}
    assert len(known) == BATCH_RUNS
    with opened(github) as actions:
        rest = list(CiServer(actions, tmp_path / "landing", LIMITS, known).fetch(NEW_YEAR))
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
        list(CiServer(actions, tmp_path, LIMITS).fetch(NEW_YEAR))
    assert len(watched.limits) == len(github.asked)
    assert all(limit == http.TIMEOUT.as_dict() for limit in watched.limits)


def test_options_are_read_without_the_client_library() -> None:
    told = "import sys, ml.sources.github.actions; print('githubkit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout == "False\n"


# --- secrets ---


def test_the_token_goes_to_the_api_only_and_into_no_record_and_no_error(
    github: GitHubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop(github, 1)
    with caplog.at_level(logging.DEBUG):
        collect(github, tmp_path)
        github.faults = ["500", "cut", "429"]
        collect(github, tmp_path)
        github.special[f"/repos/{REPOSITORY}/actions/runs"] = Answer({"message": TOKEN}, 403)
        with pytest.raises(SourceError) as raised:
            find(github)
    sent = {asked.host: TOKEN in asked.headers.get("authorization", "") for asked in github.asked}
    assert sent == {github.url.removeprefix("http://"): True, github.store: False}
    chain: BaseException | None = raised.value
    while chain is not None:
        assert TOKEN not in repr(chain)
        chain = chain.__cause__
    assert TOKEN not in caplog.text
    assert SIGNATURE not in caplog.text
    assert TOKEN not in repr(vars(raised.value))


def test_an_answer_that_redirects_to_another_host_does_not_take_the_token_along(github: GitHubServer) -> None:
    github.stored[1] = b"{}"
    moved = Answer(None, 302, {"Location": f"http://{github.store}/store/1"})
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = moved
    with pytest.raises(SourceError, match="right would be an object with total_count"):
        find(github)
    assert [TOKEN in asked.headers.get("authorization", "") for asked in github.asked] == [True, False]


def test_a_repository_that_was_renamed_is_read_at_its_new_name(github: GitHubServer) -> None:
    listed = {"total_count": 1, "workflow_runs": [run_payload(1)]}
    github.special["/repositories/5/actions/runs"] = Answer(listed)
    moved = Answer(None, 301, {"Location": f"{github.url}/repositories/5/actions/runs"})
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = moved
    assert keys(find(github)) == [("1", 1)]
    assert all(TOKEN in asked.headers["authorization"] for asked in github.asked)


def test_a_store_that_refuses_is_named_without_its_signature(github: GitHubServer, tmp_path: Path) -> None:
    shop(github, 1)
    github.special["/store/9000"] = Answer({}, 403)
    with pytest.raises(SourceError, match="answered 403 for /store/9000, where it keeps an artifact") as raised:
        downloaded(github, tmp_path)
    assert SIGNATURE not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("token", ["ghs_a b", "ghs_a\nb", "ghs_\N{SNOWMAN}"])
def test_a_token_that_can_be_none_is_refused_unsent(github: GitHubServer, token: str) -> None:
    with pytest.raises(SourceError, match="right would be one line of text") as raised:
        find(github, secret=token)
    assert token not in str(raised.value)
    assert github.asked == []


def test_line_ends_around_a_token_do_no_harm(github: GitHubServer) -> None:
    github.add(run_payload(1))
    assert keys(find(github, secret=f"{TOKEN}\n")) == [("1", 1)]


def test_without_a_token_nobody_signs_in(github: GitHubServer) -> None:
    github.add(run_payload(1))
    github.tokens = {""}
    assert keys(find(github, secret="")) == [("1", 1)]
    assert "authorization" not in github.asked[0].headers


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def test_an_app_signs_in_with_its_key_for_the_repositorys_installation(
    github: GitHubServer, tmp_path: Path, key: rsa.RSAPrivateKey
) -> None:
    shop(github, 2)
    github.app_key = key.public_key()
    github.faults = ["500", "", "500"]
    (first, second) = downloaded(github, tmp_path, secret=pem(key), app_id=12)
    assert [first.document["run_id"], second.document["run_id"]] == ["1", "2"]
    signed = [asked.path for asked in github.asked if asked.headers.get("authorization", "").startswith("Bearer")]
    assert signed == [f"/repos/{REPOSITORY}/installation"] * 2 + ["/app/installations/77/access_tokens"] * 2


def test_what_is_no_private_key_is_said_without_it(github: GitHubServer) -> None:
    with pytest.raises(SourceError, match="no private key of a GitHub App") as raised:
        find(github, secret="-----BEGIN nonsense", app_id=12)
    assert "nonsense" not in str(raised.value)


def test_an_app_whose_key_is_another_is_told_so(github: GitHubServer, key: rsa.RSAPrivateKey) -> None:
    path = f"/repos/{REPOSITORY}/installation"
    github.special[path] = Answer({"message": "A JSON web token could not be decoded"}, 401)
    github.app_key = key.public_key()
    with pytest.raises(SourceError, match="the key is not the App's"):
        find(github, secret=pem(key), app_id=12)


def test_an_app_that_gets_no_token_is_told_so(github: GitHubServer, key: rsa.RSAPrivateKey) -> None:
    github.app_key = key.public_key()
    github.special["/app/installations/77/access_tokens"] = Answer({"message": "suspended"}, 403)
    with pytest.raises(SourceError, match="answered 403 for /app/installations/77/access_tokens"):
        find(github, secret=pem(key), app_id=12)


# --- test() and options ---


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
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "collect-from-github.md").read_text()
    example = page.split('```toml title="fourgate.toml"\n')[1].split("```")[0]
    assert Options.model_validate(tomllib.loads(example)["source"]["shop"]).artifacts == ("junit-*",)
    assert {name for name in Options.model_fields if f"| `{name}` |" not in page} == {"kind"}


def test_the_address_of_github_is_the_default() -> None:
    options = Options.model_validate({"kind": "github_actions", "project": "p", "repository": "acme/shop.js"})
    assert str(options.url) == "https://api.github.com/"


# --- recorded payloads ---


@pytest.fixture(scope="module")
def recorded() -> Iterator[GitHubServer]:
    if not RECORDED.is_file():
        pytest.skip("FOURGATE_REAL_DATA holds no github_payloads")
    with GitHubServer("apache/ozone", listed_at_most=100) as server:
        assert replay(server, RECORDED) == 249
        yield server


SPRING = Interval(datetime(2022, 2, 1, tzinfo=UTC), datetime(2022, 4, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def whole(recorded: GitHubServer, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(github_runs, "LISTED_AT_MOST", 100)
        return rows(collect(recorded, tmp_path_factory.mktemp("whole"), SPRING))


def test_recorded_runs_come_whole_in_spite_of_the_cap(recorded: GitHubServer, whole: Rows) -> None:
    assert set(whole["runs"]["run_id"]) == {str(number) for number in recorded.runs}
    assert whole["runs"]["finished_at"].notna().all()
    assert len(whole["changed_files"]) == sum(run["event"] == "push" for run in recorded.runs.values())
    assert len(whole["test_results"]) > 100
    assert set(whole["test_results"]["outcome"]) == {"passed", "failed", "error", "skipped"}
    with_reports = {str(run) for run, listed in recorded.artifacts.items() if listed}
    assert set(whole["test_results"]["run_id"]) == with_reports


def test_recorded_runs_in_pieces_with_faults_give_the_same_rows(
    recorded: GitHubServer, whole: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_runs, "LISTED_AT_MOST", 100)
    start, week = datetime(2022, 2, 1, tzinfo=UTC), timedelta(days=7)
    weeks = [Interval(start + number * week, min(start + (number + 1) * week, SPRING.end)) for number in range(9)]
    recorded.faults = ["", "", "500", "", "cut", "", "", "429"] * 200
    assert_same(rows(collect(recorded, tmp_path, *weeks)), whole)
    recorded.faults = []


def test_recorded_runs_after_a_kill_and_from_the_start_give_the_same_rows(
    recorded: GitHubServer, whole: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_runs, "LISTED_AT_MOST", 100)
    with opened(recorded) as actions:
        killed = CiServer(actions, tmp_path, LIMITS).fetch(SPRING)
        landed = next(killed)
        killed.close()  # type: ignore[attr-defined]
    batches = collect(recorded, tmp_path, SPRING)
    assert landed in batches
    assert_same(rows([landed, *batches]), whole)
