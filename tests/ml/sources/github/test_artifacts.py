"""Reports among the artifacts of a run."""

from pathlib import Path

import pytest

from ml.sources import read_batch
from tests.ml.sources.github.collecting import LIMITS, collect, downloaded, rows, shop, the_document
from tests.ml.sources.github.server import (
    REPORT,
    GitHubServer,
    run_payload,
    zipped,
)

pytestmark = pytest.mark.slow


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
    refused = read_batch(batch, LIMITS).refused
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
