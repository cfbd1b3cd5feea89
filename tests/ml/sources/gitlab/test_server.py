"""A pipeline becomes a run: its change, its author, hostile values, refusals, secrets, options."""

import logging
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from ml.errors import SourceError
from ml.sources.gitlab.server import Options
from ml.spec import Interval
from tests.ml.sources.gitlab.collecting import DAYS, Open, run_row
from tests.ml.sources.gitlab.server import TOKEN, Project, case, diff, pipeline, suite
from tests.ml.sources.replay_server import FAULTS, ReplayServer
from tests.ml.sources.server_builders import collect


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
        "change_title": None,
        "is_fork": None,
        "started_at": pd.Timestamp("2026-03-03T08:00:05Z"),
        "finished_at": pd.Timestamp("2026-03-03T08:00:45Z"),
        "status": "failed",
    }


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
