"""A build becomes a run: results, hostile values, refusals, secrets, options."""

import base64
import logging
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
from tests.ml.sources.jenkins.collecting import DAYS, MAIN, START, Open, run_row
from tests.ml.sources.jenkins.server import (
    TOKEN,
    USER,
    Controller,
    build,
    case,
    causes,
    change,
    milliseconds,
    suite,
)
from tests.ml.sources.replay_server import FAULTS, ReplayServer, patient
from tests.ml.sources.server_builders import collect


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
                blocks=("in\x00ner", None, "outer"),
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
