"""What a build tested: commit, branch, pull request, author, event."""

from pathlib import Path

import pandas as pd
import pytest

from tests.ml.sources.jenkins.collecting import DAYS, MAIN, START, Open, run_row
from tests.ml.sources.jenkins.server import (
    ROOT,
    Controller,
    build,
    causes,
    change,
    revision,
)
from tests.ml.sources.server_builders import collect


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
        "change_title": "Round half up",
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


def test_the_title_is_that_of_the_built_commit_else_of_the_newest_change(
    opened: Open, single: Controller, tmp_path: Path
) -> None:
    changes = [change("1" * 40, "Ada", "a", message="Mine"), change("2" * 40, "Ada", "b", message="Of a library")]
    built, other = ([causes(), revision("main", sha * 40)] for sha in "13")
    single.builds["job/shop"] = [
        build(number, START, actions=actions, changeSets=[{"items": changes}])
        for number, actions in ((1, built), (2, other))
    ]
    collected = collect(opened(job="shop"), tmp_path)
    assert [run_row(collected, f"shop#{number}")["change_title"] for number in (1, 2)] == ["Mine", "Of a library"]


def test_authors_land_as_a_hash_and_are_not_asked_for_where_that_is_unwanted(opened: Open, tmp_path: Path) -> None:
    told, untold = collect(opened(), tmp_path / "told"), collect(opened(author=False), tmp_path / "untold")
    assert len(run_row(told, "acme/shop/main#2")["author_id"]) == 12
    assert run_row(untold, "acme/shop/main#2")["author_id"] is None
    landed = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"Ada" not in landed
    assert b"Grace" not in landed
