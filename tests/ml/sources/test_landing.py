import json
from pathlib import Path

import pytest

from ml.errors import SourceError
from ml.sources.landing import Payload, Shelf, find, index_of, land, payload_file
from ml.spec import Batch


def land_two(landing: Path, place: str = "here", second: bytes = b"two") -> Batch:
    payloads = [Payload(f"{place}/a.xml", "a.xml", b"one"), Payload(f"{place}/b.xml", "b.xml", second)]
    return land(Shelf(landing, "junit", "p"), payloads, {"place": place})


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_batch_lands_with_its_payloads_and_its_index(tmp_path: Path) -> None:
    batch = land_two(tmp_path)
    assert (batch.source, batch.project, batch.payload_count) == ("junit", "p", 2)
    assert batch.folder == str(tmp_path / "junit" / batch.batch_id)
    assert payload_file(batch, "here/b.xml").read_bytes() == b"two"
    assert index_of(batch) == {"place": "here"}


def test_the_same_content_from_another_place_is_the_same_batch_and_stays_as_it_is(tmp_path: Path) -> None:
    first = land_two(tmp_path)
    before = (Path(first.folder) / "batch.json").stat().st_mtime_ns
    assert land_two(tmp_path, "elsewhere") == first
    assert (Path(first.folder) / "batch.json").stat().st_mtime_ns == before
    assert listing(tmp_path / "junit") == {first.batch_id, ".lock"}


@pytest.mark.parametrize("changed", ["content", "identity", "source", "project", "notes"])
def test_other_content_is_another_batch(tmp_path: Path, changed: str) -> None:
    def landed(with_change: str) -> str:
        word = "new" if with_change else "old"
        texts = {name: word if name == with_change else "old" for name in ("content", "identity", "source", "project")}
        payload = Payload("a", texts["identity"], texts["content"].encode())
        notes = word if with_change == "notes" else "old"
        return land(Shelf(tmp_path, texts["source"], texts["project"]), [payload], {}, notes).batch_id

    assert landed("") == landed("")
    assert landed(changed) != landed("")


def test_what_a_kill_left_half_written_is_no_batch_and_goes_with_the_next_landing(tmp_path: Path) -> None:
    left = tmp_path / "junit" / "incoming-killed" / "payloads"
    left.mkdir(parents=True)
    (left / "a.xml").write_bytes(b"on")
    batch = land_two(tmp_path)
    assert listing(tmp_path / "junit") == {batch.batch_id, ".lock"}


def test_a_landing_that_fails_leaves_nothing(tmp_path: Path) -> None:
    gone = Payload("b.xml", "b.xml", tmp_path / "gone.xml")
    with pytest.raises(SourceError, match=r"gone\.xml"):
        land(Shelf(tmp_path, "junit", "p"), [Payload("a.xml", "a.xml", b"one"), gone], {})
    assert listing(tmp_path / "junit") == {".lock"}


def test_a_landed_batch_is_found_by_its_id(tmp_path: Path) -> None:
    batch = land_two(tmp_path)
    assert find(tmp_path, batch.batch_id) == batch


@pytest.mark.parametrize("batch_id", ["0" * 16, "../../etc", "", "*", "A" * 16])
def test_an_unknown_or_impossible_id_is_an_error(tmp_path: Path, batch_id: str) -> None:
    land_two(tmp_path)
    with pytest.raises(SourceError):
        find(tmp_path, batch_id)


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_payload_that_changed_after_landing_is_told(tmp_path: Path, damage: str) -> None:
    batch = land_two(tmp_path)
    payload = payload_file(batch, "here/a.xml")
    if damage == "gone":
        payload.unlink()
    else:
        payload.write_bytes(b"other")
    with pytest.raises(SourceError, match=r"here/a\.xml.*not as it was landed"):
        index_of(batch)


def test_a_batch_without_its_record_is_told(tmp_path: Path) -> None:
    batch = land_two(tmp_path)
    record = Path(batch.folder) / "batch.json"
    assert json.loads(record.read_text())["project"] == "p"
    record.unlink()
    with pytest.raises(SourceError, match=r"no readable batch\.json"):
        index_of(batch)
