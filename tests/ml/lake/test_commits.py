"""Commits lie beside the history: each once, by the day of the commit, and a batch may do without."""

import shutil
from pathlib import Path

import pandas as pd

from ml.lake import FIRST_VERSIONS, Lake
from tests.lake_builders import first_batch, stored


def commits(*rows: tuple[str, str], subject: str = "a change") -> pd.DataFrame:
    """(commit_sha, moment) pairs, each of one file with three added lines."""
    moments = pd.to_datetime([moment for _, moment in rows], utc=True).as_unit("us")
    named = {"project": "shop", "commit_sha": [sha for sha, _ in rows], "author_id": None, "committed_at": moments}
    return pd.DataFrame(
        {**named, "parent_count": 1, "subject": subject, "file_count": 1, "added": 3, "deleted": 0}
    ).astype({"author_id": object})


TWO = commits(("a1", "2026-01-01T23:59:59Z"), ("b2", "2026-01-02T00:00:00Z"))


def test_commits_are_stored_once_by_their_day_without_any_run(lake: Lake) -> None:
    appended = lake.append({"commits": TWO}, "b1", 1, FIRST_VERSIONS)
    assert appended.versions == {**FIRST_VERSIONS, "commits": 1}
    assert appended.counts == {"runs": 0, "test_results": 0, "changed_files": 0, "commits": 2, "rejected_rows": 0}
    assert appended.data_until is None
    assert stored(lake, "commits", 1, ["commit_sha", "day", "batch_id"]) == [
        ("a1", "2026-01-01", "b1"),
        ("b2", "2026-01-02", "b1"),
    ]
    again = lake.append({"commits": TWO}, "b2", 2, appended.versions)
    assert (again.counts["commits"], again.duplicates["commits"], again.versions) == (0, 2, appended.versions)


def test_a_commit_that_is_told_otherwise_is_rejected_and_the_first_stays(lake: Lake) -> None:
    base = lake.append({"commits": TWO}, "b1", 1, FIRST_VERSIONS).versions
    told = lake.append({"commits": commits(("a1", "2026-01-01T23:59:59Z"), subject="other")}, "b2", 2, base)
    (conflict,) = told.conflicts.to_dict("records")
    assert (conflict["contract"], conflict["column"], conflict["value"]) == ("commits", "subject", "other")
    assert stored(lake, "commits", told.versions["commits"], ["commit_sha", "subject"])[0] == ("a1", "a change")


def test_a_lake_of_an_older_release_without_commits_goes_on(tmp_path: Path) -> None:
    older = {table: version for table, version in FIRST_VERSIONS.items() if table != "commits"}
    lake = Lake(str(tmp_path))
    lake.create()
    shutil.rmtree(tmp_path / "commits")
    head = lake.append(first_batch(), "b1", 1, older).versions
    assert "commits" not in head
    lake.create()
    base = lake.restore(head, 2)
    assert base == {**head, "commits": 0}
    assert lake.append({"commits": TWO}, "b2", 3, base).versions == {**head, "commits": 1}
    assert lake.restore(head, 4) == {**head, "commits": 2}
    assert lake.read("commits", 2).num_rows == 0
