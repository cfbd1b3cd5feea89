"""The files of a merge request are those of the state that the pipeline tested: no later push leaks in."""

from pathlib import Path
from typing import Any

import pytest

from tests.ml.sources.gitlab.collecting import DAYS, Open, run_row
from tests.ml.sources.gitlab.server import Project, diff, pipeline, version
from tests.ml.sources.replay_server import ReplayServer
from tests.ml.sources.server_builders import collect

TESTED = f"{1002:040x}"
LATER, TARGET = "a" * 40, "b" * 40


def files(opened: Open, landing: Path) -> list[str]:
    found = collect(opened(), landing, DAYS[1:2]).frames["changed_files"]
    return sorted(found["path"])


def title(opened: Open, landing: Path) -> object:
    return run_row(collect(opened(), landing, DAYS[1:2]), "1002")["change_title"]


@pytest.fixture(autouse=True)
def pushed_again(project: Project) -> None:
    """Merge request 12 after a later push, that what `diffs` lists has too."""
    project.diffs["12"] = [diff("tested.py", "tested.py"), diff("later.py", "later.py")]
    project.versions["12"] = [
        version(32, LATER, diff("later.py", "later.py"), created="2026-03-05T08:00:00.000Z"),
        version(31, TESTED, diff("old.py", "tested.py")),
    ]


def test_a_later_push_does_not_leak_into_a_pipeline(opened: Open, project: Project, tmp_path: Path) -> None:
    collected = collect(opened(), tmp_path, DAYS[1:2])
    found = collected.frames["changed_files"].astype(object).where(lambda cell: cell.notna(), None)
    assert sorted(found[["path", "added", "deleted", "change_source"]].itertuples(index=False, name=None)) == [
        ("old.py", None, None, "merge_request"),
        ("tested.py", 2, 1, "merge_request"),
    ]


def test_of_two_versions_with_one_head_the_newest_before_the_pipeline_counts(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    project.versions["12"] = [
        version(33, TESTED, diff("new_target.py", "new_target.py"), created="2026-03-04T08:00:00.000Z"),
        version(31, TESTED, diff("before.py", "before.py"), created="2026-03-01T08:00:00.000Z"),
        version(30, TESTED, diff("first.py", "first.py"), created="2026-03-01T06:00:00.000Z"),
    ]
    assert files(opened, tmp_path) == ["before.py"]


def test_a_merged_result_has_the_files_of_the_version_that_was_merged(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    merged = "c" * 40
    project.pipelines[1] |= {"sha": merged, "ref": "refs/merge-requests/12/merge"}
    project.commits[merged] = {"id": merged, "parent_ids": [TARGET, TESTED]}
    assert files(opened, tmp_path) == ["old.py", "tested.py"]


def test_the_title_of_a_merged_result_is_that_of_the_commit_that_was_merged(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    merged = "c" * 40
    project.pipelines[1] |= {"sha": merged, "ref": "refs/merge-requests/12/merge"}
    project.commits[merged] = {"title": "Merge result of GitLab", "parent_ids": [TARGET, TESTED]}
    project.commits[TESTED] = {"title": "Round half up", "parent_ids": [TARGET]}
    assert title(opened, tmp_path / "merged") == "Round half up"
    # of a merge by hand the second parent is the target
    project.pipelines[1] |= {"ref": "refs/merge-requests/12/head"}
    assert title(opened, tmp_path / "head") == "Merge result of GitLab"
    project.commits = {}
    assert title(opened, tmp_path / "gone") is None


def test_a_merged_result_of_no_known_version_is_compared_with_its_target(
    opened: Open, project: Project, tmp_path: Path
) -> None:
    merged = "c" * 40
    project.pipelines[1] |= {"sha": merged, "ref": "refs/merge-requests/12/train"}
    project.commits[merged] = {"id": merged, "parent_ids": [TARGET, "d" * 40]}
    project.comparisons[TARGET, merged] = {"diffs": [diff("compared.py", "compared.py")]}
    assert files(opened, tmp_path) == ["compared.py"]


@pytest.mark.parametrize(
    "versions",
    [None, [], [None, 7, {"id": "x", "head_commit_sha": TESTED}, {"id": 9, "head_commit_sha": [TESTED]}]],
)
def test_without_a_version_that_can_be_told_the_newest_state_is_taken(
    versions: list[Any] | None, opened: Open, project: Project, tmp_path: Path
) -> None:
    project.versions = {} if versions is None else {"12": versions}
    project.commits[TESTED] = {"parent_ids": ["../../user", {"a": 1}]}
    assert files(opened, tmp_path) == ["later.py", "tested.py"]


def test_a_version_without_differences_that_can_be_read_is_none(opened: Open, project: Project, tmp_path: Path) -> None:
    project.versions["12"] = [{**version(31, TESTED), "diffs": {"a": 1}}]
    assert files(opened, tmp_path) == ["later.py", "tested.py"]


def test_the_versions_of_a_merge_request_go_through_their_pages(
    opened: Open, project: Project, server: ReplayServer, tmp_path: Path
) -> None:
    later = [version(number, f"{number:040x}") for number in range(500, 650)]
    project.versions["12"] = [*later, version(31, TESTED, diff("tested.py", "tested.py"))]
    assert files(opened, tmp_path) == ["tested.py"]


def test_a_pipeline_of_a_push_asks_for_no_version(
    opened: Open, project: Project, server: ReplayServer, tmp_path: Path
) -> None:
    project.pipelines = [pipeline(1001, "2026-03-01T08:00:00.000Z")]
    collect(opened(), tmp_path)
    assert not any("versions" in path for path in server.paths())
