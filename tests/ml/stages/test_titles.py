"""A run whose source told no title has the subject of its commit, where a git source collected it."""

from pathlib import Path

import pandas as pd
import pytest

from ml.lake import FIRST_VERSIONS
from ml.settings import Settings
from ml.spec import Snapshot
from ml.stages.opening import open_history, open_lake
from tests.lake_builders import runs

STARTS = [(name, "2026-01-01T00:00:00Z") for name in ("told", "known", "merged", "elsewhere", "unnamed")]
SUBJECTS = {"told": "Other", "known": "Round half up", "merged": "Merge branch 'ada/cart'"}


@pytest.mark.parametrize("has_commits", [True, False])
def test_the_subject_of_the_commit_is_the_title_where_none_is_told(tmp_path: Path, *, has_commits: bool) -> None:
    settings = Settings(home=tmp_path)
    lake = open_lake(settings)
    lake.create()
    shas = [None if name == "unnamed" else name for name, _ in STARTS]
    history = runs(*STARTS).assign(
        commit_sha=shas, change_title=[name if name == "told" else None for name, _ in STARTS]
    )
    moments = pd.to_datetime(["2026-01-01T00:00:00Z"] * 3, utc=True).as_unit("us")
    named = {"project": "shop", "commit_sha": list(SUBJECTS), "author_id": pd.Series([None] * 3, dtype=object)}
    counts = {"parent_count": 1, "file_count": 1, "added": 3, "deleted": 0}
    commits = pd.DataFrame({**named, "committed_at": moments, "subject": list(SUBJECTS.values()), **counts})
    batch = {"runs": history, "commits": commits} if has_commits else {"runs": history}
    appended = lake.append(batch, "b1", 1, FIRST_VERSIONS)
    with open_history(settings, Snapshot(1, appended.versions, appended.data_until), "shop") as engine:
        found = engine.fetch("SELECT run_id, change_title FROM runs").set_index("run_id")["change_title"]
    expected = {"told": "told"} | ({"known": "Round half up"} if has_commits else {})
    assert found.dropna().to_dict() == expected
    assert len(found) == len(STARTS)
