"""Projects lie apart whatever they are called, and tables grow columns."""

from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ml.errors import LakeError
from ml.lake import FIRST_VERSIONS, Lake
from ml.schemas import LAKE_TABLES
from tests.lake_builders import files, rejected, results, runs, stored


def test_a_project_is_read_alone_and_hostile_names_stay_inside_the_lake(lake: Lake, tmp_path: Path) -> None:
    names = ["..", "a/b", "x' OR '1'='1", "50%25", "*?[x]", "ü\n<b>", "shop"]
    base, frames = FIRST_VERSIONS, {}
    frames["runs"] = pd.concat([runs(("r1", "2026-01-01T00:00:00Z"), project=name) for name in names])
    frames["test_results"] = pd.concat([results(("r1", name, "passed"), project=name) for name in names])
    version = lake.append(frames, "b1", 1, base).versions["test_results"]
    for name in names:
        assert lake.read("test_results", version, name, ["test_id"]).to_pylist() == [{"test_id": name}]
        (file,) = lake.files("test_results", version, name)
        assert Path(file).exists()
        rows = duckdb.sql(f"SELECT project, test_id FROM read_parquet({[file]!r}, hive_partitioning = true)").fetchall()
        assert rows == [(name, name)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake"]
    assert {path.name for path in (tmp_path / "lake").iterdir()} == set(LAKE_TABLES)


@pytest.mark.parametrize("project", ["", "p" * 81, "ü" * 41])
def test_a_project_that_cannot_name_a_folder_is_refused_and_its_rejected_rows_are_kept(
    lake: Lake, project: str
) -> None:
    with pytest.raises(LakeError, match="1 to 80 bytes"):
        lake.append({"runs": runs(("r1", "2026-01-01T00:00:00Z"), project=project)}, "b1", 1, FIRST_VERSIONS)
    appended = lake.append({"rejected_rows": rejected("bad", project=project)}, "b1", 2, FIRST_VERSIONS)
    assert stored(lake, "rejected_rows", appended.versions["rejected_rows"], ["value", "project"]) == [("bad", "-")]


def test_the_longest_project_name_works(lake: Lake) -> None:
    project = "ü" * 40
    appended = lake.append({"runs": runs(("r1", "2026-01-01T00:00:00Z"), project=project)}, "b1", 1, FIRST_VERSIONS)
    assert lake.read("runs", appended.versions["runs"], project).num_rows == 1


def test_a_broken_frame_is_refused_with_table_and_column(lake: Lake) -> None:
    good = results(("r1", "a", "passed"))
    with pytest.raises(LakeError, match="test_results: column outcome is missing"):
        lake.append({"test_results": good.drop(columns="outcome")}, "b1", 1, FIRST_VERSIONS)
    with pytest.raises(LakeError, match=r"test_results\.duration_s"):
        lake.append({"test_results": good.assign(duration_s="long")}, "b1", 1, FIRST_VERSIONS)
    with pytest.raises(LakeError, match=r"test_results\.test_id: 1 nulls"):
        lake.append({"test_results": good.assign(test_id=None)}, "b1", 1, FIRST_VERSIONS)
    with pytest.raises(LakeError, match=r"test_results\.test_id"):
        lake.append({"test_results": good.assign(test_id="\ud800")}, "b1", 1, FIRST_VERSIONS)
    assert lake.versions() == dict(FIRST_VERSIONS)


def test_a_new_column_is_added_and_older_rows_read_as_null(lake: Lake) -> None:
    base = lake.append({"runs": runs(("r1", "2026-01-01T00:00:00Z"))}, "b1", 1, FIRST_VERSIONS).versions
    wider = runs(("r1", "2026-01-01T00:00:00Z"), ("r2", "2026-01-01T01:00:00Z")).assign(runner="arm64")
    appended = lake.append({"runs": wider}, "b2", 2, base)
    assert appended.duplicates["runs"] == 1
    found = lake.read("runs", 2, columns=["run_id", "runner"]).sort_by("run_id").to_pylist()
    assert found == [{"run_id": "r1", "runner": None}, {"run_id": "r2", "runner": "arm64"}]
    assert "runner" in lake.schema("runs").names
    assert "runner" not in lake.schema("runs", 1).names
    narrow = lake.append({"runs": runs(("r3", "2026-01-01T02:00:00Z"))}, "b3", 3, appended.versions)
    assert lake.read("runs", narrow.versions["runs"]).num_rows == 3


def test_a_lake_of_an_older_release_without_a_column_reads_and_grows(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.create()
    older = pa.schema([field for field in lake.schema("changed_files") if field.name != "change_source"])
    DeltaTable.create(str(tmp_path / "changed_files"), older, mode="overwrite", partition_by=["project", "day"])
    base = {**FIRST_VERSIONS, "changed_files": lake.versions()["changed_files"]}
    assert lake.read("changed_files", base["changed_files"]).num_rows == 0
    assert lake.schema("changed_files", base["changed_files"]).field("change_source").type == pa.string()
    batch = {"runs": runs(("r1", "2026-01-01T00:00:00Z")), "changed_files": files(("r1", "a.py"))}
    appended = lake.append(batch, "b1", 1, base)
    assert stored(lake, "changed_files", appended.versions["changed_files"], ["change_source"]) == [("git",)]
