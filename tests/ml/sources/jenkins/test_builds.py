"""Which builds are listed, finished and collected."""

from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from ml.errors import SourceError
from ml.spec import Interval
from tests.ml.sources.jenkins.collecting import DAYS, MAIN, START, Open
from tests.ml.sources.jenkins.server import (
    ROOT,
    Controller,
    build,
)
from tests.ml.sources.replay_server import FAULTS, Answer, ReplayServer
from tests.ml.sources.server_builders import collect, same


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


def test_addresses_are_built_here_and_those_that_the_server_sends_are_not_asked(
    opened: Open, server: ReplayServer, tmp_path: Path
) -> None:
    collect(opened(), tmp_path)
    assert f"/{ROOT}/job/feature%252Fcart/1/testReport/api/json" in server.paths()
    assert all(path.startswith(f"/{ROOT}/") for path in server.paths())


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


def test_a_branch_that_is_deleted_meanwhile_has_no_builds(opened: Open, controller: Controller) -> None:
    del controller.builds[MAIN]
    assert len(list(opened().find(Interval()))) == 2


def test_an_answer_that_is_no_job_is_an_error(opened: Open, server: ReplayServer) -> None:
    server.reply = lambda _: Answer(200, [])
    with pytest.raises(SourceError, match="is no job; right would be the root of Jenkins"):
        list(opened().find(Interval()))
