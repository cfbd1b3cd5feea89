"""What is broken, hostile or killed half-way is told, and the rest goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml import schemas
from ml.sources import Limits
from tests.history_builders import write_report, write_run
from tests.ml.sources.junit_builders import LIMITS, collect


@pytest.fixture
def history(tmp_path: Path) -> Path:
    folder = tmp_path / "history"
    folder.mkdir()
    return folder


def test_the_authors_name_and_unknown_fields_never_land(history: Path) -> None:
    write_run(history / "r1", author="Ada Lovelace", author_email="ada@example.org")
    broken = write_run(history / "r2") / "manifest.json"
    broken.write_text('{"author": "Ada Lovelace", ')
    listed = write_run(history / "r3", "r3", author="Ada Lovelace", reports=[{"path": "manifest.json"}])
    assert listed.exists()
    read = collect(history)
    landed = [path for path in (history.parent / "landing").rglob("*") if path.is_file()]
    assert len(landed) > 3
    for path in landed:
        assert b"Ada" not in path.read_bytes()
        assert b"ada@" not in path.read_bytes()
    assert "Ada" not in read.refused.to_json()


def test_the_salt_does_not_show() -> None:
    assert "pepper" not in repr(Limits(1, "pepper"))


def test_a_broken_manifest_is_refused_with_its_reports_and_the_rest_goes_on(history: Path) -> None:
    write_report(write_run(history / "bad") / "a.xml")
    (history / "bad" / "manifest.json").write_text("{")
    write_report(write_run(history / "good") / "a.xml")
    read = collect(history)
    assert read.run_ids == ["r1"]
    assert read.reasons == [("malformed_manifest", "bad/manifest.json"), ("manifest_refused", "bad/a.xml")]


def test_a_missing_field_is_refused_by_name(history: Path) -> None:
    write_report(write_run(history / "x", commit_sha=None) / "a.xml")
    write_run(history / "y", started_at=None)
    read = collect(history)
    assert read.run_ids == []
    told = read.refused[["reason", "column", "contract", "project", "payload"]].to_numpy().tolist()
    assert sorted(told, key=str) == [
        ["manifest_refused", None, "test_results", "p", "x/a.xml"],
        ["missing_field", "commit_sha", "runs", "p", "x/manifest.json"],
        ["missing_field", "started_at", "runs", "p", "y/manifest.json"],
    ]


def test_reports_without_a_manifest_land_and_are_refused(history: Path) -> None:
    write_run(history / "r1")
    write_report(history / "stray" / "a.xml")
    read = collect(history)
    assert read.reasons == [("missing_manifest", "stray/a.xml")]
    assert read.batches[-1].project == "unknown"
    assert (Path(read.batches[-1].folder) / "payloads" / "stray" / "a.xml").exists()


def test_refusals_of_a_report_name_its_payload_and_keep_the_rest(history: Path) -> None:
    run = write_run(history / "r1")
    write_report(run / "good.xml")
    (run / "cut.xml").write_text('<testsuite name="S"><testcase name="kept"/><testcase')
    (run / "empty.xml").write_text("")
    (run / "bomb.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>')
    (run / "latin.xml").write_bytes(b'<testsuite><testcase name="\xe9"/></testsuite>')
    (run / "deep.xml").write_text("<testsuite>" * 200)
    (run / "none.xml").write_text("<testsuite/>")
    read = collect(history)
    assert [test for _, _, test in read.results] == ["S::kept", "S::t"]
    assert read.reasons == [
        ("empty_payload", "r1/empty.xml"),
        ("forbidden_dtd", "r1/bomb.xml"),
        ("no_tests", "r1/none.xml"),
        ("too_deep", "r1/deep.xml"),
        ("truncated_xml", "r1/cut.xml"),
        ("undecodable", "r1/latin.xml"),
    ]
    assert list(read.refused) == [name for name in schemas.columns(schemas.RejectedRows) if name != "batch_id"]


def test_a_payload_that_is_too_large_is_refused_and_does_not_land(history: Path) -> None:
    run = write_run(history / "r1")
    write_report(run / "good.xml")
    (run / "huge.xml").write_text("<testsuite>" + " " * 10_000 + "</testsuite>")
    write_run(history / "r2", "r2", branch="b" * 10_000)
    read = collect(history)
    assert read.reasons == [("payload_too_large", "r1/huge.xml"), ("payload_too_large", "r2/manifest.json")]
    assert not list((history.parent / "landing").rglob("huge.xml"))


@pytest.mark.parametrize("path", ["../other/a.xml", "/etc/passwd", "x/../../secret.xml", "a\x00.xml"])
def test_a_listed_path_that_leaves_the_run_is_refused_unread(history: Path, path: str) -> None:
    write_report(history.parent / "secret.xml", "secret")
    write_report(history / "other" / "a.xml", "secret")
    write_report(write_run(history / "r1", reports=[{"path": path, "variant": "v"}]) / "good.xml")
    read = collect(history, limits=LIMITS)
    assert ("path_outside_run", "r1/manifest.json") in read.reasons
    assert [test for _, _, test in read.results] == ["S::t"]


def test_a_listed_report_that_is_missing_is_told(history: Path) -> None:
    write_run(history / "r1", reports=[{"path": "gone.xml"}, {"path": "n" * 300}])
    assert collect(history).reasons == [("missing_report", "r1/manifest.json")] * 2


def test_links_that_leave_the_run_are_refused_and_links_inside_it_are_read(history: Path) -> None:
    secret = write_report(history.parent / "outside" / "secret.xml", "secret")
    run = write_run(history / "r1")
    inside = write_report(run / "a" / "real.xml", "real")
    (run / "b").mkdir()
    (run / "b" / "same.xml").symlink_to(inside)
    (run / "file.xml").symlink_to(secret)
    (run / "folder").symlink_to(secret.parent, target_is_directory=True)
    (run / "loop.xml").symlink_to(run / "loop.xml")
    linked = history / "r2"
    linked.mkdir()
    (linked / "manifest.json").symlink_to(history.parent / "outside" / "manifest.json")
    write_run(secret.parent, "outside")
    read = collect(history)
    assert read.results == [("r1", "a", "S::real"), ("r1", "b", "S::real")]
    assert read.reasons == [
        ("path_outside_run", "r1/file.xml"),
        ("path_outside_run", "r1/folder"),
        ("path_outside_run", "r1/loop.xml"),
        ("path_outside_run", "r2/manifest.json"),
    ]


def test_a_named_pipe_is_not_waited_for(history: Path) -> None:
    os.mkfifo(write_run(history / "r1") / "pipe.xml")
    os.mkfifo(write_run(history / "r2") / "x")
    (history / "r2" / "manifest.json").unlink()
    os.mkfifo(history / "r2" / "manifest.json")
    assert collect(history).reasons == [("not_a_file", "r1/pipe.xml"), ("path_outside_run", "r2/manifest.json")]


def test_a_folder_name_that_is_no_utf8_is_still_read(history: Path) -> None:
    run = write_run(history / "r1")
    folder = os.fsencode(run) + b"/caf\xe9"
    os.mkdir(folder)
    with open(folder + b"/a.xml", "wb") as report:
        report.write(b'<testsuite name="S"><testcase name="t"/></testsuite>')
    assert collect(history).results == [("r1", "caf?", "S::t")]


KILLED = """
import os, sys
from pathlib import Path
from ml.sources import landing
from ml.sources.junit import JUnit
from ml.sources.source import Limits
from ml.spec import Interval
write = landing._write
def write_then_die(content, target):
    write(content, target)
    if target.name == "a.xml":
        os._exit(9)
landing._write = write_then_die
list(JUnit(Path(sys.argv[1]), Path(sys.argv[2]), Limits(10_000, "salt")).fetch(Interval()))
"""


@pytest.mark.slow
def test_a_collector_killed_while_landing_leaves_no_batch_and_the_next_one_finishes(history: Path) -> None:
    write_report(write_run(history / "r1") / "a.xml")
    landing = history.parent / "landing"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(history), str(landing)], check=False, timeout=60)
    assert killed.returncode == 9
    assert not list(landing.rglob("batch.json"))
    (batch,) = collect(history).batches
    assert {path.name for path in (landing / "junit").iterdir()} == {batch.batch_id, ".lock"}
