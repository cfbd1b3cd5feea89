"""Which pipelines are listed, finished and collected."""

from itertools import cycle
from pathlib import Path

import pandas as pd
import pytest

from ml.errors import SourceError
from ml.sources import Limits, Surroundings, read_batch
from ml.spec import Interval
from tests.ml.sources.gitlab.collecting import DAYS, REPORT, Open, run_row, zipped
from tests.ml.sources.gitlab.server import TOKEN, Project, job, pipeline
from tests.ml.sources.replay_server import FAULTS, Answer, ReplayServer
from tests.ml.sources.server_builders import collect, day, same


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
    source = ci_server.CiServer(opened(), Surroundings(tmp_path / "killed", limits))
    fetching = source.fetch(Interval())
    first = read_batch(next(fetching), limits).frames["runs"]
    fetching.close()
    known = frozenset(zip(first["run_id"], first["attempt"], strict=True))
    rest = collect(opened(), tmp_path / "killed", known=known)
    assert [*first["run_id"], *rest.run_ids] == whole.run_ids
    assert set(rest.rows("test_results")) < set(whole.rows("test_results"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, {"message": "hello"}), "is no listing"),
        (
            Answer(429, headers={"Retry-After": "3600", "RateLimit-Reset": "1772352000"}),
            "until 2026-03-01 08:00:00 UTC",
        ),
        (Answer(429, headers={"Retry-After": "3600", "RateLimit-Reset": "9" * 30}), "used up for now"),
    ],
)
def test_an_answer_that_is_no_listing_is_an_error(
    answer: Answer, message: str, opened: Open, server: ReplayServer
) -> None:
    server.reply = lambda _: answer
    with pytest.raises(SourceError, match=message) as refused:
        list(opened().find(Interval()))
    assert TOKEN not in str(refused.value)


def test_a_listing_without_end_is_an_error(opened: Open, server: ReplayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.sources.gitlab.pages.MAX_PAGES", 3)
    server.reply = lambda _: Answer(200, [pipeline(1, "2026-03-01T08:00:00Z")], {"X-Next-Page": "2"})
    with pytest.raises(SourceError, match="more than 3 pages; collect a shorter interval"):
        list(opened().find(Interval()))
