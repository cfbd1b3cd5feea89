import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.errors import SourceError
from ml.sources import Limits, open_source, read_batch, unpacking
from ml.sources.unpacking import unpack
from ml.spec import Batch, Interval, Parsed
from tests.history_builders import write_report, write_run

LIMITS = Limits(max_payload_bytes=20_000, author_salt="salt")
REPORT = '<testsuite name="S"><testcase name="{}"/></testsuite>'
MANIFEST = '{"run_id": "r1", "project": "p", "commit_sha": "abc", "started_at": "2026-01-01T00:00:00Z"}'


def zipped(file: Path, entries: dict[str, bytes | str], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file


def tarred(file: Path, entries: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w:gz" if file.suffix == ".gz" else "w") as archive:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def told(file: Path, max_bytes: int = 20_000) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Unpacked files, and (reason, entry) of what was refused."""
    folder = file.parent / "unpacked"
    folder.mkdir()
    refused = unpack(file, folder, max_bytes)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return files, [(refusal.reason, refusal.payload) for refusal in refused]


def collect(history: Path) -> tuple[list[Batch], list[Parsed]]:
    batches = list(open_source(history, history.parent / "landing", LIMITS).fetch(Interval()))
    return batches, [read_batch(batch, LIMITS) for batch in batches]


@pytest.mark.parametrize("wrapper", ["", "history-main/"])
@pytest.mark.parametrize("name", ["h.zip", "h.tar", "h.tar.gz"])
def test_an_archive_gives_the_batches_of_its_folder(tmp_path: Path, name: str, wrapper: str) -> None:
    folder = tmp_path / "folder"
    for run in ("r1", "r2"):
        write_report(write_run(folder / run, run) / "linux" / "a.xml")
    entries = {wrapper + path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
    file = (zipped if name == "h.zip" else tarred)(tmp_path / name, entries)
    assert [batch.batch_id for batch in collect(file)[0]] == [batch.batch_id for batch in collect(folder)[0]]


def test_what_is_refused_of_an_archive_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    entries = {"r1/manifest.json": MANIFEST, "r1/a.xml": REPORT.format("t"), "../evil.xml": REPORT.format("evil")}
    _, read = collect(zipped(tmp_path / "h.zip", entries))
    assert [test for parsed in read for test in parsed.frames["test_results"]["test_id"]] == ["S::t"]
    refused = [
        row for parsed in read for row in parsed.refused[["reason", "payload"]].itertuples(index=False, name=None)
    ]
    assert refused == [("path_outside_archive", "../evil.xml")]
    assert not (tmp_path / "evil.xml").exists()


def test_tables_may_come_in_an_archive_but_only_whole(tmp_path: Path) -> None:
    runs = pa.table({"run_id": ["r"], "project": ["p"], "started_at": ["2026-01-01T00:00:00Z"]})
    results = pa.table({"run_id": ["r"], "test_id": ["t"], "outcome": ["passed"]})
    pq.write_table(runs, tmp_path / "runs.parquet")
    pq.write_table(results, tmp_path / "test_results.parquet")
    entries = {file.name: file.read_bytes() for file in tmp_path.glob("*.parquet")}
    _, (read,) = collect(zipped(tmp_path / "h.zip", entries))
    assert list(read.frames["test_results"]["test_id"]) == ["t"]
    with pytest.raises(SourceError, match=r"\.\./x was refused \(path_outside_archive\)"):
        collect(zipped(tmp_path / "bad.zip", {**entries, "../x": b""}))


@pytest.mark.parametrize(
    "name", ["../x.xml", "a/../../x.xml", "/etc/x.xml", "C:\\x.xml", "..\\x.xml", "\\\\host\\x.xml"]
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    files, refused = told(zipped(tmp_path / "in" / "h.zip", {name: "x", "ok.xml": "x"}))
    assert files == ["ok.xml"]
    assert [reason for reason, _ in refused] == ["path_outside_archive"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_entry_without_a_name_is_refused(tmp_path: Path) -> None:
    file = zipped(tmp_path / "h.zip", {"z": "x", "ok.xml": "x"})
    content = bytearray(file.read_bytes())
    central = content.index(b"PK\x01\x02")
    # The letter of the first name becomes an extra field, in the local and the central header.
    for lengths in (26, central + 28):
        content[lengths : lengths + 4] = b"\x00\x00\x01\x00"
    file.write_bytes(content)
    assert told(file) == (["ok.xml"], [("path_outside_archive", "")])


@pytest.mark.parametrize("name", ["a/" * 50 + "x.xml", "n" * 300, "/".join(["n" * 200] * 6)])
def test_absurd_paths_are_refused(tmp_path: Path, name: str) -> None:
    assert told(zipped(tmp_path / "h.zip", {name: "x"})) == ([], [("too_deep", name[:1_000])])


@pytest.mark.parametrize(
    ("mode", "reason"), [(stat.S_IFLNK, "link_in_archive"), (stat.S_IFIFO, "not_a_file"), (stat.S_IFCHR, "not_a_file")]
)
def test_links_and_devices_of_a_zip_are_refused(tmp_path: Path, mode: int, reason: str) -> None:
    info = zipfile.ZipInfo("x.xml")
    info.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "h.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert told(tmp_path / "h.zip") == ([], [(reason, "x.xml")])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(tarfile.SYMTYPE, "link_in_archive"), (tarfile.LNKTYPE, "link_in_archive"), (tarfile.FIFOTYPE, "not_a_file")],
)
def test_links_and_devices_of_a_tar_are_refused(tmp_path: Path, kind: bytes, reason: str) -> None:
    member = tarfile.TarInfo("x.xml")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "h.tar", "w") as archive:
        archive.addfile(member)
        archive.addfile(tarfile.TarInfo("empty.xml"))
    assert told(tmp_path / "h.tar") == (["empty.xml"], [(reason, "x.xml")])


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    file = zipped(tmp_path / "h.zip", {"secret.xml": "x" * 50, "open.xml": "x"}, zipfile.ZIP_STORED)
    content = bytearray(file.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    assert told(file) == (["open.xml"], [("encrypted", "secret.xml")])


def test_a_packing_that_cannot_be_bounded_is_refused(tmp_path: Path) -> None:
    file = zipped(tmp_path / "h.zip", {"x.xml": "x" * 5_000}, zipfile.ZIP_LZMA)
    assert told(file) == ([], [("unsupported_compression", "x.xml")])


def test_a_bomb_is_refused_by_its_ratio_and_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = zipped(tmp_path / "h.zip", {"large.xml": b"0" * 30_000, "bomb.xml": b"0" * 15_000, "ok.xml": b"x"})
    monkeypatch.setattr(unpacking, "ANY_RATIO_BYTES", 1_000)
    monkeypatch.setattr(unpacking, "MAX_RATIO", 100)
    assert told(file) == (["ok.xml"], [("payload_too_large", "large.xml"), ("archive_bomb", "bomb.xml")])


@pytest.mark.parametrize("name", ["h.zip", "h.tar", "h.tar.gz"])
def test_an_archive_that_is_too_large_as_a_whole_keeps_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(unpacking, "MAX_PAYLOADS", 3)
    monkeypatch.setattr(unpacking, "CHUNK", 512)
    entries = {f"{number}.xml": bytes(range(256)) * 20 for number in range(9)}
    file = (zipped if name == "h.zip" else tarred)(tmp_path / name, entries)
    files, refused = told(file, 6_000)
    assert files == ["0.xml", "1.xml", "2.xml"][: len(files)]
    assert len(files) >= 2
    assert refused[-1] == ("archive_too_large", name)


def test_a_packed_tar_that_unpacks_beyond_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "ANY_RATIO_BYTES", 2_000_000)
    monkeypatch.setattr(unpacking, "MAX_RATIO", 10)
    file = tarred(tmp_path / "h.tar.gz", {"ok.xml": b"x", "bomb.xml": b"0" * 20_000_000})
    files, refused = told(file, 100_000_000)
    assert files == ["ok.xml"]
    assert {reason for reason, _ in refused} == {"archive_bomb"}


def test_the_header_of_a_tar_entry_is_not_read_without_bound(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x.xml")
    member.type, member.size = tarfile.XHDTYPE, 50_000_000
    (tmp_path / "h.tar").write_bytes(member.tobuf() + b"\x00" * 50_000_000)
    assert told(tmp_path / "h.tar") == ([], [("damaged_archive", "h.tar")])


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 2)
    file = zipped(tmp_path / "h.zip", {f"{number}.xml": "x" for number in range(5)})
    assert told(file) == (["0.xml", "1.xml"], [("too_many_entries", "h.zip")])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_second_entry_of_a_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "h.zip", "w") as archive:
        for name in ("a.xml", "a.xml", "a.xml/b.xml"):
            archive.writestr(name, "x")
    assert told(tmp_path / "h.zip") == (["a.xml"], [("duplicate_entry", "a.xml"), ("duplicate_entry", "a.xml/b.xml")])


def test_a_damaged_entry_is_refused_and_the_others_kept(tmp_path: Path) -> None:
    file = zipped(tmp_path / "h.zip", {"a.xml": "A" * 100, "b.xml": "B" * 100}, zipfile.ZIP_STORED)
    file.write_bytes(file.read_bytes().replace(b"A" * 100, b"A" * 99 + b"x"))
    assert told(file) == (["b.xml"], [("damaged_archive", "a.xml")])


@pytest.mark.parametrize("name", ["h.zip", "h.tar", "h.tar.gz"])
def test_a_cut_archive_never_raises(tmp_path: Path, name: str) -> None:
    entries = {"a.xml": b"a" * 2_000, "b.xml": b"b" * 2_000}
    whole = (zipped if name == "h.zip" else tarred)(tmp_path / name, entries)
    content = whole.read_bytes()
    for size in range(262, len(content), max(1, len(content) // 40)):
        (tmp_path / "cut").write_bytes(content[:size])
        folder = tmp_path / f"unpacked-{size}"
        folder.mkdir()
        unpack(tmp_path / "cut", folder, 20_000)
        assert {file.name: file.read_bytes() for file in folder.iterdir()}.items() <= entries.items()


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "h.zip").write_text("hello")
    with pytest.raises(SourceError, match="neither a folder nor a zip, tar or "):
        collect(tmp_path / "h.zip")
    (tmp_path / "h.zip").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(SourceError, match="can be unpacked: damaged_archive"):
        collect(tmp_path / "h.zip")
