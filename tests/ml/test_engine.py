"""The engine reads Delta files as the lake names them, and pairs queries with earlier facts only."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from ml.engine import open_engine
from ml.errors import LakeError, SettingsError

SCHEMA = pa.schema(
    [("project", pa.string()), ("day", pa.string()), ("run_id", pa.string()), ("at", pa.timestamp("us", tz="UTC"))]
)
AT = pd.Timestamp("2026-03-01 12:00", tz="UTC")


def rows(project: str, run_id: str) -> pa.Table:
    values = {"project": [project], "day": ["2026-03-01"], "run_id": [run_id], "at": [AT.to_pydatetime()]}
    return pa.table(values, schema=SCHEMA)


@pytest.mark.parametrize("folder", ["lake", "my lake", "a é b"])
def test_partition_values_and_folder_names_with_signs_are_read_back(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    write_deltalake(place, rows("apache/ozone", "1"), partition_by=["project", "day"])
    write_deltalake(place, rows("a b%c=é'", "2"), partition_by=["project", "day"], mode="append")
    with open_engine("duckdb", threads=1) as engine:
        engine.register_files("runs", DeltaTable(place).file_uris(), SCHEMA)
        found = engine.fetch("SELECT project, day, run_id FROM runs ORDER BY run_id")
    assert found.to_numpy().tolist() == [["apache/ozone", "2026-03-01", "1"], ["a b%c=é'", "2026-03-01", "2"]]


def test_day_stays_text_and_moments_stay_in_utc(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "lake", rows("p", "1"), partition_by=["project", "day"])
    with open_engine("duckdb", threads=1) as engine:
        engine.register_files("runs", DeltaTable(tmp_path / "lake").file_uris(), SCHEMA)
        types = engine.fetch(
            'SELECT typeof(day) AS day, typeof("at") AS moment, CAST("at" AS VARCHAR) AS text FROM runs'
        )
    assert types.to_numpy().tolist() == [["VARCHAR", "TIMESTAMP WITH TIME ZONE", "2026-03-01 12:00:00+00"]]


def test_a_column_that_an_older_file_lacks_is_null(tmp_path: Path) -> None:
    pq.write_table(pa.table({"run_id": ["old"]}), tmp_path / "old.parquet")
    pq.write_table(pa.table({"run_id": ["new"], "event": ["push"]}), tmp_path / "new.parquet")
    schema = pa.schema([("run_id", pa.string()), ("event", pa.string()), ("branch", pa.string())])
    files = [str(tmp_path / "old.parquet"), str(tmp_path / "new.parquet")]
    with open_engine("duckdb", threads=1) as engine:
        engine.register_files("runs", files, schema)
        found = engine.fetch("SELECT run_id, event, branch FROM runs ORDER BY run_id")
    assert found["run_id"].tolist() == ["new", "old"]
    assert found["event"].iloc[0] == "push"
    assert found["event"].isna().tolist() == [False, True]
    assert found["branch"].isna().all()


@pytest.mark.parametrize("is_stored", [False, True])
def test_texts_are_read_as_numbers_with_one_dictionary_over_all_files(tmp_path: Path, is_stored: bool) -> None:
    pq.write_table(pa.table({"test": ["a", "b", None], "s": [1.5, None, 2.0]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"s": [3.0, 4.0], "test": ["c", "a"], "kind": ["x", None]}), tmp_path / "2.parquet")
    schema = pa.schema([("test", pa.string()), ("kind", pa.string()), ("s", pa.float64()), ("late", pa.string())])
    with open_engine("duckdb", threads=1) as engine:
        engine.register_files("t", [str(tmp_path / "1.parquet"), str(tmp_path / "2.parquet")], schema)
        if is_stored:
            engine.store("u", "SELECT * FROM t")
        found = engine.coded("u" if is_stored else "t", ["test", "s", "kind", "late"])
    assert found.column_names == ["test", "s", "kind", "late"]
    rows = sorted(found.to_pylist(), key=lambda row: str(row["s"]))
    assert [row["test"] for row in rows] == ["a", None, "c", "a", "b"]
    assert [row["kind"] for row in rows] == [None, None, "x", None, None]
    assert [row["late"] for row in rows] == [None] * 5
    for name in ("test", "kind", "late"):
        assert len({str(chunk.dictionary) for chunk in found[name].chunks}) == 1


def test_a_view_that_was_replaced_is_not_read_from_its_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": ["file"]}), tmp_path / "x.parquet")
    with open_engine("duckdb", threads=1) as engine:
        engine.register_files("t", [str(tmp_path / "x.parquet")], pa.schema([("x", pa.string())]))
        engine.register_frame("t", pa.table({"x": ["frame"]}))
        assert engine.coded("t", ["x"]).to_pylist() == [{"x": "frame"}]


def test_a_torn_file_is_a_lake_error_when_its_rows_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 torn")
    with open_engine("duckdb", threads=1) as engine:
        engine.register_files("t", [str(tmp_path / "x.parquet")], pa.schema([("x", pa.string())]))
        for ask in (lambda: engine.coded("t", ["x"]), lambda: engine.fetch("SELECT x FROM t")):
            with pytest.raises(LakeError, match="cannot read"):
                ask()


def test_no_files_make_an_empty_view_with_the_columns() -> None:
    with open_engine("duckdb", threads=1) as engine:
        engine.register_files("runs", [], SCHEMA)
        assert list(engine.fetch("SELECT * FROM runs")) == SCHEMA.names


def test_a_missing_file_is_a_lake_error_that_names_the_table(tmp_path: Path) -> None:
    with open_engine("duckdb", threads=1) as engine, pytest.raises(LakeError, match="files of runs"):
        engine.register_files("runs", [str(tmp_path / "gone.parquet")], SCHEMA)


def test_a_frame_replaces_the_table_or_view_of_the_same_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with open_engine("duckdb", threads=1) as engine:
        engine.register_files("t", [str(tmp_path / "x.parquet")], pa.schema([("x", pa.int64())]))
        engine.register_frame("t", pa.table({"x": [2]}))
        engine.register_frame("t", pa.table({"x": [3]}))
        assert engine.fetch("SELECT x FROM t")["x"].tolist() == [3]


def test_the_latest_fact_before_a_query_is_strictly_earlier() -> None:
    with open_engine("duckdb", threads=1) as engine:
        engine.register_frame("facts", pa.table({"k": [1, 1, 1, 2], "known_us": [10, 20, 30, 5], "v": [1, 2, 3, 9]}))
        engine.register_frame("asked", pa.table({"k": [1, 1, 1, 3], "at_us": [10, 20, 31, 99]}))
        source = engine.latest_before("facts", "asked", ["k"])
        found = engine.fetch(f"SELECT q.k, q.at_us, f.v FROM {source} ORDER BY q.k, q.at_us")
    assert found["v"].fillna(-1).tolist() == [-1, 1, 3, -1]


def test_what_one_thread_stores_the_other_reads_in_utc_too() -> None:
    with open_engine("duckdb", threads=2) as engine:
        engine.register_frame("facts", pa.table({"k": [1, 2]}))
        beside = engine.alongside()
        with ThreadPoolExecutor(1) as other:
            other.submit(beside.store, "doubled", "SELECT 2 * k AS k FROM facts").result()
        engine.register_frame("facts", pa.table({"k": [3]}))
        assert engine.fetch("SELECT k FROM doubled ORDER BY k")["k"].tolist() == [2, 4]
        assert beside.fetch("SELECT k, current_setting('TimeZone') AS zone FROM facts").to_numpy().tolist() == [
            [3, "UTC"]
        ]


@pytest.mark.parametrize(("threads", "left"), [(3, 2), (1, 1)])
def test_a_thread_is_lent_where_there_are_several(threads: int, left: int) -> None:
    with open_engine("duckdb", threads=threads) as engine:
        engine.lend_thread()
        assert engine.fetch("SELECT current_setting('threads') AS threads")["threads"].tolist() == [left]


def test_an_unknown_engine_is_refused_with_the_right_one() -> None:
    with pytest.raises(SettingsError, match="duckdb"), open_engine("spork", threads=1):
        pass


def test_a_memory_limit_and_a_spill_folder_are_taken(tmp_path: Path) -> None:
    with open_engine("duckdb", threads=1, memory_gb=0.5, spill_folder=str(tmp_path)) as engine:
        found = engine.fetch("SELECT current_setting('memory_limit') AS m, current_setting('temp_directory') AS t")
    assert found["m"].tolist() == ["476.8 MiB"]
    assert found["t"].tolist() == [str(tmp_path)]


def test_a_limit_beyond_the_machine_leaves_the_engine_its_own() -> None:
    limits = []
    for memory_gb in (None, 1e6):
        with open_engine("duckdb", threads=1, memory_gb=memory_gb) as engine:
            limits.append(engine.fetch("SELECT current_setting('memory_limit') AS m")["m"].iloc[0])
    assert limits[0] == limits[1]


def test_glob_signs_in_a_folder_name_stand_for_themselves(tmp_path: Path) -> None:
    for folder, run_id in (("a[12]", "1"), ("a1", "2")):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"run_id": [run_id]}), tmp_path / folder / "x.parquet")
    with open_engine("duckdb", threads=1) as engine:
        engine.register_files("runs", [str(tmp_path / "a[12]" / "x.parquet")], pa.schema([("run_id", pa.string())]))
        assert engine.fetch("SELECT run_id FROM runs")["run_id"].tolist() == ["1"]
