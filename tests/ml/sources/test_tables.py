import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import schemas
from ml.errors import SourceError
from ml.sources import Limits, open_source, read_batch
from ml.sources import tables as tables_source
from ml.sources.tables import Tables
from ml.spec import Interval, Parsed

LIMITS = Limits(max_payload_bytes=10_000, author_salt="salt")
REAL_DATA = Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


RUNS = {"run_id": ["r2", "r1", "r3"], "project": ["p"] * 3, "started_at": [day(2), day(1), day(3)]}
RESULTS = {
    "run_id": ["r1", "r2", "r2", "r3"],
    "attempt": pa.array([1, 1, 1, 1], pa.int16()),
    "variant": pa.array(["linux", "linux", "mac", "linux"]).dictionary_encode(),
    "test_id": ["a", "a", "a", "b"],
    "outcome": ["passed", "failed", "odd", "skipped"],
    "duration_s": pa.array([0.5, None, -1.0, 2.0], pa.float32()),
    "imputed": [False, True, None, False],
}


def write(folder: Path, name: str, columns: Mapping[str, Any], group: int = 1_000) -> None:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(dict(columns)), folder / f"{name}.parquet", row_group_size=group)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    folder = tmp_path / "history"
    write(folder, "runs", RUNS)
    write(folder, "test_results", RESULTS)
    return folder


def collect(history: Path, interval: Interval | None = None) -> list[Parsed]:
    source = open_source(history, history.parent / "landing", LIMITS)
    return [read_batch(batch, LIMITS) for batch in source.fetch(interval or Interval())]


def rows(parsed: Parsed, name: str, *columns: str) -> list[list[Any]]:
    frame = parsed.frames[name][list(columns)].astype(object)
    return [list(row) for row in frame.where(frame.notna(), None).to_numpy()]


def reasons(parsed: Parsed) -> list[list[Any]]:
    return [list(row) for row in parsed.refused[["contract", "column", "reason", "value"]].to_numpy()]


def test_results_and_files_get_the_project_of_their_run_and_missing_columns_are_null(history: Path) -> None:
    write(history, "changed_files", {"run_id": ["r1"], "path": ["x.py"], "added": pa.array([3], pa.int32())})
    (parsed,) = collect(history)
    assert parsed.refused.empty
    assert sorted(rows(parsed, "runs", "project", "run_id", "attempt", "branch")) == [
        ["p", "r1", 1, None],
        ["p", "r2", 1, None],
        ["p", "r3", 1, None],
    ]
    columns = ("project", "run_id", "attempt", "variant", "test_id", "outcome", "duration_s", "imputed")
    assert rows(parsed, "test_results", *columns) == [
        ["p", "r1", 1, "linux", "a", "passed", 0.5, False],
        ["p", "r2", 1, "linux", "a", "failed", None, True],
        ["p", "r2", 1, "mac", "a", "odd", -1.0, False],
        ["p", "r3", 1, "linux", "b", "skipped", 2.0, False],
    ]
    assert rows(parsed, "changed_files", *schemas.columns(schemas.ChangedFiles)) == [["p", "r1", "x.py", 3, None, None]]


def test_frames_have_the_columns_and_types_of_their_contracts_with_or_without_rows(history: Path) -> None:
    (parsed,) = collect(history)
    for name, model in (("runs", schemas.Runs), ("test_results", schemas.TestResults)):
        assert list(parsed.frames[name]) == schemas.columns(model)
    assert list(parsed.frames["changed_files"]) == schemas.columns(schemas.ChangedFiles)
    kinds = {name: frame.dtypes.astype(str).to_dict() for name, frame in parsed.frames.items()}
    moment = "datetime64[us, UTC]"
    assert [kinds["runs"][name] for name in ("run_id", "attempt", "started_at", "finished_at")] == [
        "object",
        "int64",
        moment,
        moment,
    ]
    assert list(kinds["test_results"].values()) == [
        *("category", "object", "int64", "category", "category", "category", "float64", "bool"),
        *("category", "category", "Int64"),
    ]
    assert list(kinds["changed_files"].values()) == ["object", "object", "object", "Int64", "Int64", "object"]


def test_positions_are_read_and_null_in_a_file_without_them(history: Path) -> None:
    (parsed,) = collect(history)
    assert parsed.frames["test_results"]["position"].isna().all()
    write(history, "test_results", {**RESULTS, "position": pa.array([2.0, None, 1.5, 0.0])})
    (parsed,) = collect(history)
    assert rows(parsed, "test_results", "run_id", "position") == [["r1", 2], ["r2", None], ["r3", 0]]
    assert parsed.refused[["column", "reason"]].to_numpy().tolist() == [["position", "not_an_integer"]]


def test_the_interval_chooses_runs_and_their_rows_in_time_order(history: Path) -> None:
    (parsed,) = collect(history, Interval(day(1), day(3)))
    assert sorted(parsed.frames["runs"]["run_id"]) == ["r1", "r2"]
    assert set(parsed.frames["test_results"]["run_id"]) == {"r1", "r2"}
    assert collect(history, Interval(start=day(4))) == []


@pytest.mark.parametrize("group", [1, 2, 1_000])
def test_batches_are_cut_in_time_order_however_the_file_is_laid_out(
    history: Path, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled = pa.table(RESULTS).take([3, 1, 0, 2])
    pq.write_table(shuffled, history / "test_results.parquet", row_group_size=group)
    monkeypatch.setattr(tables_source, "MAX_BATCH_RESULTS", 2)
    told: list[tuple[int, int]] = []
    source = Tables(history, history.parent / "landing")
    batches = list(source.fetch(Interval(), lambda done, total: told.append((done, total))))
    parsed = [read_batch(batch, LIMITS) for batch in batches]
    assert [list(one.frames["runs"]["run_id"]) for one in parsed] == [["r1"], ["r2"], ["r3"]]
    assert [rows(one, "test_results", "run_id", "variant") for one in parsed] == [
        [["r1", "linux"]],
        [["r2", "linux"], ["r2", "mac"]],
        [["r3", "linux"]],
    ]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_attempts_of_a_run_land_where_they_started(history: Path) -> None:
    write(history, "runs", {**{k: v[:2] for k, v in RUNS.items()}, "run_id": ["r", "r"], "attempt": [2, 1]})
    results = {"run_id": ["r"] * 3, "attempt": [1, 2, 2], "test_id": ["a", "a", "b"], "outcome": ["failed"] * 3}
    write(history, "test_results", results)
    write(history, "changed_files", {"run_id": ["r"], "path": ["x"]})
    (first,) = collect(history, Interval(day(1), day(2)))
    (second,) = collect(history, Interval(day(2), day(3)))
    assert rows(first, "test_results", "attempt", "test_id", "variant") == [[1, "a", "default"]]
    assert rows(second, "test_results", "attempt", "test_id", "variant") == [[2, "a", "default"], [2, "b", "default"]]
    assert (len(first.frames["changed_files"]), len(second.frames["changed_files"])) == (1, 0)


def test_projects_have_batches_of_their_own(history: Path) -> None:
    write(history, "runs", {**RUNS, "project": ["p", "q", "p"]})
    first, second = collect(history)
    assert rows(first, "test_results", "project", "run_id") == [["q", "r1"]]
    assert rows(second, "test_results", "project", "run_id") == [["p", "r2"], ["p", "r2"], ["p", "r3"]]


def test_an_attempt_that_no_run_tells_is_one_more_execution_in_its_run(history: Path) -> None:
    results = {"run_id": ["r1", "r1", "r2"], "attempt": [1, 7, 3], "test_id": ["a"] * 3, "outcome": ["failed"] * 3}
    write(history, "test_results", results)
    (first,) = collect(history, Interval(day(1), day(2)))
    (second,) = collect(history, Interval(day(2), day(3)))
    assert rows(first, "test_results", "run_id", "attempt") == [["r1", 1], ["r1", 7]]
    assert rows(second, "test_results", "run_id", "attempt") == [["r2", 3]]


def test_orphans_come_with_the_last_batch_of_an_open_fetch_only(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_source, "MAX_BATCH_RESULTS", 2)
    orphans = {"run_id": ["r1", "gone", None], "test_id": ["a", "b", "c"], "outcome": ["passed"] * 3}
    write(history, "test_results", orphans)
    write(history, "changed_files", {"run_id": ["gone", "r1"], "path": ["x", "y"]})
    *_, last = collect(history)
    found = [row for row in rows(last, "test_results", "project", "run_id", "test_id") if row[1] != "r1"]
    assert found == [["p", "gone", "b"], ["p", None, "c"]]
    assert ["p", "gone", "x"] in rows(last, "changed_files", "project", "run_id", "path")
    for parsed in collect(history, Interval(start=day(1))):
        assert set(parsed.frames["test_results"]["run_id"]) <= {"r1"}


def test_a_run_without_a_start_comes_with_an_open_fetch_for_the_contract_to_refuse(history: Path) -> None:
    write(history, "runs", {**RUNS, "started_at": [day(2), None, day(3)]})
    (parsed,) = collect(history)
    assert rows(parsed, "runs", "run_id")[1] == ["r1"]
    assert parsed.frames["runs"]["started_at"].isna().tolist() == [False, True, False]
    (bounded,) = collect(history, Interval(end=day(9)))
    assert "r1" not in set(bounded.frames["runs"]["run_id"])


def test_a_lossless_type_is_cast(history: Path) -> None:
    write(history, "runs", {**RUNS, "run_id": [2, 1, 3], "started_at": [f"2026-01-0{n}T00:00:00Z" for n in (2, 1, 3)]})
    write(history, "test_results", {**RESULTS, "run_id": [1.0, 2.0, 2.0, 3.0], "attempt": [1.0] * 4}, 2)
    with pytest.raises(SourceError, match=r"'run_id' of .*test_results\.parquet is double; expected text"):
        collect(history)
    write(history, "test_results", {**RESULTS, "run_id": ["1", "2", "2", "3"], "attempt": [1.0] * 4}, 2)
    (parsed,) = collect(history)
    assert parsed.refused.empty
    assert sorted(rows(parsed, "runs", "run_id", "started_at"))[0] == ["1", pd.Timestamp(day(1))]
    assert rows(parsed, "test_results", "run_id", "attempt")[0] == ["1", 1]


def test_values_that_cannot_be_cast_are_refused_row_by_row(history: Path) -> None:
    durations = pa.array([0.5, float("nan"), float("inf"), None])
    write(history, "test_results", {**RESULTS, "duration_s": durations, "attempt": [1, 1, 1, None]})
    (parsed,) = collect(history)
    assert rows(parsed, "test_results", "run_id") == [["r1"]]
    assert reasons(parsed) == [
        ["test_results", "attempt", "missing_field", None],
        ["test_results", "duration_s", "not_a_number", "nan"],
        ["test_results", "duration_s", "not_a_number", "inf"],
    ]
    assert set(parsed.refused["payload"]) == {"test_results.parquet"}
    assert '"test_id": "a"' in parsed.refused["row"][1]


def test_text_that_is_no_utf8_is_refused_row_by_row(history: Path) -> None:
    names = pa.array([b"a", b"\xff", b"c", b"d"]).view(pa.string())
    write(history, "test_results", {**RESULTS, "test_id": names})
    (parsed,) = collect(history)
    assert rows(parsed, "test_results", "test_id") == [["a"], ["c"], ["d"]]
    assert [(row[1], row[2]) for row in reasons(parsed)] == [("test_id", "undecodable")]


@pytest.mark.parametrize(
    ("name", "without", "found"),
    [
        ("runs", "started_at", "run_id, project"),
        ("runs", "project", "run_id, started_at"),
        ("test_results", "outcome", "run_id, attempt, variant, test_id, duration_s, imputed"),
    ],
)
def test_a_missing_required_column_is_named_with_file_and_columns_found(
    history: Path, name: str, without: str, found: str
) -> None:
    columns = RUNS if name == "runs" else RESULTS
    write(history, name, {column: values for column, values in columns.items() if column != without})
    with pytest.raises(SourceError, match=f"{name}.parquet needs one column '{without}'; found: {found}"):
        collect(history)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_no_parquet_is_told(history: Path, content: bytes) -> None:
    (history / "test_results.parquet").write_bytes(content)
    with pytest.raises(SourceError, match=r"test_results\.parquet"):
        collect(history)


def test_a_damaged_page_is_told(history: Path) -> None:
    file = history / "test_results.parquet"
    content = bytearray(file.read_bytes())
    content[4:60] = bytes(56)
    file.write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot read .*test_results\.parquet"):
        collect(history)


@pytest.mark.parametrize("gone", ["test_results"])
def test_a_missing_file_is_told(history: Path, gone: str) -> None:
    (history / f"{gone}.parquet").unlink()
    with pytest.raises(SourceError, match=f"{gone}.parquet is missing"):
        collect(history)


def test_a_history_without_runs_is_told(history: Path) -> None:
    write(history, "runs", {"run_id": [], "project": [], "started_at": pa.array([], pa.timestamp("us", "UTC"))})
    with pytest.raises(SourceError, match=r"runs\.parquet has no rows"):
        collect(history)


def test_the_same_content_is_the_same_batch_and_is_read_without_the_original(history: Path) -> None:
    moved = history.parent / "moved"
    shutil.copytree(history, moved)
    ids = []
    for folder in (history, history, moved):
        source = open_source(folder, history.parent / "landing", LIMITS)
        (batch,) = source.fetch(Interval())
        ids.append(batch.batch_id)
        shutil.rmtree(folder) if folder == moved else None
    assert len(set(ids)) == 1
    assert len(read_batch(batch, LIMITS).frames["test_results"]) == 4


def test_columns_beyond_the_layout_do_not_land(history: Path) -> None:
    write(history, "runs", {**RUNS, "author_name": ["Ada Lovelace"] * 3})
    (batch,) = open_source(history, history.parent / "landing", LIMITS).fetch(Interval())
    assert "author_name" not in pq.read_schema(Path(batch.folder) / "payloads" / "runs.parquet").names


@pytest.mark.slow
@pytest.mark.skipif(not (REAL_DATA / "ozone").is_dir(), reason="FOURGATE_REAL_DATA holds no ozone history")
def test_every_run_and_result_of_ozone_is_read(tmp_path: Path) -> None:
    source = open_source(REAL_DATA / "ozone", tmp_path, LIMITS)
    parsed: Sequence[Parsed] = [source.read(batch, LIMITS) for batch in source.fetch(Interval())]
    counts = {name: sum(len(one.frames[name]) for one in parsed) for name in parsed[0].frames}
    assert counts == {"runs": 1_629, "test_results": 505_673, "changed_files": 14_388}
    failed = sum((one.frames["test_results"]["outcome"].isin(["failed", "error"])).sum() for one in parsed)
    assert failed == 14_938
    assert all(one.refused.empty for one in parsed)


def test_an_empty_variant_is_the_default_one(tmp_path: Path) -> None:
    history = tmp_path / "history"
    history.mkdir()
    runs = {"run_id": ["1"], "project": ["p"], "started_at": [datetime(2026, 1, 1, tzinfo=UTC)]}
    pd.DataFrame(runs).to_parquet(history / "runs.parquet")
    results = {"run_id": ["1"] * 3, "test_id": ["a", "b", "c"], "outcome": ["passed"] * 3, "variant": ["", None, "x"]}
    pd.DataFrame(results).to_parquet(history / "test_results.parquet")
    limits = Limits(1_000_000, "salt")
    source = Tables(history, tmp_path / "landing")
    (batch,) = source.fetch(Interval())
    assert source.read(batch, limits).frames["test_results"]["variant"].tolist() == ["default", "default", "x"]


def test_of_commit_messages_only_the_subjects_land(history: Path) -> None:
    messages = ["Fix the cart\n\nSigned-off-by: Ada", None, "Merge branch 'ada/cart'"]
    write(history, "runs", {**RUNS, "change_title": pa.array(messages).dictionary_encode()})
    (parsed,) = collect(history)
    assert rows(parsed, "runs", "run_id", "change_title") == [["r2", "Fix the cart"], ["r1", None], ["r3", None]]
    landed = b"".join(file.read_bytes() for file in (history.parent / "landing").rglob("*") if file.is_file())
    assert b"Ada" not in landed
    write(history, "runs", {**RUNS, "change_title": [[1], [2], [3]]})
    with pytest.raises(SourceError, match="change_title"):
        collect(history)
