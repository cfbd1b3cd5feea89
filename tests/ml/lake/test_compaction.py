"""Compaction and vacuum keep rows and named versions."""

import os
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ml.errors import LakeError
from ml.lake import FIRST_VERSIONS, Lake
from tests.lake_builders import first_batch, results, runs, stored


def test_compaction_joins_files_keeps_rows_and_old_versions(lake: Lake) -> None:
    base = dict(FIRST_VERSIONS)
    for number in range(3):
        run = f"r{number}"
        batch = {"runs": runs((run, "2026-01-01T00:00:00Z")), "test_results": results((run, "a", "passed"))}
        base = dict(lake.append(batch, f"b{number}", number + 1, base).versions)
    assert len(lake.files("test_results", base["test_results"])) == 3
    after = lake.compact(base, 9)
    assert len(lake.files("test_results", after["test_results"])) == 1
    assert stored(lake, "test_results", after["test_results"], ["run_id"]) == [("r0",), ("r1",), ("r2",)]
    assert stored(lake, "test_results", base["test_results"], ["run_id"]) == [("r0",), ("r1",), ("r2",)]
    assert after["changed_files"] == 0


def test_vacuum_keeps_named_versions_and_deletes_the_others(lake: Lake) -> None:
    first = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    second = {"runs": runs(("r3", "2026-01-01T00:00:00Z")), "test_results": results(("r3", "a", "passed"))}
    grown = lake.append(second, "b2", 2, first).versions
    compacted = lake.compact(grown, 3)
    assert lake.vacuum([compacted, first], retention_hours=0)["test_results"] == 1
    assert lake.read("test_results", first["test_results"]).num_rows == 3
    assert lake.read("test_results", compacted["test_results"]).num_rows == 4
    with pytest.raises(LakeError, match="test_results"):
        lake.read("test_results", grown["test_results"])
    assert lake.restore(compacted, 4)["test_results"] > compacted["test_results"]


def test_old_versions_outlive_the_clean_up_of_an_old_log(lake: Lake, tmp_path: Path) -> None:
    table = tmp_path / "lake" / "runs"
    DeltaTable(table).alter.set_table_properties({"delta.checkpointInterval": "3"})
    base = {**FIRST_VERSIONS, "runs": 1}
    for number in range(8):
        batch = {"runs": runs((f"r{number}", "2026-01-01T00:00:00Z"))}
        base = dict(lake.append(batch, f"b{number}", number + 1, base).versions)
        for log in (table / "_delta_log").glob("*"):
            os.utime(log, (0, 0))
    assert len(list((table / "_delta_log").glob("*.checkpoint.parquet"))) >= 2
    assert lake.read("runs", 2).num_rows == 1
    assert lake.read("runs", base["runs"]).num_rows == 8
