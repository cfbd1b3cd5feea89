from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.errors import SourceError
from ml.sources import Limits, find_batch, open_source, read_batch
from ml.spec import Interval
from tests.history_builders import write_report, write_run

LIMITS = Limits(max_payload_bytes=10_000, author_salt="salt")


def test_the_layout_chooses_the_source(tmp_path: Path) -> None:
    write_run(tmp_path / "junit" / "deep" / "r1")
    (tmp_path / "tables").mkdir()
    runs = pa.table({"run_id": ["r"], "project": ["p"], "started_at": ["2026-01-01T00:00:00Z"]})
    results = pa.table({"run_id": ["r"], "test_id": ["t"], "outcome": ["passed"]})
    pq.write_table(runs, tmp_path / "tables" / "runs.parquet")
    pq.write_table(results, tmp_path / "tables" / "test_results.parquet")
    assert open_source(tmp_path / "junit", tmp_path / "landing", LIMITS).name == "junit"
    assert open_source(tmp_path / "tables", tmp_path / "landing", LIMITS).name == "tables"


@pytest.mark.parametrize("files", [[], ["report.xml", "readme.txt"]])
def test_a_folder_of_no_known_layout_is_told_both_layouts(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("<testsuite/>")
    with pytest.raises(SourceError, match=r"runs\.parquet and test_results\.parquet.*manifest\.json"):
        open_source(tmp_path, tmp_path / "landing", LIMITS)


def test_a_history_that_is_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gone is neither a folder nor a file"):
        open_source(tmp_path / "gone", tmp_path / "landing", LIMITS)


def test_a_batch_is_found_and_read_again_by_its_id(tmp_path: Path) -> None:
    write_report(write_run(tmp_path / "history" / "r1") / "a.xml")
    (batch,) = open_source(tmp_path / "history", tmp_path / "landing", LIMITS).fetch(Interval())
    again = read_batch(find_batch(tmp_path / "landing", batch.batch_id), LIMITS)
    assert list(again.frames["test_results"]["test_id"]) == ["S::t"]


def test_a_batch_of_an_unknown_source_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "history" / "r1")
    (batch,) = open_source(tmp_path / "history", tmp_path / "landing", LIMITS).fetch(Interval())
    with pytest.raises(SourceError, match="source 'fax'; known: junit, tables"):
        read_batch(replace(batch, source="fax"), LIMITS)
