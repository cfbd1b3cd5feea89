"""Who opts out is in no row, no manifest and no later collection, and what was landed can be read again."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from ml.cli import complete
from ml.errors import SettingsError
from ml.settings import Settings
from ml.sources import landing as landing_module
from ml.sources import manifest
from ml.sources.landing import find, index_of
from ml.sources.pseudonyms import pseudonym
from ml.stages import collection, fetching, forgetting, maintenance
from ml.stages.opening import open_lake, open_warehouse
from ml.stages.verification import _every_batch_once
from ml.warehouse.session import Session
from tests.history_builders import write_report, write_run
from tests.lake_builders import stored
from tests.postgres import Postgres

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ADA = ("ada", "acme/shop")
HIDDEN = pseudonym("ada", "acme/shop", "fourgate")


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn), keep_lake_days=1)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    folder = tmp_path / "history"
    for name, project, author in (
        ("r1", "acme/shop", "ada"),
        ("r2", "acme/shop", "grace"),
        ("r3", "depot", "ada"),
        ("r4", "acme/shop", "ada"),
    ):
        run = write_run(folder / name, name, project=project, author=author, finished_at="2026-01-01T01:00:00Z")
        for number in range(40):  # a batch of which more is refused does not pass
            write_report(run / "linux" / f"{number}.xml", f"t{number}")
    # refused for its end, and kept with its row
    write_run(folder / "r5", "r5", project="acme/shop", author="ada", finished_at="2025-01-01T01:00:00Z")
    return folder


@pytest.fixture
def collected(settings: Settings, history: Path) -> Settings:
    collect(settings, history)
    return settings


def collect(settings: Settings, history: Path) -> dict[str, Any]:
    batches = fetching.fetch_history(settings, str(history))
    return collection.append(settings, [collection.validate(settings, one, NOW) for one in batches])


def authors(settings: Settings) -> dict[str, object]:
    with open_warehouse(settings) as warehouse:
        head = warehouse.head()
    assert head is not None
    pairs = stored(open_lake(settings), "runs", head.versions["runs"], ["run_id", "author_id"])
    return {str(run_id): author for run_id, author in pairs}


def holds(folder: Path, text: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def batches(settings: Settings) -> list[str]:
    return sorted(path.name for path in (settings.home / "landing" / "junit").iterdir() if path.is_dir())


def test_a_person_goes_from_lake_landing_and_staging_of_the_project_and_nobody_else_does(collected: Settings) -> None:
    before, ids = authors(collected), batches(collected)
    assert before["r1"] == before["r4"] == HIDDEN
    assert len(holds(collected.home / "landing", HIDDEN)) == 3
    done = forgetting.forget(collected, ADA, NOW, "someone")
    assert done["lake_rows"] | {"failure_labels": 0} == {
        "runs": 2,
        "test_results": 0,
        "changed_files": 0,
        "rejected_rows": 1,
        "failure_labels": 0,
        "commits": 0,
    }
    assert (done["is_new"], done["landed_manifests"], done["staged_batches"], done["unread"]) == (True, 3, 1, [])
    assert authors(collected) == {"r1": None, "r2": before["r2"], "r3": before["r3"], "r4": None}
    assert holds(collected.home / "landing", HIDDEN) == []
    assert holds(collected.home / "landing", "author_id") != []
    assert batches(collected) == ids
    assert len(list((collected.home / "staging").iterdir())) == 1
    refused = open_lake(collected).read("rejected_rows", open_lake(collected).versions()["rejected_rows"]).to_pylist()
    assert HIDDEN not in str(refused)
    assert "r5" in str(refused)


def test_a_rewritten_batch_keeps_its_time_and_can_be_replayed(collected: Settings) -> None:
    shop = next(one for one in batches(collected) if find(fetching.landing(collected), one).project == "acme/shop")
    folder = collected.home / "landing" / "junit" / shop
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    forgetting.forget(collected, ADA, NOW, "someone")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == times
    index_of(find(fetching.landing(collected), shop))
    done = collection.replay(collected, shop, NOW)
    assert done["rows"] == {"runs": 0, "test_results": 0, "changed_files": 0}
    assert authors(collected)["r1"] is None


def test_who_opted_out_lands_no_more(collected: Settings, history: Path, tmp_path: Path) -> None:
    forgetting.forget(collected, ADA, NOW, "someone")
    again = collect(collected, history)
    assert again["rows"] == {"runs": 0, "test_results": 0, "changed_files": 0}
    run = write_run(
        tmp_path / "new" / "r9", "r9", project="acme/shop", author="ada", finished_at="2026-01-02T00:00:00Z"
    )
    write_report(run / "linux" / "a.xml", "a")
    collect(collected, tmp_path / "new")
    assert authors(collected)["r9"] is None
    assert holds(collected.home / "landing", HIDDEN) == []


def test_what_landed_before_and_comes_later_is_without_the_person(settings: Settings, history: Path) -> None:
    landed = fetching.fetch_history(settings, str(history))
    with open_warehouse(settings) as warehouse:
        warehouse.forget_person(HIDDEN, "acme/shop", "someone")
    collection.append(settings, [collection.validate(settings, one, NOW) for one in landed])
    found = authors(settings)
    assert found["r1"] is None
    assert found["r2"] is not None


def test_twice_changes_nothing_more_and_is_told(collected: Settings) -> None:
    forgetting.forget(collected, ADA, NOW, "someone")
    versions = open_lake(collected).versions()
    again = forgetting.forget(collected, ADA, NOW, "someone")
    assert (again["is_new"], again["landed_manifests"], again["staged_batches"]) == (False, 0, 0)
    assert set(again["lake_rows"].values()) == {0}
    assert open_lake(collected).versions() == versions


def test_a_dry_run_says_the_same_and_changes_nothing(collected: Settings) -> None:
    before, versions = authors(collected), open_lake(collected).versions()
    planned = forgetting.forget(collected, ADA, NOW, "someone", dry_run=True)
    assert (authors(collected), open_lake(collected).versions()) == (before, versions)
    assert len(holds(collected.home / "landing", HIDDEN)) == 3
    done = forgetting.forget(collected, ADA, NOW, "someone")
    assert {**planned, "dry_run": False} == done


def test_the_name_is_stored_nowhere_and_the_audit_log_says_who_asked(collected: Settings, postgres: Postgres) -> None:
    forgetting.forget(collected, ("Ada Lovelace", "acme/shop"), NOW, "someone")
    with Session(postgres.admin_dsn) as owner, owner.transaction() as cursor:
        cursor.execute("SELECT actor, subject, detail FROM fourgate.audit_log WHERE action = 'forget_person'")
        assert cursor.fetchall() == [("someone", "acme/shop", {})]
        cursor.execute("SELECT forgotten_person::text FROM fourgate.forgotten_person")
        assert "Lovelace" not in str(cursor.fetchall())
    assert holds(collected.home, "Lovelace") == []


def test_the_ledger_still_adds_up_and_the_old_version_goes_with_a_vacuum(collected: Settings) -> None:
    forgetting.forget(collected, ADA, NOW, "someone")
    with open_warehouse(collected) as warehouse:
        assert _every_batch_once(collected, warehouse).problems == []
    maintenance.maintain(collected.model_copy(update={"keep_lake_days": 0}), NOW)
    assert authors(collected)["r1"] is None
    lake = open_lake(collected)
    assert len(lake.files("runs", lake.versions()["runs"])) == len(
        list(Path(collected.lake, "runs").rglob("*.parquet"))
    )


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("survived", [0, 1, 2, 3, 4])
def test_killed_while_it_rewrites_the_batch_can_be_read_and_the_next_call_ends_it(
    survived: int, collected: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = landing_module._replace, []

    def dying(*arguments: Any) -> None:
        if len(done) == survived:
            raise Killed
        real(*arguments)
        done.append(arguments)

    monkeypatch.setattr(landing_module, "_replace", dying)
    with pytest.raises(Killed):
        forgetting.forget(collected, ADA, NOW, "someone")
    monkeypatch.setattr(landing_module, "_replace", real)
    for one in batches(collected):
        index_of(find(fetching.landing(collected), one))
    forgetting.forget(collected, ADA, NOW, "someone")
    assert holds(collected.home / "landing", HIDDEN) == []
    for one in batches(collected):
        index_of(find(fetching.landing(collected), one))
    assert holds(collected.home / "landing", "sha256_before") == []


def broken_batch(folder: Path) -> None:
    (folder / "batch.json").write_text("{")


def changed_payload(folder: Path) -> None:
    file = next(path for path in sorted(folder.rglob("manifest.json")) if HIDDEN in path.read_text())
    file.write_text(file.read_text().replace("r1", "r7").replace("r4", "r7"))


def broken_manifest(folder: Path) -> None:
    next(path for path in sorted(folder.rglob("manifest.json")) if HIDDEN in path.read_text()).write_text("[")


@pytest.mark.parametrize("breaking", [broken_batch, changed_payload, broken_manifest])
def test_what_is_not_as_it_was_landed_is_told_and_stops_nothing(
    breaking: Callable[[Path], None], collected: Settings
) -> None:
    shop = next(one for one in batches(collected) if find(fetching.landing(collected), one).project == "acme/shop")
    breaking(collected.home / "landing" / "junit" / shop)
    done = forgetting.forget(collected, ADA, NOW, "someone")
    assert len(done["unread"]) == 1
    assert shop in done["unread"][0]
    assert authors(collected)["r1"] is None


@pytest.mark.parametrize("person", [("", "acme/shop"), (" ", "acme/shop"), ("ada", "")])
def test_nobody_is_nobody(person: tuple[str, str], settings: Settings) -> None:
    with pytest.raises(SettingsError, match="should both be given"):
        forgetting.forget(settings, person, NOW, "someone")


def test_before_anything_was_collected_a_person_can_opt_out(settings: Settings, history: Path) -> None:
    done = forgetting.forget(settings, ADA, NOW, "someone")
    assert (done["is_new"], done["lake_rows"], done["landed_manifests"]) == (True, {}, 0)
    collect(settings, history)
    assert authors(settings)["r1"] is None


def test_the_command_says_what_it_changed_and_what_stays_for_now(
    collected: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {
        "FOURGATE_HOME": str(collected.home),
        "FOURGATE_WAREHOUSE_DSN": collected.warehouse_dsn.get_secret_value(),
        "COLUMNS": "200",
    }

    def call(*arguments: str) -> tuple[int, str]:
        told = CliRunner(env=environment).invoke(complete(), ["forget", "ada", "--project", "acme/shop", *arguments])
        return told.exit_code, told.stdout

    code, text = call("--dry-run")
    assert (code, "Would be changed" in text) == (0, True)
    code, text = call()
    assert code == 0
    assert "rows of runs" in text
    assert "Older versions of the lake still have the pseudonym" in text
    assert "ada" not in text
    code, text = call("--json")
    assert json.loads(text)["is_new"] is False


def test_a_manifest_loses_its_author_only_where_the_person_opted_out() -> None:
    document = {"run_id": "1", "project": "acme/shop", "author": "ada"}
    assert manifest.scrub(document, "fourgate")["author_id"] == HIDDEN
    assert "author_id" not in manifest.scrub(document, "fourgate", {HIDDEN})
    assert "author_id" in manifest.scrub({**document, "project": "depot"}, "fourgate", {HIDDEN})
