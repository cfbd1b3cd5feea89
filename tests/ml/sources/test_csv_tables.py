import csv
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.errors import SourceError
from ml.sources import Limits, csv_records, open_source, read_batch
from ml.sources.unpacking import MAX_PAYLOADS
from ml.spec import Interval, Parsed
from tests.ml.sources.junit_builders import joined

LIMITS = Limits(max_payload_bytes=10_000, author_salt="salt")
RUNS = "project,run_id,started_at\np,r1,2026-01-01T00:00:00Z\np,r2,2026-01-02T00:00:00Z\n"
RESULTS = "run_id,test_id,outcome,duration_s\n"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return write(tmp_path / "history", {"runs.csv": RUNS, "test_results.csv": f"{RESULTS}r1,a,passed,0.5\n"})


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def collect(history: Path, interval: Interval | None = None) -> Parsed:
    source = open_source(history, history.parent / "landing", LIMITS)
    parsed = [read_batch(batch, LIMITS) for batch in source.fetch(interval or Interval())]
    frames = {name: joined([one.frames[name] for one in parsed]) for name in parsed[0].frames}
    return Parsed(frames, joined([one.refused for one in parsed]))


def rows(parsed: Parsed, name: str, *columns: str) -> list[list[Any]]:
    frame = parsed.frames[name][list(columns)].astype(object)
    return [list(row) for row in frame.where(frame.notna(), None).to_numpy()]


def ids_of(parsed: Parsed) -> list[Any]:
    return [row[0] for row in rows(parsed, "test_results", "test_id")]


def reasons(parsed: Parsed) -> list[list[Any]]:
    return [list(row) for row in parsed.refused[["contract", "reason", "value", "payload"]].to_numpy()]


def refusal_of(history: Path) -> str:
    with pytest.raises(SourceError) as refused:
        collect(history)
    return str(refused.value).replace(str(history), "HISTORY")


def test_columns_in_any_order_are_cast_and_an_empty_field_is_null(history: Path) -> None:
    runs = (
        "started_at,run_id,project,attempt,is_fork,branch\n"
        "2026-01-01 01:00:00+01:00,r1,p,1.0,True,\n2026-01-02,r2,p,2,,x\n"
    )
    results = (
        "imputed,outcome,test_id,attempt,run_id,variant,duration_s\nfalse,passed,a,1,r1,,0.25\n,failed,b,2,r2,mac,\n"
    )
    write(history, {"runs.csv": runs, "test_results.csv": results})
    write(history, {"changed_files.csv": "run_id,path,added,deleted\nr1,x.py,3.0,\n"})
    parsed = collect(history)
    assert parsed.refused.empty
    assert rows(parsed, "runs", "run_id", "attempt", "started_at", "is_fork", "branch") == [
        ["r1", 1, pd.Timestamp("2026-01-01", tz="UTC"), True, None],
        ["r2", 2, pd.Timestamp("2026-01-02", tz="UTC"), None, "x"],
    ]
    columns = ("run_id", "attempt", "variant", "test_id", "outcome", "duration_s", "imputed")
    assert rows(parsed, "test_results", *columns) == [
        ["r1", 1, "default", "a", "passed", 0.25, False],
        ["r2", 2, "mac", "b", "failed", None, False],
    ]
    assert rows(parsed, "changed_files", "run_id", "path", "added", "deleted") == [["r1", "x.py", 3, None]]


def test_quotes_hold_commas_quotes_and_newlines(history: Path) -> None:
    results = RESULTS + 'r1,"a,""b""\nc",passed,\r\n"r1",d"e,failed,1\r\n'
    write(history, {"test_results.csv": results})
    parsed = collect(history)
    assert parsed.refused.empty
    assert ids_of(parsed) == ['a,"b"\nc', 'd"e']


def test_a_byte_order_mark_and_empty_lines_are_passed_over(history: Path) -> None:
    quoted = '"project","run_id","started_at"\n\np,r1,2026-01-01T00:00:00Z\n\n'
    write(history, {"runs.csv": b"\xef\xbb\xbf" + quoted.encode()})
    assert rows(collect(history), "runs", "run_id") == [["r1"]]


def test_broken_lines_are_refused_with_their_number_and_the_rest_goes_on(history: Path) -> None:
    lines = [
        b"r1,a,passed,1",
        b"r1,b,passed",
        b'r1,"c',
        b'd",passed,1',
        b"r1,\xff,passed,1",
        b"r1,e\x00,passed,1",
        b"r1,f,passed,1,9",
        b'r1,"g"h,passed,1',
        b"r1,i,passed,1",
    ]
    write(history, {"test_results.csv": RESULTS.encode() + b"\n".join(lines)})
    parsed = collect(history)
    assert ids_of(parsed) == ["a", "c\nd", "i"]
    assert [[reason, value] for _, reason, value, _ in reasons(parsed)] == [
        ["wrong_field_count", "line 3: 3 fields; the first line names 4"],
        ["undecodable", "line 6: not UTF-8, or a NUL"],
        ["undecodable", "line 7: not UTF-8, or a NUL"],
        ["wrong_field_count", "line 8: 5 fields; the first line names 4"],
        ["malformed_line", "line 9: ',' expected after '\"'"],
    ]
    assert {(contract, payload) for contract, _, _, payload in reasons(parsed)} == {
        ("test_results", "test_results.csv")
    }
    assert parsed.refused["row"][0] == '{"line": "3", "text": "r1,b,passed"}'


def test_a_quote_that_nobody_closes_costs_its_line_only(history: Path) -> None:
    write(history, {"test_results.csv": RESULTS + 'r1,"a,passed,1\n' + "r1,b,passed,1\nr1,c,failed,1\n"})
    parsed = collect(history)
    assert ids_of(parsed) == ["b", "c"]
    assert reasons(parsed) == [["test_results", "malformed_line", "line 2: unexpected end of data", "test_results.csv"]]


def test_quotes_that_open_on_every_line_are_not_read_again_without_end(
    history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_records, "MAX_LINE", 100)
    monkeypatch.setattr(csv_records, "MAX_AGAIN", 250)
    write(history, {"test_results.csv": RESULTS + 'x","\n' * 100 + 'x"\n' + "r1,b,passed,1\n"})
    parsed = collect(history)
    # Twice the lines after the first were given back; from then on they go with it.
    assert [value.split(":")[0] for _, _, value, _ in reasons(parsed)][:4] == ["line 2", "line 3", "line 4", "line 25"]
    assert ids_of(parsed) == ["b"]


def test_a_line_too_long_is_refused_unread(history: Path) -> None:
    content = RESULTS.encode() + b"r1,a,passed,1\nr1," + b"x" * 3_000_000 + b",passed,1\nr1,c,passed,1\n"
    write(history, {"test_results.csv": content})
    parsed = collect(history)
    assert ids_of(parsed) == ["a", "c"]
    assert reasons(parsed) == [["test_results", "line_too_long", "line 3: more than 1000000 bytes", "test_results.csv"]]
    assert len(parsed.refused["row"][0]) < 300


def test_beyond_the_most_that_are_kept_refusals_are_counted(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "MAX_REFUSED", 2)
    write(history, {"test_results.csv": RESULTS + "x\n" * 5 + "r1,a,passed,1\n"})
    parsed = collect(history)
    assert [row[1:3] for row in reasons(parsed)][1:] == [
        ["wrong_field_count", "line 3: 1 fields; the first line names 4"],
        ["too_many_refused", "3 more"],
    ]
    assert ids_of(parsed) == ["a"]


def test_a_refused_line_of_a_file_with_other_columns_keeps_no_text(history: Path) -> None:
    write(
        history, {"test_results.csv": "run_id,test_id,outcome,author_name\nr1,a,passed,Ada\nr1,b,passed,Ada,Lovelace\n"}
    )
    source = open_source(history, history.parent / "landing", LIMITS)
    (batch,) = source.fetch(Interval())
    assert read_batch(batch, LIMITS).refused[["reason", "row"]].values.tolist() == [["wrong_field_count", None]]
    landed = [file.read_bytes() for file in Path(batch.folder).rglob("*") if file.is_file()]
    assert not any(b"Ada" in content for content in landed)


def test_refusals_come_with_an_open_fetch_only(history: Path) -> None:
    write(history, {"test_results.csv": f"{RESULTS}r1,a,passed,1\nr2\n"})
    assert len(collect(history).refused) == 1
    assert collect(history, Interval(start=pd.Timestamp("2026-01-01", tz="UTC").to_pydatetime())).refused.empty


def test_packed_files_and_archives_give_the_same_batches_as_the_folder(history: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    for file in history.iterdir():
        (packed / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    with zipfile.ZipFile(tmp_path / "history.zip", "w") as archive:
        for file in history.iterdir():
            archive.write(file, f"shop/{file.name}")
    ids = [
        [batch.batch_id for batch in open_source(place, tmp_path / "landing", LIMITS).fetch(Interval())]
        for place in (history, history, packed, tmp_path / "history.zip")
    ]
    assert len(ids[0]) == 1
    assert ids == ids[:1] * 4


def test_a_bomb_and_a_damaged_file_are_read_up_to_where_they_end(
    history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (history / "test_results.csv").unlink()
    whole = f"{RESULTS}r1,a,passed,1\n".encode()
    write(history, {"test_results.csv.gz": gzip.compress(whole + b"\n" * (LIMITS.max_payload_bytes * MAX_PAYLOADS))})
    parsed = collect(history)
    assert ids_of(parsed) == ["a"]
    assert [row[1:3] for row in reasons(parsed)] == [["archive_too_large", "more than 500000 bytes unpacked"]]
    write(history, {"test_results.csv.gz": gzip.compress(whole) + gzip.compress(b"r2,b,passed,1\n")[:-12]})
    parsed = collect(history)
    assert ids_of(parsed)[:1] == ["a"]
    assert [row[1] for row in reasons(parsed)] == ["damaged_archive"]
    write(history, {"test_results.csv.gz": gzip.compress(whole + b"x" * 600_000)})
    monkeypatch.setattr(csv_records, "MAX_LINE", 1_000)
    parsed = collect(history)
    assert [row[1] for row in reasons(parsed)] == ["line_too_long", "archive_too_large"]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"runs.parquet": b""},
            "HISTORY mixes CSV and Parquet (runs.csv, test_results.csv, runs.parquet); right would",
        ),
        ({"changed_files.parquet": b""}, "HISTORY mixes CSV and Parquet"),
        ({"runs.csv.gz": b""}, "HISTORY holds runs.csv and runs.csv.gz; remove the one that is not meant"),
        ({"runs.csv": "run_id,project\n"}, "HISTORY/runs.csv needs one column 'started_at'; found: run_id, project"),
        ({"runs.csv": RUNS.replace("run_id", "project")}, "HISTORY/runs.csv needs one column 'project'"),
        ({"runs.csv": b""}, "the first line of runs.csv names no columns in UTF-8"),
        ({"runs.csv": "project,run_id\n".encode("utf-16")}, "the first line of runs.csv names no columns in UTF-8"),
        ({"runs.csv": RUNS.splitlines()[0]}, "HISTORY/runs.csv has no rows that can be read; expected one row per run"),
        ({"runs.csv": RUNS.splitlines()[0] + "\nx"}, "one row per run; wrong_field_count: line 2: 1 fields"),
        ({"changed_files.csv.gz": b"no gzip"}, "the first line of changed_files.csv.gz names no columns"),
    ],
)
def test_a_history_that_cannot_be_read_is_told(history: Path, files: dict[str, str | bytes], told: str) -> None:
    assert told in refusal_of(write(history, files))


def test_a_table_that_is_no_file_is_told(history: Path) -> None:
    (history / "changed_files.csv").mkdir()
    assert refusal_of(history) == "HISTORY/changed_files.csv is no file"


def test_a_missing_table_is_told(history: Path) -> None:
    (history / "test_results.csv").unlink()
    assert (
        refusal_of(history)
        == "HISTORY/test_results.csv is missing; a history of tables has runs.csv and test_results.csv"
    )


_names = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1))
_results = st.fixed_dictionaries(
    {
        "run_id": st.sampled_from(["r1", "r2", "gone"]),
        "attempt": st.integers(-(2**63) + 1, 2**63 - 1) | st.just(1),
        "variant": _names,
        "test_id": _names,
        "outcome": _names,
        "duration_s": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "imputed": st.none() | st.booleans(),
    }
)
_STARTS = pa.array([0, 86_400], pa.timestamp("s", "UTC"))


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(results=st.lists(_results, max_size=5), flags=st.tuples(*[st.none() | st.booleans()] * 2))
def test_tables_as_csv_give_the_same_rows_as_the_same_tables_as_parquet(
    tmp_path_factory: pytest.TempPathFactory, results: list[dict[str, Any]], flags: tuple[bool | None, bool | None]
) -> None:
    place = tmp_path_factory.mktemp("same")
    runs = pa.table({"project": ["p", "p"], "run_id": ["r1", "r2"], "started_at": _STARTS, "is_fork": list(flags)})
    kinds = [("run_id", pa.string()), ("attempt", pa.int64()), ("variant", pa.string()), ("test_id", pa.string())]
    kinds += [("outcome", pa.string()), ("duration_s", pa.float64()), ("imputed", pa.bool_())]
    tables = {"runs": runs, "test_results": pa.Table.from_pylist(results, pa.schema(kinds))}
    for form in ("csv", "parquet"):
        (place / form).mkdir()
    for name, table in tables.items():
        pq.write_table(table, place / "parquet" / f"{name}.parquet")
        write(place / "csv", {f"{name}.csv": as_csv(table)})
    as_text, as_typed = collect(place / "csv"), collect(place / "parquet")
    for name, frame in as_typed.frames.items():
        pd.testing.assert_frame_equal(as_text.frames[name], frame, check_categorical=False)
    assert reasons(as_text) == reasons(as_typed)


def as_csv(table: pa.Table) -> str:
    """As Python's own writer does it: other writers write the same values in other ways."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    writer.writerows(row.values() for row in table.to_pylist())
    return text.getvalue()
