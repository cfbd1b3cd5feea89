"""Builds of a Jenkins server become runs: results, branches, changes, ranges, faults, hostile answers."""

import base64
import logging
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
from ml.sources.jenkins.server import Jenkins, Options
from ml.spec import Interval
from tests.ml.sources.jenkins_server import (
    ROOT,
    TOKEN,
    USER,
    Controller,
    build,
    case,
    causes,
    change,
    milliseconds,
    revision,
    small,
    suite,
)
from tests.ml.sources.replay_server import FAULTS, Answer, ReplayServer, patient, serving
from tests.ml.sources.server_builders import Collected, collect, day, same

Open = Callable[..., Jenkins]
DAYS = [Interval(day(number), day(number + 1)) for number in (1, 2, 3)]
MAIN = f"{ROOT}/job/main"
START = "2026-03-01T08:00:00+00:00"


@pytest.fixture
def controller() -> Controller:
    return small()


@pytest.fixture
def single(controller: Controller) -> Controller:
    """One job that is no multibranch job, with one build and no report."""
    controller.jobs = {"job/shop": {"_class": "hudson.model.FreeStyleProject", "name": "shop"}}
    controller.builds = {"job/shop": [build(1, START)]}
    return controller


@pytest.fixture
def server(controller: Controller) -> Iterator[ReplayServer]:
    with serving(controller) as server:
        yield server


@pytest.fixture
def opened(server: ReplayServer) -> Iterator[Open]:
    """Opens the job with these options; closes what it opened."""
    servers: list[Jenkins] = []

    def open_it(secret: str = TOKEN, **options: Any) -> Jenkins:
        given = {"project": "shop", "url": server.url, "job": "acme/shop", "user": USER, **options}
        servers.append(Jenkins(Options.model_validate(given), secret, patient()))
        return servers[-1]

    yield open_it
    for one in servers:
        with one:
            pass


def run_row(collected: Collected, run_id: str) -> dict[str, Any]:
    runs = collected.frames["runs"].astype(object)
    row: dict[str, Any] = runs[runs["run_id"] == run_id].iloc[0].to_dict()
    return row


def test_builds_of_every_branch_are_runs_in_the_order_of_their_start(opened: Open, tmp_path: Path) -> None:
    collected = collect(opened(), tmp_path)
    assert collected.run_ids == [
        "acme/shop/main#1",
        "acme/shop/feature%2Fcart#1",
        "acme/shop/PR-12#7",
        "acme/shop/main#2",
    ]
    assert collected.results == [
        ("acme/shop/PR-12#7", "default", "shop.CartTest::pays", "passed"),
        ("acme/shop/PR-12#7", "default", "shop.CartTest::ships", "passed"),
        ("acme/shop/main#1", "default", "shop.CartTest::pays", "passed"),
        ("acme/shop/main#2", "Test / linux", "shop.CartTest::pays", "failed"),
        ("acme/shop/main#2", "Test / linux", "shop.CartTest::ships", "passed"),
        ("acme/shop/main#2", "Test / mac", "shop.CartTest::pays", "failed"),
        ("acme/shop/main#2", "Test / mac", "shop.CartTest::waits", "skipped"),
    ]
    assert collected.refused.empty


def test_a_build_is_a_run_with_its_commit_and_what_changed_since_the_build_before(opened: Open, tmp_path: Path) -> None:
    collected = collect(opened(), tmp_path, DAYS[2:])
    row = run_row(collected, "acme/shop/main#2")
    assert len(row.pop("author_id")) == 12
    assert row == {
        "project": "shop",
        "run_id": "acme/shop/main#2",
        "attempt": 1,
        "workflow": "acme/shop/main",
        "event": "push",
        "branch": "main",
        "commit_sha": f"{2:040x}",
        "change_id": None,
        "is_fork": None,
        "started_at": pd.Timestamp("2026-03-03T08:00:00Z"),
        "finished_at": pd.Timestamp("2026-03-03T08:10:00Z"),
        "status": "unstable",
    }
    files = collected.frames["changed_files"]
    assert sorted(zip(files["path"], files["change_source"], strict=True)) == [
        ("README.md", "change_set"),
        ("src/cart.py", "change_set"),
    ]
    assert files["added"].isna().all()


def test_branches_and_pull_requests_are_known_by_their_names(opened: Open, tmp_path: Path) -> None:
    collected = collect(opened(), tmp_path)
    feature, request = (run_row(collected, f"acme/shop/{name}") for name in ("feature%2Fcart#1", "PR-12#7"))
    assert (feature["branch"], feature["change_id"], feature["event"]) == ("feature/cart", None, None)
    assert (request["branch"], request["change_id"], request["event"]) == ("PR-12", "PR-12", "pull_request")


def test_addresses_are_built_here_and_those_that_the_server_sends_are_not_asked(
    opened: Open, server: ReplayServer, tmp_path: Path
) -> None:
    collect(opened(), tmp_path)
    assert f"/{ROOT}/job/feature%252Fcart/1/testReport/api/json" in server.paths()
    assert all(path.startswith(f"/{ROOT}/") for path in server.paths())


@pytest.mark.parametrize(
    ("name", "change_id"),
    [
        ("PR-7", "PR-7"),
        ("MR-7-merge", "MR-7"),
        ("PR-7-head", "PR-7"),
        ("PR-7-fixes-the-cart", None),
        ("APR-7", None),
        ("PR-", None),
    ],
)
def test_a_job_is_a_pull_request_by_its_whole_name(
    name: str, change_id: str | None, opened: Open, controller: Controller, tmp_path: Path
) -> None:
    controller.jobs = {ROOT: {"jobs": [{"name": name}]}}
    controller.builds = {f"{ROOT}/job/{name}": [build(1, START)]}
    assert run_row(collect(opened(), tmp_path), f"acme/shop/{name}#1")["change_id"] == change_id


@pytest.mark.parametrize("parameter", ["CHANGE_ID", "ghprbPullId"])
def test_a_parameter_may_name_the_pull_request(
    parameter: str, opened: Open, single: Controller, tmp_path: Path
) -> None:
    parameters = {"parameters": [{"name": "COUNT", "value": 3}, {"name": parameter, "value": "34"}]}
    single.builds["job/shop"][0]["actions"].append(parameters)
    row = run_row(collect(opened(job="shop"), tmp_path), "shop#1")
    assert (row["change_id"], row["event"]) == ("PR-34", "pull_request")


@pytest.mark.parametrize(
    ("names", "event"),
    [
        (("hudson.triggers.TimerTrigger$TimerTriggerCause",), "schedule"),
        (("hudson.triggers.SCMTrigger$SCMTriggerCause",), "push"),
        (("com.cloudbees.jenkins.GitHubPushCause",), "push"),
        (("jenkins.branch.BranchIndexingCause",), "push"),
        (("hudson.model.Cause$UserIdCause",), "user"),
        (("hudson.model.Cause$UpstreamCause", "hudson.model.Cause$UserIdCause"), "upstream"),
        (("org.example.OtherCause",), None),
        ((), None),
    ],
)
def test_what_started_a_build_is_its_event(
    names: tuple[str, ...], event: str | None, opened: Open, single: Controller, tmp_path: Path
) -> None:
    single.builds["job/shop"][0]["actions"] = [causes(*names), revision("origin/main", "a" * 40)]
    row = run_row(collect(opened(job="shop"), tmp_path), "shop#1")
    assert (row["event"], row["branch"]) == (event, "main")


def test_of_several_checkouts_the_one_of_the_branch_counts(
    opened: Open, controller: Controller, tmp_path: Path
) -> None:
    library, own = revision("refs/remotes/origin/v3", "1" * 40), revision("refs/remotes/origin/main", "2" * 40)
    controller.builds[MAIN][0]["actions"] = [library, own]
    assert run_row(collect(opened(), tmp_path), "acme/shop/main#1")["commit_sha"] == "2" * 40


def test_a_build_without_git_has_the_commit_of_its_last_change_or_is_refused(
    opened: Open, single: Controller, tmp_path: Path
) -> None:
    old_form = {"items": [{"commitId": "r41", "affectedPaths": ["a"]}, {"commitId": "r42", "affectedPaths": ["b"]}]}
    single.builds["job/shop"] = [
        build(1, START, actions=[]),
        build(2, START, actions=[], changeSet=old_form, changeSets=None),
    ]
    collected = collect(opened(job="shop"), tmp_path)
    assert run_row(collected, "shop#2")["commit_sha"] == "r42"
    assert sorted(collected.frames["changed_files"]["path"]) == ["a", "b"]
    assert collected.reasons == ["missing_field"]


def test_a_matrix_or_maven_build_has_its_configurations_as_variants(
    opened: Open, single: Controller, tmp_path: Path
) -> None:
    places = ("os=linux,py=3.12", "com.acme%24core")
    single.reports["job/shop/1"] = {
        "childReports": [
            {
                "child": {"number": 1, "url": f"http://169.254.169.254/job/shop/{place}/1/"},
                "result": {"suites": [suite("S", case("t"))]},
            }
            for place in places
        ]
    }
    collected = collect(opened(job="shop"), tmp_path)
    assert [row[1:3] for row in collected.results] == [
        ("com.acme$core", "shop.CartTest::t"),
        ("os=linux,py=3.12", "shop.CartTest::t"),
    ]


def test_a_suite_that_is_reported_again_holds_reruns(opened: Open, single: Controller, tmp_path: Path) -> None:
    suites = [suite("S", case("t", "FAILED")), suite("S", case("t"))]
    single.reports["job/shop/1"] = {"suites": suites}
    results = collect(opened(job="shop"), tmp_path).frames["test_results"]
    assert sorted(zip(results["attempt"], results["outcome"], strict=True)) == [(1, "failed"), (101, "passed")]


def test_a_build_without_test_results_is_a_run_without_refusals(opened: Open, tmp_path: Path) -> None:
    collected = collect(opened(), tmp_path)
    assert "acme/shop/feature%2Fcart#1" in collected.run_ids
    assert not any(row[0] == "acme/shop/feature%2Fcart#1" for row in collected.results)


def test_authors_land_as_a_hash_and_are_not_asked_for_where_that_is_unwanted(opened: Open, tmp_path: Path) -> None:
    told, untold = collect(opened(), tmp_path / "told"), collect(opened(author=False), tmp_path / "untold")
    assert len(run_row(told, "acme/shop/main#2")["author_id"]) == 12
    assert run_row(untold, "acme/shop/main#2")["author_id"] is None
    landed = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"Ada" not in landed
    assert b"Grace" not in landed


def test_the_listing_goes_range_by_range_until_it_is_older_than_the_interval(
    opened: Open, single: Controller, server: ReplayServer
) -> None:
    single.builds["job/shop"] = [build(number, "2025-01-01T00:00:00+00:00") for number in range(1, 500)]
    single.builds["job/shop"] += [build(number, START) for number in range(500, 650)]
    found = list(opened(job="shop").find(DAYS[0]))
    assert [run.detail["number"] for run in found] == sorted(range(500, 650), key=str)
    ranges = [request.query["tree"].partition("{")[2] for request in server.asked[1:]]
    assert ranges == ["0,100}", "100,200}", "200,300}"]


def test_a_range_that_is_exactly_full_is_followed_by_an_empty_one(opened: Open, single: Controller) -> None:
    single.builds["job/shop"] = [build(number, START) for number in range(1, 101)]
    assert len(list(opened(job="shop").find(Interval()))) == 100


def test_a_server_that_does_not_know_ranges_is_not_asked_without_end(
    opened: Open, single: Controller, server: ReplayServer
) -> None:
    single.knows_ranges = False
    single.builds["job/shop"] = [build(number, START) for number in range(1, 301)]
    assert len(list(opened(job="shop").find(Interval()))) == 100
    assert len(server.asked) == 3


def test_the_interval_is_half_open_over_the_starts(opened: Open, single: Controller) -> None:
    starts = ("2026-02-28T23:59:59.999", "2026-03-01T00:00:00", "2026-03-01T23:59:59.999", "2026-03-02T00:00:00")
    single.builds["job/shop"] = [build(number, f"{start}+00:00") for number, start in enumerate(starts)]
    assert [run.run_id for run in opened(job="shop").find(DAYS[0])] == ["shop#1", "shop#2"]


@pytest.mark.parametrize(
    ("fields", "is_finished"),
    [
        ({}, True),
        ({"result": "ABORTED"}, True),
        ({"building": True, "result": None}, False),
        ({"building": True}, False),
        ({"building": None}, False),
        ({"building": "false"}, False),
        ({"result": None}, False),
        ({"result": ["SUCCESS"]}, False),
    ],
)
def test_a_build_is_finished_when_it_no_longer_runs_and_has_a_result(
    fields: dict[str, Any], is_finished: bool, opened: Open, single: Controller
) -> None:
    single.builds["job/shop"] = [build(1, START, **fields)]
    assert [run.is_finished for run in opened(job="shop").find(Interval())] == [is_finished]


def test_what_runs_is_left_and_collected_later(opened: Open, controller: Controller, tmp_path: Path) -> None:
    controller.builds[MAIN][1] |= {"building": True, "result": None}
    first = collect(opened(), tmp_path)
    assert len(first.run_ids) == 3
    controller.builds[MAIN][1] |= {"building": False, "result": "FAILURE"}
    assert collect(opened(), tmp_path, known=first.known).run_ids == ["acme/shop/main#2"]


def test_whole_in_pieces_twice_and_past_faults_gives_the_same_rows(
    opened: Open, server: ReplayServer, tmp_path: Path
) -> None:
    whole = collect(opened(), tmp_path / "whole")
    assert len(whole.frames["test_results"]) == 7
    assert same(whole, collect(opened(), tmp_path / "whole"))
    assert same(whole, collect(opened(), tmp_path / "pieces", DAYS))
    server._seen.clear()
    server.faults = cycle(FAULTS)
    asked = len(server.asked)
    assert same(whole, collect(opened(), tmp_path / "faults"))
    assert len(server.asked) - asked == 2 * (1 + 3 + 2 * 4)


def test_hostile_names_and_values_become_rows_or_refusals(opened: Open, single: Controller, tmp_path: Path) -> None:
    single.reports["job/shop/1"] = {
        "suites": [
            suite(
                "a\x00]]>\x1b",
                case("x\x00\x07]]>&<", className="\ud800]]>"),
                case("number as text", duration="1.25"),
                case("no number", duration="soon"),
                case("absurd", duration=1e400),
                case("no class", className=None),
                {**case("nameless"), "name": None, "className": {"a": 1}},
                case("other status", "EXPLODED"),
                case("skipped only", skipped=True, status=None),
                {},
                7,
                blocks=("in\x00ner", None, "outer"),  # type: ignore[arg-type]
            ),
            "no suite",
            {"name": None, "cases": None, "enclosingBlockNames": 7},
        ],
        "childReports": [None, {}, {"child": 1, "result": 2}, {"child": {"url": 3}, "result": {"suites": 4}}],
    }
    collected = collect(opened(job="shop"), tmp_path)
    assert [row[1:] for row in collected.results] == [
        ("outer / ? / in?ner", "?]]>::x??]]>&<", "passed"),
        ("outer / ? / in?ner", "a?]]>?::no class", "passed"),
        ("outer / ? / in?ner", "shop.CartTest::absurd", "passed"),
        ("outer / ? / in?ner", "shop.CartTest::no number", "passed"),
        ("outer / ? / in?ner", "shop.CartTest::number as text", "passed"),
        ("outer / ? / in?ner", "shop.CartTest::skipped only", "skipped"),
    ]
    assert collected.reasons == [
        "missing_name",
        "not_a_number",
        "not_a_number",
        "unknown_outcome",
        "unknown_outcome",
    ]


def test_entries_that_cannot_be_understood_do_not_stop_the_others(
    opened: Open, single: Controller, tmp_path: Path
) -> None:
    wrong = [
        None,
        [],
        {},
        {"number": None, "timestamp": 1},
        {"number": 5, "timestamp": None},
        {"number": 6, "timestamp": "soon"},
        {"number": 7, "timestamp": 10**18},
        {"number": 8, "timestamp": -1},
        {"number": "../9", "timestamp": 1},
        {"number": True, "timestamp": 1},
    ]
    single.builds["job/shop"] = [build(1, START), *wrong * 30, build(2, START)]
    assert collect(opened(job="shop"), tmp_path).run_ids == ["shop#1", "shop#2"]


def test_numbers_as_text_are_numbers(opened: Open, single: Controller, tmp_path: Path) -> None:
    single.builds["job/shop"] = [build(1, START, timestamp=str(milliseconds(START)), duration="600000")]
    single.builds["job/shop"][0]["number"] = "1"
    row = run_row(collect(opened(job="shop"), tmp_path), "shop#1")
    assert row["finished_at"] == pd.Timestamp("2026-03-01T08:10:00Z")


@pytest.mark.parametrize("value", [None, 7, "text", [], {}, [None, 7, {"a": []}]])
def test_wrong_fields_of_a_build_cost_the_field_only(
    value: Any, opened: Open, single: Controller, tmp_path: Path
) -> None:
    whole = change("a", "Ada", "x")
    single.builds["job/shop"] = [
        build(1, START, changeSets=value, changeSet=value),
        build(2, START, changeSets=[{"items": [{**whole, "paths": value, "author": value}]}], duration=value),
        build(3, START, actions=value),
    ]
    collected = collect(opened(job="shop"), tmp_path)
    assert sorted(collected.run_ids) == ["shop#1", "shop#2"]
    assert collected.reasons == ["missing_field"]


def test_names_that_lead_elsewhere_are_no_jobs(opened: Open, controller: Controller, server: ReplayServer) -> None:
    deep: dict[str, Any] = {"name": "deep"}
    for _ in range(300):
        deep = {"name": "deep", "jobs": [deep]}
    controller.jobs[ROOT]["jobs"] += [{"name": ".."}, {"name": "."}, {"name": ""}, {"name": 7}, None, deep]
    assert len(list(opened().find(Interval()))) == 4
    assert all(path.startswith(f"/{ROOT}/") for path in server.paths())


def test_jobs_of_folders_below_the_job_are_collected(opened: Open, controller: Controller) -> None:
    controller.jobs = {"job/acme": {"jobs": [{"name": "shop", "jobs": [{"name": "main"}]}, {"name": "empty"}]}}
    assert [run.run_id for run in opened(job="acme").find(Interval())] == ["acme/shop/main#1", "acme/shop/main#2"]


def test_twenty_thousand_cases_are_twenty_thousand_results(opened: Open, single: Controller, tmp_path: Path) -> None:
    single.reports["job/shop/1"] = {"suites": [suite("S", *(case(f"t{number}") for number in range(20_000)))]}
    assert len(collect(opened(job="shop"), tmp_path).frames["test_results"]) == 20_000


def test_results_that_are_too_large_to_land_are_a_refusal_of_their_run(
    opened: Open, controller: Controller, tmp_path: Path
) -> None:
    controller.reports[f"{MAIN}/1"] = {"suites": [suite("S", *(case(f"t{number}") for number in range(1_000)))]}
    collected = collect(opened(), tmp_path, limits=Limits(10_000, "salt"))
    assert len(collected.run_ids) == 4
    assert collected.reasons == ["payload_too_large"]


def test_results_that_are_too_large_to_read_are_a_refusal_of_their_run(
    server: ReplayServer, controller: Controller, tmp_path: Path
) -> None:
    controller.reports[f"{MAIN}/1"] = {"suites": [suite("S", *(case(f"t{number}") for number in range(1_000)))]}
    controller.builds[MAIN][1]["actions"] = [causes(*["x" * 100] * 1_000)]
    options = Options.model_validate({"project": "shop", "url": server.url, "job": "acme/shop", "user": USER})
    with Jenkins(options, TOKEN, patient(max_bytes=50_000)) as jenkins:
        collected = collect(jenkins, tmp_path)
    assert "acme/shop/main#1" in collected.run_ids
    # Without its commit the other is no run.
    assert collected.reasons == ["manifest_refused"] * 2 + ["missing_field"] + ["payload_too_large"] * 2


def test_a_build_that_is_deleted_meanwhile_is_a_refusal(opened: Open, single: Controller, tmp_path: Path) -> None:
    server = opened(job="shop")
    (run,) = server.find(Interval())
    single.builds.clear()
    downloaded = server.download(run, tmp_path, 10_000)
    assert [refusal.reason for refusal in downloaded.refused] == ["artifact_gone"]
    assert (downloaded.document["run_id"], downloaded.document["reports"]) == ("shop#1", [])


def test_a_branch_that_is_deleted_meanwhile_has_no_builds(opened: Open, controller: Controller) -> None:
    del controller.builds[MAIN]
    assert len(list(opened().find(Interval()))) == 2


@pytest.mark.parametrize(
    ("options", "refused", "message"),
    [
        ({"secret": "wrong"}, {}, "401: user or API token are missing or wrong"),  # pragma: allowlist secret
        ({"secret": "", "user": ""}, {}, "401: user or API token are missing or wrong"),
        ({"job": "acme/other"}, {}, "404: there is no such job, or this user may not see it"),
        ({}, {"shop/api/json": 403}, "403: this user may not read this.*Job/Read"),
        ({}, {"testReport/api/json": 403}, "403: this user may not read this"),
        ({}, {"/1/api/json": 500}, "500: expected 200"),
    ],
)
def test_a_refusal_says_what_would_be_right(
    options: dict[str, str], refused: dict[str, int], message: str, opened: Open, controller: Controller
) -> None:
    controller.refused = refused
    with pytest.raises(SourceError, match=message) as error, TemporaryDirectory() as landing:
        collect(opened(**options), Path(landing))
    assert "127.0.0.1: /job/acme/" in str(error.value)
    assert "tree" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, b"<html>Sign in</html>"), "is no JSON; right would be the root"),
        (Answer(200, b"[" * 100_000), "is no JSON"),
        (Answer(200, []), "is no job; right would be the root of Jenkins"),
        (Answer(302, headers={"Location": "https://sso.example.org/?token=s1gned"}), "leads elsewhere, to a login"),
        (Answer(200, b"{}", is_cut=True), r"was not answered in 5 attempts \(RemoteProtocolError\)"),
    ],
)
def test_an_answer_that_is_no_job_is_an_error(answer: Answer, message: str, opened: Open, server: ReplayServer) -> None:
    server.reply = lambda _: answer
    with pytest.raises(SourceError, match=message) as refused:
        list(opened().find(Interval()))
    assert "s1gned" not in str(refused.value)


def test_a_secret_without_a_user_is_a_bearer_token_and_none_is_nothing(
    opened: Open, controller: Controller, server: ReplayServer
) -> None:
    controller.is_open = True
    basic = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
    for options in ({}, {"user": ""}, {"user": "", "secret": ""}):
        list(opened(**options).find(DAYS[0]))
    told = list(dict.fromkeys(request.headers.get("authorization") for request in server.asked))
    assert told == [f"Basic {basic}", f"Bearer {TOKEN}", None]


def test_the_token_is_in_no_log(
    opened: Open, server: ReplayServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults = cycle(FAULTS)
    with caplog.at_level(logging.DEBUG):
        collect(opened(), tmp_path)
    assert "asking again" in caplog.text
    assert TOKEN not in caplog.text
    assert base64.b64encode(f"{USER}:{TOKEN}".encode()).decode() not in caplog.text
    assert "tree=" not in caplog.text


def test_what_can_be_read_is_told(opened: Open, controller: Controller) -> None:
    assert [(finding.subject, finding.is_ok, finding.detail) for finding in opened().test()] == [
        ("job", True, "acme/shop can be read, with 3 jobs"),
        ("builds", True, "can be read"),
        ("history", True, "4 builds from 2026-03-01 to 2026-03-03"),
        ("test results of the newest build", True, "can be read"),
    ]
    del controller.reports[f"{MAIN}/2"]
    assert [finding.is_ok for finding in opened().test()] == [True, True, True, False]


def test_what_cannot_be_read_is_told(opened: Open, controller: Controller) -> None:
    assert [finding.is_ok for finding in opened(secret="wrong").test()] == [False]  # pragma: allowlist secret
    controller.refused = {"job/main/api/json": 403}
    job, access = opened().test()
    assert (job.is_ok, access.is_ok) == (True, False)
    assert "Job/Read" in access.detail
    controller.refused, controller.builds = {}, {}
    assert [finding.is_ok for finding in opened().test()] == [True, False]


@pytest.mark.parametrize(
    "wrong", [{}, {"job": ""}, {"job": "/"}, {"job": "a", "token": "x"}, {"job": "a", "url": "ci"}]
)
def test_options_that_are_wrong_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate({"project": "p", "url": "https://ci.example.org", **wrong})
