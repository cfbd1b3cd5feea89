"""Test reports and artifacts of a pipeline."""

import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml.sources import Limits
from tests.ml.sources.gitlab.collecting import DAYS, REPORT, Open, zipped
from tests.ml.sources.gitlab.server import TOKEN, Project, case, job, suite
from tests.ml.sources.replay_server import Answer, ReplayServer, Request, serving
from tests.ml.sources.server_builders import collect


def test_a_duration_that_is_not_told_is_null(opened: Open, tmp_path: Path) -> None:
    results = collect(opened(), tmp_path).frames["test_results"]
    told = dict(zip(results["run_id"], results["duration_s"], strict=True))
    assert told["1001"] == 0.5
    assert pd.isna(told["1002"])


def test_artifacts_are_unpacked_with_the_name_of_their_job_as_variant(
    opened: Open, project: Project, server: ReplayServer, tmp_path: Path
) -> None:
    project.jobs = {
        "1001": [
            job(1, "rspec", retried=True, status="failed"),
            job(2, "rspec"),
            job(3, "lint"),
            job(4, "jest linux"),
            job(5, "jest mac", artifacts_file=None, artifacts_expire_at=None),
        ]
    }
    manifest = '{"run_id": "spoofed", "project": "other", "commit_sha": "a", "started_at": "2026-01-01T00:00:00Z"}'
    project.archives = {
        "1": zipped(a_xml=REPORT.format("first")),
        "2": zipped(a_xml=REPORT.format("second"), notes_txt="no report", x__manifest_json=manifest),
        "3": zipped(a_xml=REPORT.format("lint")),
        "4": zipped(deep__er__a_xml=REPORT.format("third"), coverage_json="{}"),
    }
    collected = collect(opened(reports="artifacts", jobs=("rspec", "jest*")), tmp_path, DAYS[:1])
    assert collected.results == [
        ("1001", "jest linux", "C::third", "passed"),
        ("1001", "rspec", "C::first", "passed"),
        ("1001", "rspec", "C::second", "passed"),
    ]
    assert collected.run_ids == ["1001"]
    assert collected.refused.empty
    assert not any(path.endswith("/jobs/3/artifacts") for path in server.paths())


def test_artifacts_from_storage_are_asked_for_without_the_token(
    opened: Open, project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stored(_: Request) -> Answer:
        return Answer(200, zipped(a_xml=REPORT.format("t")))

    project.jobs = {"1001": [job(1, "rspec")]}
    project.archives = {"1": b"elsewhere"}
    with serving(stored) as storage, caplog.at_level(logging.DEBUG):
        project.storage = storage.url
        collected = collect(opened(reports="artifacts"), tmp_path, DAYS[:1])
        assert TOKEN not in str(storage.asked)
    assert [row[2] for row in collected.results] == ["C::t"]
    assert "s1gned" not in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (None, "artifact_gone"),
        (b"<html>sign in</html>", "damaged_archive"),
        (b"", "damaged_archive"),
        (zipped(a_xml=REPORT.format("t"))[:60], "damaged_archive"),
    ],
    ids=["gone", "page", "empty", "cut"],  # a zip holds the time it was made at
)
def test_artifacts_that_are_gone_or_damaged_are_a_refusal_and_the_run_stays(
    archive: bytes | None, reason: str, opened: Open, project: Project, tmp_path: Path
) -> None:
    project.jobs = {"1001": [job(1, "rspec")]}
    project.archives = {} if archive is None else {"1": archive}
    collected = collect(opened(reports="artifacts"), tmp_path, DAYS[:1])
    assert collected.run_ids == ["1001"]
    assert collected.reasons == [reason]


def test_artifacts_that_expired_say_until_when_they_were_kept(opened: Open, project: Project, tmp_path: Path) -> None:
    project.jobs = {"1001": [job(1, "rspec", artifacts_file=None)]}
    collected = collect(opened(reports="artifacts"), tmp_path, DAYS[:1])
    assert list(collected.refused["value"]) == ["rspec, kept until 2026-04-01T08:00:40.000Z"]


def test_hostile_archives_lose_their_hostile_entries_only(opened: Open, project: Project, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../outside.xml", REPORT.format("t"))
        archive.writestr("good.xml", REPORT.format("t"))
        archive.writestr("bomb.xml", " " * 15_000_000)
    project.jobs = {"1001": [job(1, "../rspec")]}
    project.archives = {"1": buffer.getvalue()}
    collected = collect(opened(reports="artifacts"), tmp_path / "landing", DAYS[:1])
    assert collected.results == [("1001", "../rspec", "C::t", "passed")]
    assert collected.reasons == ["path_outside_archive", "payload_too_large"]
    assert not list(tmp_path.parent.rglob("outside.xml"))


def test_twenty_thousand_cases_are_twenty_thousand_results(opened: Open, project: Project, tmp_path: Path) -> None:
    cases = [case(f"t{number}") for number in range(20_000)]
    project.reports["1001"] = {"test_suites": [suite("all", *cases)]}
    assert len(collect(opened(), tmp_path, DAYS[:1]).frames["test_results"]) == 20_000


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ([], "malformed_json"),
        ("text", "malformed_json"),
        ({"test_suites": [suite("s", case("t", stack_trace="x" * 20_000))]}, "payload_too_large"),
    ],
)
def test_a_test_report_that_cannot_be_read_is_a_refusal_of_its_run(
    report: Any, reason: str, opened: Open, project: Project, tmp_path: Path
) -> None:
    project.reports["1001"] = report
    collected = collect(opened(), tmp_path, limits=Limits(10_000, "salt"))
    assert collected.run_ids == ["1001", "1002", "1003"]
    assert collected.reasons == [reason]


def test_a_test_report_that_is_gone_is_a_refusal_of_its_run(opened: Open, project: Project, tmp_path: Path) -> None:
    del project.reports["1001"]
    collected = collect(opened(), tmp_path, DAYS[:1])
    assert (collected.run_ids, collected.reasons) == (["1001"], ["artifact_gone"])


def test_an_archive_beyond_all_measure_is_not_read_to_its_end(opened: Open, project: Project, tmp_path: Path) -> None:
    project.jobs = {"1001": [job(1, "rspec")]}
    project.archives = {"1": b"PK\x03\x04" + b"x" * 500_000}
    collected = collect(opened(reports="artifacts"), tmp_path, DAYS[:1], limits=Limits(10_000, "salt"))
    assert (collected.run_ids, collected.reasons) == (["1001"], ["payload_too_large"])


def test_a_suite_that_is_too_large_to_land_is_a_refusal(opened: Open, project: Project, tmp_path: Path) -> None:
    # As JSON it passes: brackets take more room in XML.
    project.reports["1001"] = {"test_suites": [suite("s", case("<" * 3_000), case("<" * 2_999))]}
    collected = collect(opened(), tmp_path, DAYS[:1], limits=Limits(10_000, "salt"))
    assert (collected.reasons, collected.results) == (["payload_too_large"], [])
