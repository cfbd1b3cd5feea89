"""What a project does not keep goes, nothing else does, and no collection brings it back."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ml.errors import SettingsError
from ml.settings import Settings
from ml.stages import collection, fetching, maintenance, retention
from ml.stages.opening import open_lake, open_warehouse, to_span
from ml.stages.project_retention import ProjectOptions, project_options
from ml.stages.verification import _every_batch_once
from tests.history_builders import write_report, write_run
from tests.lake_builders import files, record, rejected, results, runs, stored
from tests.ml.sources.gitlab.server import TOKEN, pipeline, small
from tests.ml.sources.replay_server import serving
from tests.postgres import Postgres

NOW = datetime(2026, 6, 1, 15, tzinfo=UTC)
KEEP_60 = '[project."acme/shop"]\nkeep_days = 60\n'
SHOP, DEPOT = "acme/shop", "depot"
# 60 days before NOW: 2026-04-02
BEFORE, FIRST = "2026-04-01T23:59:59Z", "2026-04-02T00:00:00Z"
TABLES = ("runs", "test_results", "changed_files")


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        warehouse_dsn=SecretStr(postgres.pipeline_dsn),
        sources=tmp_path / "fourgate.toml",
        keep_lake_days=1,
    )


def batch(project: str, run_id: str, start: str) -> dict[str, Any]:
    return {
        "runs": runs((run_id, start), project=project),
        "test_results": results((run_id, "a", "passed"), (run_id, "b", "failed"), project=project),
        "changed_files": files((run_id, "a.py"), project=project),
        "rejected_rows": rejected("odd", project=project),
    }


@pytest.fixture
def collected(settings: Settings) -> Settings:
    """Runs of two projects on the last day that goes and on the first that stays."""
    lake = open_lake(settings)
    lake.create()
    with open_warehouse(settings) as warehouse:
        for project in (SHOP, DEPOT):
            for name, start in (("old", BEFORE), ("new", FIRST)):
                append_as(warehouse, lake, project, name, start)
    return settings


def append_as(warehouse: Any, lake: Any, project: str, name: str, start: str) -> None:
    with warehouse.lake_lock():
        head = warehouse.head()
        base = lake.restore(head.versions if head else dict.fromkeys(lake.versions(), 0), warehouse.next_sequence())
        sequence = warehouse.next_sequence()
        done = lake.append(batch(project, f"{project}-{name}", start), f"{project}-{name}", sequence, base)
        fields = {"row_counts": done.counts, "data_until": done.data_until, "project": project, "rejected": 1}
        warehouse.record_batch(record(f"{project}-{name}", done.versions, **fields), sequence)


def head_rows(settings: Settings, table: str, column: str) -> list[object]:
    with open_warehouse(settings) as warehouse:
        head = warehouse.head()
    assert head is not None
    return sorted({row[0] for row in stored(open_lake(settings), table, head.versions[table], [column])})


def test_without_a_table_nothing_goes(collected: Settings) -> None:
    assert maintenance.maintain(collected, NOW)["expired_rows"] == {}
    assert len(head_rows(collected, "runs", "run_id")) == 4


def test_history_from_before_the_days_kept_goes_by_whole_days_and_that_of_others_stays(collected: Settings) -> None:
    collected.sources.write_text(KEEP_60)
    planned = maintenance.maintain(collected, NOW, dry_run=True)
    assert planned["expired_rows"] == {SHOP: 5}
    assert len(head_rows(collected, "runs", "run_id")) == 4
    done = maintenance.maintain(collected, NOW)
    assert done["expired_rows"] == {SHOP: 5}
    left = ["acme/shop-new", "depot-new", "depot-old"]
    for table in TABLES:
        assert head_rows(collected, table, "run_id") == left
    assert head_rows(collected, "rejected_rows", "batch_id") == left


def test_what_went_is_a_snapshot_of_the_ledger_that_its_rows_still_add_up_to(collected: Settings) -> None:
    collected.sources.write_text(KEEP_60)
    maintenance.maintain(collected, NOW)
    with open_warehouse(collected) as warehouse:
        look = _every_batch_once(collected, warehouse)
        head = warehouse.head()
        assert head is not None
        ledger = warehouse.batches(SHOP, head.snapshot_id)
        status = {row["project"]: row for row in warehouse.status()["collected"]}
    assert look.problems == []
    gone = ledger[ledger["kind"] == "retention"].iloc[0]
    assert (gone["row_counts"]["runs"], gone["row_counts"]["test_results"]) == (-1, -2)
    assert (status[SHOP]["batches"], status[SHOP]["runs"], status[DEPOT]["runs"]) == (2, 1, 2)


def test_a_row_that_is_lost_beside_retention_is_still_told(collected: Settings) -> None:
    collected.sources.write_text(KEEP_60)
    maintenance.maintain(collected, NOW)
    from ml.lake.removing import Outdated

    lake = open_lake(collected)
    with open_warehouse(collected) as warehouse, warehouse.lake_lock():
        lost = lake.remove(lake.versions(), Outdated(DEPOT, "2026-04-02", frozenset()), warehouse.next_sequence())
        warehouse.record_batch(record("empty", lost.versions, row_counts={}), warehouse.next_sequence())
        problems = [problem.what for problem in _every_batch_once(collected, warehouse).problems]
    assert "test_results: 4 rows, but the ledger says 6" in problems


def test_twice_changes_nothing_more(collected: Settings) -> None:
    collected.sources.write_text(KEEP_60)
    first = maintenance.maintain(collected, NOW)
    versions = open_lake(collected).versions()
    again = maintenance.maintain(collected, NOW)
    assert again["expired_rows"] == {SHOP: 0}
    assert again["snapshot_id"] == first["snapshot_id"]
    assert open_lake(collected).versions() == versions


def test_an_older_snapshot_stays_readable_until_vacuum_drops_it(collected: Settings) -> None:
    with open_warehouse(collected) as warehouse:
        before = warehouse.head()
    assert before is not None
    collected.sources.write_text(KEEP_60)
    maintenance.maintain(collected, NOW)
    assert open_lake(collected).read("runs", before.versions["runs"]).num_rows == 4
    maintenance.maintain(collected.model_copy(update={"keep_lake_days": 0}), NOW)
    gone = open_lake(collected)
    assert not any("acme%2Fshop/day=2026-04-01" in path for path in lake_files(collected))
    assert stored(gone, "runs", gone.versions()["runs"], ["run_id"]) == [
        ("acme/shop-new",),
        ("depot-new",),
        ("depot-old",),
    ]


def lake_files(settings: Settings) -> list[str]:
    return [str(path) for path in Path(settings.lake).rglob("*.parquet")]


def test_a_kill_before_the_ledger_knows_leaves_the_head_readable_and_the_next_run_ends_it(
    collected: Settings,
) -> None:
    collected.sources.write_text(KEEP_60)
    from ml.stages import lake_changes

    lake = open_lake(collected)
    with open_warehouse(collected) as warehouse, warehouse.lake_lock():
        (going,) = lake_changes.outdated(collected, warehouse, NOW)
        lake.remove(lake.versions(), going, warehouse.next_sequence())
    assert len(head_rows(collected, "runs", "run_id")) == 4
    assert maintenance.maintain(collected, NOW)["expired_rows"] == {SHOP: 5}
    assert len(head_rows(collected, "runs", "run_id")) == 3


def test_labels_go_with_their_day(collected: Settings) -> None:
    import pandas as pd

    moment = pd.to_datetime(["2026-04-01T12:00:00Z", "2026-04-03T12:00:00Z"], utc=True).as_unit("us")
    labels = pd.DataFrame(
        {
            "project": SHOP,
            "run_id": ["acme/shop-old", "acme/shop-new"],
            "variant": "linux",
            "test_id": "b",
            "state": "flaky",
            "probability": 0.9,
            "evidence": "passed",
            "labelled_at": moment,
            "snapshot_id": 1,
        }
    )
    lake = open_lake(collected)
    with open_warehouse(collected) as warehouse, warehouse.lake_lock():
        sequence = warehouse.next_sequence()
        versions = lake.append_labels(labels, "labels-1", sequence, lake.versions())
        warehouse.record_batch(record("labels-1", versions, row_counts={"failure_labels": 2}), sequence)
    collected.sources.write_text(KEEP_60)
    maintenance.maintain(collected, NOW)
    assert head_rows(collected, "failure_labels", "run_id") == ["acme/shop-new"]


def history(folder: Path) -> Path:
    """A run of each of the two days, with two results each, and one of another project."""
    for name, project, start in (("r1", SHOP, BEFORE), ("r2", SHOP, FIRST), ("r3", DEPOT, BEFORE)):
        run = write_run(folder / name, name, project=project, started_at=start, finished_at="2026-04-02T01:00:00Z")
        for test in ("a", "b"):
            write_report(run / "linux" / f"{test}.xml", test)
    return folder


def collect(settings: Settings, folder: Path, as_of: datetime = NOW) -> dict[str, Any]:
    batches = fetching.fetch_history(settings, str(folder))
    return collection.append(settings, [collection.validate(settings, one, as_of) for one in batches])


def test_a_collection_leaves_out_what_is_not_kept_and_says_so(settings: Settings, tmp_path: Path) -> None:
    settings.sources.write_text(KEEP_60)
    collect(settings, history(tmp_path / "history"))
    for table in ("runs", "test_results"):
        assert head_rows(settings, table, "run_id") == ["r2", "r3"]
    lake = open_lake(settings)
    told = lake.read("rejected_rows", lake.versions()["rejected_rows"]).to_pylist()
    assert [(row["project"], row["reason"], row["value"], row["row"]) for row in told] == [
        (SHOP, "older_than_keep_days", "2026-04-01T23:59:59+00:00", None)
    ]


SERVER = """
[source.shop]
kind = "gitlab"
project = "acme/shop"
path = "acme/shop"
url = "{}"
"""


@pytest.mark.parametrize(
    ("since", "until", "asked"),
    [
        (None, None, ["2026-04-01T23:59:59Z"]),
        ("2026-01-01T00:00:00Z", "2026-05-02T00:00:00Z", ["2026-04-01T23:59:59Z"]),
        ("2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z", ["2026-04-30T23:59:59Z"]),
        ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", ["2026-04-01T23:59:59Z"]),
    ],
)
def test_a_server_is_not_asked_for_what_is_not_kept(
    since: str | None, until: str | None, asked: list[str], settings: Settings
) -> None:
    project = small()
    project.pipelines = [pipeline(1, "2026-01-05T08:00:00.000Z"), pipeline(2, "2026-05-01T08:00:00.000Z")]
    with serving(project) as server:
        settings.sources.write_text(KEEP_60 + SERVER.format(server.url))
        request = fetching.Request("shop", NOW, to_span(since, until), SecretStr(TOKEN))
        landed = fetching.fetch(settings, request)
        listings = [one.query["created_after"] for one in server.asked if one.path.endswith("/pipelines")]
    assert listings == asked
    assert len(landed) == (0 if until == "2026-02-01T00:00:00Z" else 1)


def test_a_replay_does_not_bring_back_what_retention_removed(settings: Settings, tmp_path: Path) -> None:
    collect(settings, history(tmp_path / "history"))
    assert head_rows(settings, "runs", "run_id") == ["r1", "r2", "r3"]
    settings.sources.write_text(KEEP_60)
    maintenance.maintain(settings, NOW)
    (landed,) = {
        row["batch_id"]
        for row in open_lake(settings).read("runs", open_lake(settings).versions()["runs"]).to_pylist()
        if row["run_id"] == "r2"
    }
    collection.replay(settings, landed, NOW)
    assert collect(settings, tmp_path / "history")["batches"] == 0
    assert head_rows(settings, "runs", "run_id") == ["r2", "r3"]


def test_payloads_stay_as_long_as_their_project_says(settings: Settings, tmp_path: Path) -> None:
    collect(settings, history(tmp_path / "history"))
    written = (NOW - timedelta(days=20)).timestamp()
    landed = [path for path in (settings.home / "landing" / "junit").iterdir() if path.is_dir()]
    for path in (one for folder in landed for one in folder.rglob("*")):
        os.utime(path, (written, written))
    assert removed(settings) == 0
    settings.sources.write_text('[project."acme/shop"]\nkeep_payload_days = 21\n')
    assert removed(settings) == 0
    settings.sources.write_text('[project."acme/shop"]\nkeep_payload_days = 19\n')
    assert removed(settings, dry_run=True) == 1
    assert removed(settings) == 1
    by_default = settings.model_copy(update={"keep_payloads_days": 10})
    settings.sources.write_text("[project.depot]\nkeep_payload_days = 0\n")
    assert removed(by_default) == 0
    settings.sources.unlink()
    assert removed(by_default) == 1


def removed(settings: Settings, *, dry_run: bool = False) -> int:
    done = retention.clean_working_files(settings, NOW, dry_run=dry_run)
    return int(done["kinds"]["payloads"]["removed"])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("keep_days = 7", "7 days are fewer than training needs; right would be 0, for ever, or 30"),
        ("keep_days = 29", "fewer than training needs"),
        ("keep_days = -1", "greater than or equal to 0"),
        ("keep_days = 1e9", "valid integer"),
        ("keep_days = true", "valid integer"),
        ('keep_days = "60"', "valid integer"),
        ("keep_days = 99999999999", "less than or equal to 36500"),
        ("keep_payload_days = -2", "greater than or equal to 0"),
        ("keep_dyas = 60", "keep_dyas: Extra inputs are not permitted"),
    ],
)
def test_an_option_that_is_wrong_is_refused_with_its_line(line: str, why: str, settings: Settings) -> None:
    settings.sources.write_text(f'# ours\n[project."acme/shop"]\n{line}\n')
    with pytest.raises(SettingsError) as refused:
        project_options(settings)
    assert f"{settings.sources}, line 3: " in str(refused.value)
    assert why in str(refused.value)


def test_other_tables_are_refused_and_projects_are_no_sources(settings: Settings) -> None:
    settings.sources.write_text("[projects.shop]\nkeep_days = 60\n")
    with pytest.raises(SettingsError, match="'projects' is not known; right would be tables called"):
        project_options(settings)
    settings.sources.write_text("project = 7\n")
    with pytest.raises(SettingsError, match="project is no table"):
        project_options(settings)
    settings.sources.write_text(KEEP_60)
    assert fetching.names(settings) == []
    assert project_options(settings) == {SHOP: ProjectOptions(keep_days=60)}
