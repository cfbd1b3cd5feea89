"""Single batches become one larger batch with their rows, whoever is killed or works at the same time."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml.sources import JUnit, Limits, find_batch, hand_out, holder, landed, read_batch
from ml.sources import joining as joining_module
from ml.sources.landing import retire
from ml.spec import Batch, Interval
from tests.history_builders import write_report, write_run

LIMITS = Limits(1_000_000, "salt")
SOURCE = "push"


def land(landing: Path, run_id: str, *tests: str, name: str = "r.xml", **fields: Any) -> Batch:
    """One run pushed alone; each test fails whose name begins with `bad`."""
    folder = write_run(landing.parent / "sent" / f"{run_id}-{name}", run_id, **fields)
    for test in tests:
        write_report(folder / test / name, test, failed=test.startswith("bad"))
    (batch,) = JUnit(folder, landing, LIMITS, {}, SOURCE).fetch(Interval())
    shutil.rmtree(folder)
    return batch


def everything(batches: list[Batch]) -> list[Batch]:
    return batches


def collected(landing: Path) -> list[Batch]:
    return hand_out(landing, SOURCE, everything)


def rows(batches: list[Batch], table: str) -> list[tuple[Any, ...]]:
    frames = [read_batch(batch, LIMITS).frames[table].astype(object) for batch in batches]
    together = pd.concat(frames)
    return sorted(map(tuple, together.where(together.notna(), None).astype(str).itertuples(index=False)))


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "landing"


def three(landing: Path) -> list[Batch]:
    files = [{"path": "src/a.py", "added": 1}, {"path": ""}]
    return [
        land(landing, "1", "a", "bad", changed_files=files),
        land(landing, "2", "a", author="Ada", started_at="2026-01-02T00:00:00Z"),
        land(landing, "3"),
    ]


def test_the_larger_batch_has_the_rows_of_the_single_ones(landing: Path) -> None:
    singles = three(landing)
    wanted = {table: rows(singles, table) for table in ("runs", "test_results", "changed_files")}
    (larger,) = collected(landing)
    assert {table: rows([larger], table) for table in wanted} == wanted
    assert [len(wanted[table]) for table in ("runs", "test_results", "changed_files")] == [3, 3, 1]
    refused = read_batch(larger, LIMITS).refused
    assert refused[["reason", "payload"]].values.tolist() == [["missing_field", f"{singles[0].batch_id}/manifest.json"]]
    assert (larger.source, larger.project, larger.payload_count) == (SOURCE, "p", 6)


def test_the_single_ones_are_gone_and_still_lead_to_the_larger_one(landing: Path) -> None:
    singles = three(landing)
    (larger,) = collected(landing)
    assert landed(landing, SOURCE) == [larger]
    for single in singles:
        assert [path.name for path in Path(single.folder).iterdir()] == ["batch.json"]
        assert find_batch(landing, single.batch_id) == larger
        assert holder(Path(single.folder)) == larger.batch_id


def test_the_same_run_sent_again_is_no_new_batch(landing: Path) -> None:
    land(landing, "1", "a")
    land(landing, "2", "a")
    (larger,) = collected(landing)
    land(landing, "1", "a")
    assert landed(landing, SOURCE) == [larger]


def test_a_batch_that_is_alone_stays_as_it_is_also_when_others_come(landing: Path) -> None:
    first = land(landing, "1", "a")
    assert collected(landing) == [first]
    second = land(landing, "2", "a")
    assert collected(landing) == [first, second]
    third, fourth = land(landing, "3", "a"), land(landing, "4", "a")
    *stay, larger = collected(landing)
    assert stay == [first, second]
    assert {find_batch(landing, one.batch_id) for one in (third, fourth)} == {larger}
    assert collected(landing) == [first, second, larger]
    assert read_batch(first, LIMITS).frames["runs"]["run_id"].tolist() == ["1"]


def test_pushes_of_one_run_come_one_after_the_other_in_batches_of_their_own(landing: Path) -> None:
    for run_id in ("1", "2"):
        for name in ("x", "y"):
            land(landing, run_id, name, name=f"{name}.xml", finished_at="2026-01-01T01:00:00Z" if name == "y" else None)
    first, second = collected(landing)
    assert [sorted(read_batch(one, LIMITS).frames["runs"]["run_id"]) for one in (first, second)] == [["1", "2"]] * 2
    assert set(read_batch(first, LIMITS).frames["test_results"]["test_id"]) == {"S::x"}
    assert set(read_batch(second, LIMITS).frames["test_results"]["test_id"]) == {"S::y"}


def test_projects_are_not_joined(landing: Path) -> None:
    for project in ("q", "p", "q", "p"):
        land(landing, f"{project}{len(landed(landing, SOURCE))}", "a", project=project)
    assert [(batch.project, batch.payload_count) for batch in collected(landing)] == [("p", 4), ("q", 4)]


def test_a_larger_batch_has_limits(landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining_module, "MAX_BATCH_RUNS", 2)
    for number in range(5):
        land(landing, str(number), "a")
    assert [batch.payload_count for batch in collected(landing)] == [4, 4, 2]


def test_a_larger_batch_has_a_size(landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(file.stat().st_size for file in Path(land(landing, "0", "a").folder).rglob("*.xml"))
    monkeypatch.setattr(joining_module, "MAX_BATCH_BYTES", 3 * size)
    for number in range(1, 4):
        land(landing, str(number), "a")
    assert [batch.payload_count for batch in collected(landing)] == [6, 2]


def test_what_is_not_chosen_is_left_alone(landing: Path) -> None:
    first, second = land(landing, "1", "a"), land(landing, "2", "a")
    assert hand_out(landing, SOURCE, lambda batches: [one for one in batches if one != first]) == [second]
    assert hand_out(landing.parent / "nothing", SOURCE, everything) == []


def test_a_damaged_batch_stays_alone_and_keeps_none_from_being_joined(landing: Path) -> None:
    damaged, *others = three(landing)
    Path(damaged.folder, "payloads", "manifest.json").write_text("{}")
    found = collected(landing)
    assert found[0] == damaged
    assert {find_batch(landing, one.batch_id) for one in others} == {found[1]}


@pytest.mark.parametrize("half", ["nothing retired", "one retired", "one half retired"])
def test_a_kill_after_the_larger_batch_landed_loses_and_doubles_nothing(landing: Path, half: str) -> None:
    kept = landing.parent / "kept"
    singles = three(landing)
    wanted = rows(singles, "test_results")
    shutil.copytree(landing, kept)
    (larger,) = collected(landing)
    for number, single in enumerate(singles):  # as it was before, all but what the kill left done
        if not (half == "one retired" and number == 0):
            shutil.copytree(kept / SOURCE / single.batch_id, single.folder, dirs_exist_ok=True)
    if half == "one half retired":
        record = json.loads(Path(singles[0].folder, "batch.json").read_text())
        changed = {**record, "payloads": [], "joined_into": larger.batch_id}
        Path(singles[0].folder, "batch.json").write_text(json.dumps(changed))
    Path(larger.folder, "handed-out").unlink()
    assert collected(landing) == [larger]
    assert rows([larger], "test_results") == wanted
    assert [single for single in singles if Path(single.folder, "payloads").exists()] == []


def test_two_collections_at_once_hand_out_the_same(landing: Path) -> None:
    for number in range(20):
        land(landing, str(number), "a")
    wanted = rows(landed(landing, SOURCE), "test_results")
    found: list[list[Batch]] = []
    threads = [threading.Thread(target=lambda: found.append(collected(landing))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 4
    assert rows(found[0], "test_results") == wanted


def test_without_room_for_a_larger_batch_the_single_ones_are_handed_out(landing: Path) -> None:
    singles = three(landing)
    (landing / SOURCE / ".lock").unlink()
    (landing / SOURCE / ".lock").mkdir()
    assert collected(landing) == singles


def test_retiring_twice_is_fine(landing: Path) -> None:
    singles = three(landing)
    (larger,) = collected(landing)
    retire(singles[0], larger.batch_id)
    assert find_batch(landing, singles[0].batch_id) == larger
