"""Commits of a repository in the lake beside the runs of another source, through the stages, into a real ledger."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ml.settings import Settings
from ml.spec import Interval
from ml.stages import collection, fetching, verification
from ml.stages.forgetting import forget
from ml.stages.opening import open_lake, open_warehouse
from tests.history_builders import write_run
from tests.lake_builders import stored
from tests.ml.sources.git.repositories import ADA, Repository, lines
from tests.postgres import Postgres

NOW = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path, made: Repository) -> Settings:
    file = tmp_path / "fourgate.toml"
    file.write_text(
        f'[source.shop-code]\nkind = "git"\nproject = "shop"\nurl = "{made.folder}"\n'
        "history_days = 30\nsilent_days = 1\n"
    )
    return Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn), sources=file)


def collect(settings: Settings, name: str = "shop-code", as_of: datetime = NOW, history: str = "") -> dict[str, Any]:
    asked = fetching.Request(name, as_of, Interval(), history=history)
    batches = fetching.fetch(settings, asked)
    return collection.append(settings, [collection.validate(settings, batch, as_of) for batch in batches])


def collect_runs(settings: Settings, folder: Path, **commits: str) -> None:
    """Bring runs into the lake that name a commit and no files, a day before now."""
    for run_id, commit in commits.items():
        start = f"{NOW - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
        write_run(folder / run_id, run_id=run_id, project="shop", commit_sha=commit, started_at=start, changed_files=[])
    collect(settings, fetching.HISTORY, history=str(folder))


def rows(settings: Settings, table: str, *columns: str) -> list[tuple[object, ...]]:
    lake = open_lake(settings)
    return stored(lake, table, lake.versions()[table], columns)


def test_a_run_gets_the_files_of_its_commit_and_the_lake_the_commits(
    settings: Settings, made: Repository, tmp_path: Path
) -> None:
    root = made.commit({"a.py": lines(10)})
    moved = made.commit({"b.py": lines(10), "logo.png": b"\x00"}, root)
    collect_runs(settings, tmp_path / "runs", r1=moved, r2="f" * 40)
    done = collect(settings)
    assert done["rows"] == {"runs": 0, "test_results": 0, "changed_files": 3, "commits": 2}
    assert rows(settings, "changed_files", "run_id", "path", "added", "deleted", "change_source", "day") == [
        ("r1", "a.py", None, None, "git", "2026-01-09"),
        ("r1", "b.py", 0, 0, "git", "2026-01-09"),
        ("r1", "logo.png", None, None, "git", "2026-01-09"),
    ]
    told = ["commit_sha", "committed_at", "file_count", "added", "deleted", "day"]
    assert rows(settings, "commits", *told) == sorted(
        [
            (root, datetime(2026, 1, 1, 0, tzinfo=UTC), 1, 10, 0, "2026-01-01"),
            (moved, datetime(2026, 1, 1, 1, tzinfo=UTC), 2, 0, 0, "2026-01-01"),
        ]
    )


def test_twice_is_nothing_new_and_a_source_of_commits_is_never_silent(
    settings: Settings, made: Repository, tmp_path: Path
) -> None:
    root = made.commit({"a.py": lines(1)})
    collect_runs(settings, tmp_path / "runs", r1=root)
    collect(settings)
    assert fetching.fetch(settings, fetching.Request("shop-code", NOW, Interval())) == []
    later = NOW + timedelta(days=40)
    assert fetching.fetch(settings, fetching.Request("shop-code", later, Interval())) == []
    with open_warehouse(settings) as warehouse:
        assert warehouse.watermark("git", "shop") is None


def test_a_run_that_comes_later_gets_its_files_too(settings: Settings, made: Repository, tmp_path: Path) -> None:
    root = made.commit({"a.py": lines(1)})
    assert collect(settings)["rows"]["commits"] == 1
    collect_runs(settings, tmp_path / "runs", r1=root)
    assert collect(settings)["rows"] == {"runs": 0, "test_results": 0, "changed_files": 1}
    assert rows(settings, "changed_files", "run_id", "path") == [("r1", "a.py")]


def test_files_that_another_source_gave_are_left_alone(settings: Settings, made: Repository, tmp_path: Path) -> None:
    root = made.commit({"a.py": lines(1)})
    files = [{"path": "told.py"}]
    write_run(
        tmp_path / "runs" / "r1",
        run_id="r1",
        project="shop",
        commit_sha=root,
        started_at="2026-01-09T00:00:00Z",
        changed_files=files,
    )
    collect(settings, fetching.HISTORY, history=str(tmp_path / "runs"))
    assert collect(settings)["rows"]["changed_files"] == 0
    assert rows(settings, "changed_files", "path") == [("told.py",)]


def test_what_the_contract_refuses_is_kept_with_its_reason(
    settings: Settings, made: Repository, tmp_path: Path
) -> None:
    root = made.commit({"fine.py": b"1\n", "new\nline": b"1\n"})
    collect_runs(settings, tmp_path / "runs", r1=root)
    assert collect(settings)["rejected"] == 1
    assert rows(settings, "changed_files", "path") == [("fine.py",)]
    assert rows(settings, "rejected_rows", "contract", "reason") == [("changed_files", "control_character")]


def test_a_batch_is_replayed_from_the_landing_area(settings: Settings, made: Repository, tmp_path: Path) -> None:
    made.commit({"a.py": lines(1)})
    (reference,) = fetching.fetch(settings, fetching.Request("shop-code", NOW, Interval()))
    made.folder.rename(tmp_path / "gone")
    assert collection.replay(settings, reference["batch_id"], NOW)["rows"]["commits"] == 1


def test_a_validated_batch_that_a_killed_collection_left_is_appended_once(settings: Settings, made: Repository) -> None:
    made.commit({"a.py": lines(1)})
    (left,) = fetching.fetch(settings, fetching.Request("shop-code", NOW, Interval()))
    checked = collection.validate(settings, left, NOW)
    assert collect(settings)["rows"]["commits"] == 1
    assert collection.append(settings, [checked])["batches"] == 0
    found = {finding.name: finding.status for finding in verification.verify(settings) if "batch" in finding.name}
    assert set(found.values()) == {"pass"}


def test_an_examined_source_knows_the_runs_of_the_lake_and_needs_no_secret(
    settings: Settings, made: Repository, tmp_path: Path
) -> None:
    root = made.commit({"a.py": lines(1)})
    collect_runs(settings, tmp_path / "runs", r1=root, r2="f" * 40)
    found = list(fetching.examine(settings, "shop-code", NOW))
    assert [(finding.subject, finding.is_ok) for finding in found] == [
        ("secret", True),
        ("repository", True),
        ("branch", True),
        ("history", True),
        ("commits of runs", True),
    ]
    assert found[-1].detail == "the commits of 1 of 2 runs without changed files are there"


def test_who_opted_out_wrote_no_commit_that_anybody_knows_of(settings: Settings, made: Repository) -> None:
    made.commit({"a.py": lines(1)})
    collect(settings)
    ((known,),) = rows(settings, "commits", "author_id")
    done = forget(settings, (f"{ADA[0]} <{ADA[1]}>", "shop"), NOW, "ada")
    assert (done["landed_manifests"], done["lake_rows"]["commits"]) == (1, 1)
    made.commit({"a.py": lines(2)})
    collect(settings)
    assert set(rows(settings, "commits", "author_id")) == {(None,)}
    landed = [file for file in (settings.home / "landing").rglob("*") if file.is_file()]
    assert [file for file in landed if str(known).encode() in file.read_bytes()] == []
