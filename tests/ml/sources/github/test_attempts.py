"""Attempts of a run that was started again."""

from pathlib import Path

import pytest

from ml.sources import Known, Surroundings
from ml.sources.ci_server import CiServer
from tests.ml.sources.github.collecting import LIMITS, NEW_YEAR, downloaded, find, opened, rows
from tests.ml.sources.github.server import (
    REPORT,
    GitHubServer,
    run_payload,
    zipped,
)

pytestmark = pytest.mark.slow


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
        source = CiServer(actions, Surroundings(tmp_path, LIMITS, Known({("1", 1), ("1", 2)})))
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
