"""What child pipelines report is in their parent's run, once, and nothing of another project is."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml.sources.gitlab import children
from tests.ml.sources.gitlab.collecting import DAYS, REPORT, Open, run_row, zipped
from tests.ml.sources.gitlab.server import Project, bridge, case, child, job, pipeline, suite
from tests.ml.sources.replay_server import ReplayServer
from tests.ml.sources.server_builders import collect


@pytest.fixture(autouse=True)
def family(project: Project) -> None:
    """Pipeline 1001 triggers 1101 as `backend`, which triggers 1102 as `deep`."""
    project.pipelines = [pipeline(1001, "2026-03-01T08:00:00.000Z"), child(1101), child(1102)]
    project.bridges = {"1001": [bridge("backend", 1101)], "1101": [bridge("deep", 1102)]}
    project.reports = {
        "1001": {"test_suites": [suite("rspec", case("pays"))]},
        "1101": {"test_suites": [suite("rspec", case("pays", "failed"))]},
        "1102": {"test_suites": [suite("rspec", case("pays", "error"))]},
    }


def test_reports_of_children_and_grandchildren_belong_to_the_run_of_the_parent(opened: Open, tmp_path: Path) -> None:
    collected = collect(opened(), tmp_path)
    assert collected.run_ids == ["1001"]
    assert collected.results == [
        ("1001", "backend/deep/rspec", "spec.Shop::pays", "error"),
        ("1001", "backend/rspec", "spec.Shop::pays", "failed"),
        ("1001", "rspec", "spec.Shop::pays", "passed"),
    ]
    assert collected.refused.empty


def test_artifacts_of_children_belong_to_the_run_of_the_parent(opened: Open, project: Project, tmp_path: Path) -> None:
    project.jobs = {str(1001 + 100 * number): [job(number, "rspec"), job(10 + number, "lint")] for number in (0, 1)}
    project.archives = {"0": zipped(a_xml=REPORT.format("own")), "1": zipped(a_xml=REPORT.format("childs"))}
    collected = collect(opened(reports="artifacts", jobs="rspec"), tmp_path)
    assert collected.results == [
        ("1001", "backend/rspec", "C::childs", "passed"),
        ("1001", "rspec", "C::own", "passed"),
    ]


def test_below_grandchildren_nothing_is_asked_for(
    opened: Open, project: Project, server: ReplayServer, tmp_path: Path
) -> None:
    project.pipelines += [child(1103)]
    project.bridges["1102"] = [bridge("deeper", 1103)]
    assert len(collect(opened(), tmp_path).results) == 3
    assert not any("1103" in path or path.endswith("/1102/bridges") for path in server.paths())


@pytest.mark.parametrize("status", ["running", "pending", "created", "scheduled", "canceling", None, ["success"]])
def test_a_pipeline_that_waits_for_a_child_is_left_for_a_later_collection(
    status: object, opened: Open, project: Project, tmp_path: Path
) -> None:
    project.pipelines[2]["status"] = status
    project.pipelines += [pipeline(1002, "2026-03-01T09:00:00.000Z")]
    project.reports["1002"] = {"test_suites": [suite("rspec", case("pays"))]}
    first = collect(opened(), tmp_path)
    assert first.run_ids == ["1002"]
    project.pipelines[2]["status"] = "success"
    assert collect(opened(), tmp_path, known=first.known).run_ids == ["1001"]


@pytest.mark.parametrize("status", ["failed", "canceled", "skipped", "manual"])
def test_a_child_that_has_ended_or_waits_for_a_person_is_not_waited_for(
    status: str, opened: Open, project: Project, tmp_path: Path
) -> None:
    project.pipelines[1]["status"] = status
    assert collect(opened(), tmp_path).run_ids == ["1001"]


def test_a_run_is_finished_when_the_last_of_its_children_is(opened: Open, project: Project, tmp_path: Path) -> None:
    project.pipelines[2]["finished_at"] = "2026-03-01T09:30:00.000Z"
    assert run_row(collect(opened(), tmp_path), "1001")["finished_at"] == pd.Timestamp("2026-03-01T09:30:00Z")


def test_pipelines_of_other_projects_are_not_collected(
    opened: Open, project: Project, server: ReplayServer, tmp_path: Path
) -> None:
    elsewhere = {"id": 9001, "project_id": 8, "status": "running", "source": "pipeline"}
    # an older server names no project, and the project does not know the other's pipeline
    unnamed = {"id": 9002, "status": "running"}
    project.bridges["1001"] += [bridge("other", elsewhere), bridge("unnamed", unnamed), bridge("not yet", None)]
    assert len(collect(opened(), tmp_path).results) == 3
    assert not any("9001" in path for path in server.paths())


def test_a_pipeline_that_another_triggers_in_the_same_project_stays_a_run_of_its_own(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    project.pipelines += [pipeline(1002, "2026-03-01T09:00:00.000Z", source="pipeline")]
    project.reports["1002"] = {"test_suites": [suite("rspec", case("ships"))]}
    project.bridges["1001"] += [bridge("trigger", 1002)]
    results = collect(opened(), tmp_path).results
    assert [row for row in results if row[2] == "spec.Shop::ships"] == [("1002", "rspec", "spec.Shop::ships", "passed")]


def test_a_child_that_a_server_lists_is_no_run_of_its_own(
    opened: Open, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.ml.sources.gitlab.server.is_child", lambda _: False)
    assert collect(opened(), tmp_path).run_ids == ["1001"]


def test_loops_repeats_and_nonsense_among_the_children_come_to_an_end(
    opened: Open, project: Project, server: ReplayServer, tmp_path: Path
) -> None:
    nonsense: list[Any] = [
        None,
        [],
        "x",
        {},
        {"id": "../7"},
        {"id": True},
        {"id": 10**400},
        {"id": 1, "project_id": []},
    ]
    project.bridges = {
        "1001": [bridge("backend", 1101), bridge("again", 1101), *(bridge("x", one) for one in nonsense), None, 7],
        "1101": [bridge("up", 1001), bridge("self", 1101), bridge("deep", 1102)],
        "1102": [bridge("up", 1101), bridge("top", 1001)],
    }
    assert len(collect(opened(), tmp_path).results) == 3
    assert server.paths().count("/api/v4/projects/acme%2Fshop/pipelines/1101") == 1


def test_children_beyond_what_gitlab_allows_are_not_asked_for(
    opened: Open, project: Project, server: ReplayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "MAX_CHILDREN", 5)
    project.pipelines += [child(number) for number in range(2000, 2020)]
    project.bridges = {"1001": [bridge(f"b{number}", number) for number in range(2000, 2020)]}
    collect(opened(), tmp_path)
    assert sum(path.endswith(f"/pipelines/{number}") for path in server.paths() for number in range(2000, 2020)) == 5


def test_names_of_hostile_triggers_become_names_of_variants(opened: Open, project: Project, tmp_path: Path) -> None:
    project.bridges = {"1001": [bridge("a\x00\x1b[31m\ud800/../..", 1101), bridge({"no": "text"}, 1102)]}
    variants = [row[1] for row in collect(opened(), tmp_path).results]
    assert variants == ["1102/rspec", "a??[31m?/../../rspec", "rspec"]


def test_a_report_that_a_child_lost_is_a_refusal_that_names_the_child(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    del project.reports["1101"]
    collected = collect(opened(), tmp_path, DAYS[:1])
    assert collected.reasons == ["artifact_gone"]
    assert list(collected.refused["payload"]) == ["0001/backend/test_report"]
