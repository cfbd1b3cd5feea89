"""Pipelines of a GitLab server become runs: test reports, artifacts, merge requests, pages, faults, hostile answers."""

import io
import logging
import zipfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from ml.errors import SourceError
from ml.sources import Limits
from ml.sources.gitlab.server import GitLab, Options
from ml.spec import Interval
from tests.ml.sources.gitlab_server import TOKEN, Project, case, diff, job, pipeline, small, suite
from tests.ml.sources.replay_server import FAULTS, Answer, ReplayServer, Request, patient, serving
from tests.ml.sources.server_builders import Collected, collect, day, same

Open = Callable[..., GitLab]
DAYS = [Interval(day(number), day(number + 1)) for number in (1, 2, 3)]
REPORT = '<testsuite name="S"><testcase classname="C" name="{}"/></testsuite>'


@pytest.fixture
def project() -> Project:
    return small()


@pytest.fixture
def server(project: Project) -> Iterator[ReplayServer]:
    with serving(project) as server:
        yield server


@pytest.fixture
def opened(server: ReplayServer) -> Iterator[Open]:
    """Opens the project with these options; closes what it opened."""
    servers: list[GitLab] = []

    def open_it(secret: str = TOKEN, **options: Any) -> GitLab:
        known = Options.model_validate({"project": "shop", "url": server.url, "path": "acme/shop", **options})
        servers.append(GitLab(known, secret, patient()))
        return servers[-1]

    yield open_it
    for one in servers:
        with one:
            pass


def zipped(**files: str) -> bytes:
    """A zip of files; two underscores stand for a slash, a last one for the dot of the extension."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), text)
    return buffer.getvalue()


def run_row(collected: Collected, run_id: str) -> dict[str, Any]:
    runs = collected.frames["runs"].astype(object)
    row: dict[str, Any] = runs[runs["run_id"] == run_id].iloc[0].to_dict()
    return row


def test_a_pipeline_is_a_run_with_the_results_of_its_test_report(opened: Open, tmp_path: Path) -> None:
    collected = collect(opened(), tmp_path)
    assert collected.run_ids == ["1001", "1002", "1003"]
    assert collected.results == [
        ("1001", "jest", "spec.Shop::renders", "passed"),
        ("1001", "rspec 1/2", "spec.Shop::pays", "passed"),
        ("1001", "rspec 1/2", "spec.Shop::ships", "passed"),
        ("1002", "rspec 1/2", "spec.Shop::pays", "passed"),
        ("1003", "rspec 1/2", "spec.Shop::pays", "failed"),
        ("1003", "rspec 1/2", "spec.Shop::ships", "error"),
        ("1003", "rspec 1/2", "spec.Shop::waits", "skipped"),
    ]
    assert collected.refused.empty
    row = run_row(collected, "1003")
    assert len(row.pop("author_id")) == 12
    assert row == {
        "project": "shop",
        "run_id": "1003",
        "attempt": 1,
        "workflow": "Build pipeline",
        "event": "schedule",
        "branch": "main",
        "commit_sha": f"{1003:040x}",
        "change_id": None,
        "is_fork": None,
        "started_at": pd.Timestamp("2026-03-03T08:00:05Z"),
        "finished_at": pd.Timestamp("2026-03-03T08:00:45Z"),
        "status": "failed",
    }


def test_a_duration_that_is_not_told_is_null(opened: Open, tmp_path: Path) -> None:
    results = collect(opened(), tmp_path).frames["test_results"]
    told = dict(zip(results["run_id"], results["duration_s"], strict=True))
    assert told["1001"] == 0.5
    assert pd.isna(told["1002"])


def test_a_merge_request_gives_change_fork_and_both_paths_of_a_renamed_file(opened: Open, tmp_path: Path) -> None:
    server = opened()
    collected = collect(server, tmp_path)
    row = run_row(collected, "1002")
    assert (row["change_id"], row["event"], row["workflow"]) == ("MR-12", "merge_request_event", None)
    files = collected.frames["changed_files"].astype(object).where(lambda cell: cell.notna(), None)
    assert sorted(files.itertuples(index=False, name=None)) == [
        ("shop", "1001", "lib/big.rb", None, None, "commit"),
        ("shop", "1002", "a.txt", 2, 1, "merge_request"),
        ("shop", "1002", "app/basket.rb", 2, 1, "merge_request"),
        ("shop", "1002", "app/cart.rb", None, None, "merge_request"),
    ]
    (tmp_path / "run").mkdir()
    (tmp_path / "other").mkdir()
    request, push = [run for run in server.find(Interval()) if run.run_id in ("1002", "1001")][::-1]
    assert server.download(request, tmp_path / "run", 10_000).document["is_fork"] is True
    assert server.download(push, tmp_path / "other", 10_000).document["is_fork"] is None


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({}, (2, 1)),
        ({"text": "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+++b\n"}, (1, 1)),
        ({"text": ""}, (0, 0)),
        ({"text": "", "collapsed": True}, (None, None)),
        ({"text": "Binary files a/x and b/x differ\n"}, (None, None)),
        ({"text": None}, (None, None)),
    ],
)
def test_lines_are_counted_where_gitlab_gives_them(
    fields: dict[str, Any], counts: tuple[int | None, int | None], opened: Open, project: Project, tmp_path: Path
) -> None:
    project.diffs = {"12": [diff("x", "x", **fields)]}
    files = collect(opened(), tmp_path).frames["changed_files"]
    assert files[["added", "deleted"]].astype(object).where(lambda cell: cell.notna(), None).to_numpy().tolist() == [
        list(counts)
    ]


def test_files_of_several_pages_are_all_there(opened: Open, project: Project, tmp_path: Path) -> None:
    project.diffs = {"12": [diff(f"{number}.py", f"{number}.py") for number in range(250)]}
    assert len(collect(opened(), tmp_path).frames["changed_files"]) == 250


def test_whoever_started_a_pipeline_lands_as_a_hash_and_nobody_else_is_named(opened: Open, tmp_path: Path) -> None:
    collect(opened(), tmp_path)
    landed = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for name in (b"ada", b"Ada", b"Lovelace", b"grace", b"Hopper", b"acme.org"):
        assert name not in landed


def test_the_listing_goes_through_all_its_pages(opened: Open, project: Project, server: ReplayServer) -> None:
    project.pipelines = [pipeline(2000 + number, f"2026-03-01T{number % 24:02}:00:00.000Z") for number in range(250)]
    found = list(opened().find(Interval(day(1), day(2))))
    assert len({run.run_id for run in found}) == 250
    assert [run.started_at for run in found] == sorted(run.started_at for run in found)
    assert [request.query["page"] for request in server.asked] == ["1", "2", "3"]


def test_a_page_that_is_exactly_full_is_the_last_one(opened: Open, project: Project, server: ReplayServer) -> None:
    project.pipelines = [pipeline(2000 + number, "2026-03-01T08:00:00.000Z") for number in range(100)]
    assert len(list(opened().find(Interval()))) == 100
    assert len(server.asked) == 1


def test_no_pipelines_are_no_runs(opened: Open, project: Project, tmp_path: Path) -> None:
    project.pipelines = []
    assert collect(opened(), tmp_path).run_ids == []


def test_the_interval_is_half_open_over_the_creation(opened: Open, project: Project) -> None:
    project.pipelines = [
        pipeline(1, "2026-02-28T23:59:59.999Z"),
        pipeline(2, "2026-03-01T00:00:00.000Z"),
        pipeline(3, "2026-03-01T23:59:59.999Z"),
        pipeline(4, "2026-03-02T00:00:00.000Z"),
    ]
    assert [run.run_id for run in opened().find(DAYS[0])] == ["2", "3"]


def test_a_server_that_does_not_know_created_after_is_not_read_to_its_first_pipeline(
    opened: Open, project: Project, server: ReplayServer
) -> None:
    project.knows_created_after = False
    project.pipelines = [pipeline(number, "2025-01-01T00:00:00.000Z") for number in range(1000, 1900)]
    project.pipelines += [pipeline(2000, "2026-03-01T08:00:00.000Z")]
    assert [run.run_id for run in opened().find(Interval(day(1), day(2)))] == ["2000"]
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "is_finished"),
    [
        ("success", True),
        ("failed", True),
        ("canceled", True),
        ("skipped", True),
        ("running", False),
        ("pending", False),
        ("created", False),
        ("scheduled", False),
        ("canceling", False),
        (None, False),
        (["success"], False),
    ],
)
def test_a_pipeline_is_finished_when_it_has_ended(
    status: object, is_finished: bool, opened: Open, project: Project
) -> None:
    project.pipelines = [pipeline(1, "2026-03-01T08:00:00.000Z", status=status)]
    assert [run.is_finished for run in opened().find(Interval())] == [is_finished]


def test_a_pipeline_that_waits_for_a_manual_job_is_finished_once_another_has_run(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    waiting = {"status": "manual", "finished_at": None}
    project.pipelines = [
        pipeline(1, "2026-03-01T08:00:00.000Z", **waiting),
        pipeline(2, "2026-03-01T09:00:00.000Z", **waiting, started_at=None),
    ]
    assert [run.is_finished for run in opened().find(Interval())] == [True, False]
    assert run_row(collect(opened(), tmp_path), "1")["finished_at"] == pd.Timestamp("2026-03-01T08:00:50Z")


def test_what_runs_is_left_and_collected_later(opened: Open, project: Project, tmp_path: Path) -> None:
    project.pipelines[1]["status"] = "running"
    first = collect(opened(), tmp_path)
    assert first.run_ids == ["1001", "1003"]
    project.pipelines[1]["status"] = "success"
    assert collect(opened(), tmp_path, known=first.known).run_ids == ["1002"]


def test_what_is_known_is_not_asked_for_again(opened: Open, server: ReplayServer, tmp_path: Path) -> None:
    first = collect(opened(), tmp_path)
    server.asked.clear()
    assert collect(opened(), tmp_path, known=first.known).run_ids == []
    assert server.paths() == ["/api/v4/projects/acme%2Fshop/pipelines"]


@pytest.mark.parametrize("reports", ["test_report", "artifacts"])
def test_whole_in_pieces_twice_and_past_faults_gives_the_same_rows(
    reports: str, opened: Open, project: Project, server: ReplayServer, tmp_path: Path
) -> None:
    project.jobs = {str(1001 + number): [job(number, "rspec")] for number in range(3)}
    project.archives = {str(number): zipped(a_xml=REPORT.format(f"t{number}")) for number in range(3)}
    whole = collect(opened(reports=reports), tmp_path / "whole")
    assert len(whole.frames["test_results"]) == (7 if reports == "test_report" else 3)
    assert same(whole, collect(opened(reports=reports), tmp_path / "whole"))
    assert same(whole, collect(opened(reports=reports), tmp_path / "pieces", DAYS))
    server._seen.clear()
    server.faults = cycle(FAULTS)
    asked = len(server.asked)
    assert same(whole, collect(opened(reports=reports), tmp_path / "faults"))
    assert len(server.asked) - asked > 20


def test_a_collection_that_is_given_up_leaves_what_landed_and_the_next_one_the_rest(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml.sources import ci_server

    whole = collect(opened(), tmp_path / "whole")
    monkeypatch.setattr(ci_server, "BATCH_RUNS", 1)
    limits = Limits(10_000_000, "salt")
    source = ci_server.CiServer(opened(), tmp_path / "killed", limits)
    fetching = source.fetch(Interval())
    first = source.read(next(fetching), limits).frames["runs"]
    fetching.close()  # type: ignore[attr-defined]
    known = frozenset(zip(first["run_id"], first["attempt"], strict=True))
    rest = collect(opened(), tmp_path / "killed", known=known)
    assert [*first["run_id"], *rest.run_ids] == whole.run_ids
    assert set(rest.rows("test_results")) < set(whole.rows("test_results"))


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


def test_hostile_names_and_values_become_rows_or_refusals(opened: Open, project: Project, tmp_path: Path) -> None:
    project.reports["1001"] = {
        "test_suites": [
            suite(
                "a\x00b\x1b[31m]]>\ud800",
                case("x\x00\x07]]>&<", classname="]]>\ud800"),
                case("number as text", execution_time="1.25"),
                case("no number", execution_time="soon"),
                case("absurd", execution_time=float("inf")),
                case("list", execution_time=[1]),
                {**case("nameless"), "name": None, "classname": None},
                case("other status", "exploded"),
                case("status is a list", ["success"]),
                {},
                None,
                suite_error="JUnit XML parsing failed",
            ),
            suite("of nothing"),
            "no suite",
            {"name": {"a": 1}, "test_cases": {"b": 2}},
            suite({"no": "text"}, case("in the default", classname=7)),
        ]
    }
    collected = collect(opened(), tmp_path, DAYS[:1])
    assert [row[1:] for row in collected.results] == [
        ("a?b?[31m]]>?", "]]>?::x??]]>&<", "passed"),
        ("a?b?[31m]]>?", "spec.Shop::absurd", "passed"),
        ("a?b?[31m]]>?", "spec.Shop::list", "passed"),
        ("a?b?[31m]]>?", "spec.Shop::no number", "passed"),
        ("a?b?[31m]]>?", "spec.Shop::number as text", "passed"),
        ("default", "in the default", "passed"),
    ]
    durations = collected.frames["test_results"].set_index("test_id")["duration_s"]
    assert durations["spec.Shop::number as text"] == 1.25
    assert collected.reasons == [
        "missing_name",
        "not_a_number",
        "not_a_number",
        "unknown_outcome",
        "unknown_outcome",
        "unknown_outcome",
        "unreadable",
    ]


def test_entries_that_cannot_be_understood_do_not_stop_the_others(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    listed = [
        None,
        [],
        "text",
        {},
        {"id": None, "created_at": "2026-03-01T08:00:00Z"},
        {"id": "../../etc", "created_at": "2026-03-01T08:00:00Z"},
        {"id": 10**400, "created_at": "2026-03-01T08:00:00Z"},
        {"id": True, "created_at": "2026-03-01T08:00:00Z"},
        {"id": 5, "created_at": None},
        {"id": 6, "created_at": "yesterday"},
        {"id": 7, "created_at": 1772352000},
        {"id": 8, "created_at": "9999-12-31T23:59:59-23:59"},
    ]
    project.pipelines = [*listed, *project.pipelines, *listed]
    assert collect(opened(), tmp_path).run_ids == ["1001", "1002", "1003"]


def test_null_and_wrong_fields_of_a_pipeline_cost_the_field_only(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    wrong = {key: {"a": 1} for key in ("name", "source", "ref", "user", "started_at", "finished_at", "updated_at")}
    project.pipelines = [
        pipeline(1, "2026-03-01T08:00:00.000Z", **wrong),
        pipeline(2, "2026-03-01T09:00:00.000Z", **dict.fromkeys(wrong)),
        pipeline(3, "2026-03-01T10:00:00.000Z", sha=None),
    ]
    project.reports = {str(number): {"test_suites": [suite("s", case("t"))]} for number in (1, 2, 3)}
    collected = collect(opened(), tmp_path)
    assert collected.run_ids == ["1", "2"]
    row = run_row(collected, "1")
    assert (row["event"], row["branch"], row["author_id"], row["finished_at"]) == (None, None, None, pd.NaT)
    assert row["started_at"] == pd.Timestamp("2026-03-01T08:00:00Z")
    assert collected.reasons == ["manifest_refused", "missing_field"]


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


def test_a_pipeline_that_is_deleted_meanwhile_is_known_by_its_listing(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    server = opened()
    (run,) = server.find(DAYS[0])
    project.pipelines.clear()
    downloaded = server.download(run, tmp_path, 10_000)
    assert [refusal.reason for refusal in downloaded.refused] == ["artifact_gone"]
    assert (downloaded.document["commit_sha"], downloaded.document["reports"]) == (f"{1001:040x}", [])


@pytest.mark.parametrize(
    ("options", "refused", "message"),
    [
        ({"secret": "wrong"}, {}, "401: the token is missing, wrong or expired.*read_api"),  # pragma: allowlist secret
        ({"secret": ""}, {}, "401: the token is missing"),
        ({"path": "acme/other"}, {}, "404: there is no such project, or the token may not see it"),
        ({}, {"/pipelines": 403}, "403: the token may not read this.*role Reporter"),
        ({}, {"/pipelines": 500}, "500: expected 200"),
        ({}, {"/test_report": 403}, "403: the token may not read this"),
        ({}, {"/diff": 403}, "403: the token may not read this"),
    ],
)
def test_a_refusal_says_what_would_be_right(
    options: dict[str, str], refused: dict[str, int], message: str, opened: Open, project: Project
) -> None:
    project.refused = refused
    with pytest.raises(SourceError, match=message) as error, TemporaryDirectory() as landing:
        collect(opened(**options), Path(landing))
    assert "127.0.0.1: /api/v4/projects/acme/" in str(error.value)
    assert "?" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, b"<html>Sign in</html>"), "is no JSON; right would be the root"),
        (Answer(200, b"[" * 100_000), "is no JSON"),
        (Answer(200, b"\xff\xfe\x00"), "is no JSON"),
        (Answer(200, {"message": "hello"}), "is no listing"),
        (Answer(302, headers={"Location": "https://sso.example.org/?token=s1gned"}), "leads elsewhere, to a login"),
        (
            Answer(429, headers={"Retry-After": "3600", "RateLimit-Reset": "1772352000"}),
            "until 2026-03-01 08:00:00 UTC",
        ),
        (Answer(429, headers={"Retry-After": "3600", "RateLimit-Reset": "9" * 30}), "used up for now"),
        (Answer(200, b"{}", is_cut=True), r"was not answered in 5 attempts \(RemoteProtocolError\)"),
    ],
)
def test_an_answer_that_is_no_listing_is_an_error(
    answer: Answer, message: str, opened: Open, server: ReplayServer
) -> None:
    server.reply = lambda _: answer
    with pytest.raises(SourceError, match=message) as refused:
        list(opened().find(Interval()))
    assert "s1gned" not in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_a_listing_without_end_is_an_error(opened: Open, server: ReplayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.sources.gitlab.pages.MAX_PAGES", 3)
    server.reply = lambda _: Answer(200, [pipeline(1, "2026-03-01T08:00:00Z")], {"X-Next-Page": "2"})
    with pytest.raises(SourceError, match="more than 3 pages; collect a shorter interval"):
        list(opened().find(Interval()))


@pytest.mark.parametrize("secret", ["two\nlines", "tökën", "nul\x00"])
def test_a_secret_that_no_header_holds_is_refused_unquoted(secret: str, opened: Open) -> None:
    with pytest.raises(SourceError, match="characters that no token holds") as refused:
        opened(secret)
    assert secret not in str(refused.value)


def test_the_token_is_in_no_log_and_no_path(
    opened: Open, server: ReplayServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults = cycle(FAULTS)
    with caplog.at_level(logging.DEBUG):
        collect(opened(f" {TOKEN}\n"), tmp_path)
    assert "asking again" in caplog.text
    assert TOKEN not in caplog.text
    assert "page=" not in caplog.text
    assert all(request.headers["private-token"] == TOKEN for request in server.asked)


def test_what_can_be_read_is_told(opened: Open) -> None:
    assert [(finding.subject, finding.is_ok, finding.detail) for finding in opened().test()] == [
        ("project", True, "acme/shop can be read"),
        ("pipelines", True, "can be read"),
        ("history", True, "3 pipelines from 2026-03-01T08:00:00.000Z to 2026-03-03T08:00:00.000Z"),
        ("test report of the newest pipeline", True, "3 tests"),
        ("rate limit", True, "1987 of 2000 requests left, reset at 2026-03-01 08:00:00 UTC"),
    ]


def test_what_cannot_be_read_is_told(opened: Open, project: Project) -> None:
    assert [finding.is_ok for finding in opened(secret="wrong").test()] == [False]  # pragma: allowlist secret
    project.refused = {"/pipelines": 403}
    project_, access = opened().test()
    assert (project_.is_ok, access.is_ok) == (True, False)
    assert "scope read_api" in access.detail
    project.refused = {"/jobs": 403}
    assert [finding.is_ok for finding in opened(reports="artifacts").test()] == [True, True, True, False]
    project.refused, project.reports = {}, {}
    assert [finding.is_ok for finding in opened().test()] == [True, True, True, False, True]
    project.pipelines = []
    assert [finding.is_ok for finding in opened().test()] == [True, False, True]


def test_options_take_numbers_as_ids_and_a_single_pattern() -> None:
    options = Options.model_validate({"project": "p", "path": 42.0, "jobs": "rspec*"})
    assert (options.path, options.jobs, str(options.url)) == ("42", ("rspec*",), "https://gitlab.com/")


@pytest.mark.parametrize("wrong", [{"path": ""}, {"path": "a", "reports": "all"}, {"path": "a", "token": "x"}, {}])
def test_options_that_are_wrong_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate({"project": "p", **wrong})
