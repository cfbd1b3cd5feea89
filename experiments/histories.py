"""Histories of projects as Parquet tables: read with what was known at the time, opened as features want them."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ml.engine import Engine, open_engine
from ml.settings import Settings

TABLES = {
    "runs": ("run_id", "workflow", "event", "branch", "change_id", "change_title", "author_id", "commit_sha", "status"),
    "test_results": ("run_id", "variant", "test_id", "outcome", "failure_kind", "failure_fingerprint"),
    "changed_files": ("run_id", "path"),
}
NUMBERS = {
    "runs": {"attempt": pa.int64(), "started_at": pa.timestamp("us", "UTC"), "finished_at": pa.timestamp("us", "UTC")},
    "test_results": {"attempt": pa.int64(), "duration_s": pa.float64()},
    "changed_files": {"added": pa.int64(), "deleted": pa.int64()},
}
# The final patch of the ticket that a run belongs to: nobody had it when the run started.
LATER_KNOWN = "merged_patch_of_same_jira"
MEMORY_GB: float = Settings.model_fields["engine_memory_gb"].default


def data_folder() -> Path:
    """Folder of real histories, one folder each: what FOURGATE_REAL_DATA says, or the tests' default."""
    return Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def read_tables(folder: Path, names: Iterable[str] = tuple(TABLES)) -> dict[str, pd.DataFrame]:
    """The tables of a history folder, without changed files that were known only later; no file, no rows."""
    files = {name: folder / f"{name}.parquet" for name in names}
    found = {name: pd.read_parquet(path) for name, path in files.items() if path.exists()}
    changes = found.get("changed_files")
    if changes is not None and "change_source" in changes:
        found["changed_files"] = changes[changes["change_source"] != LATER_KNOWN]
    return found


def with_results_on_disk(folder: Path) -> dict[str, pd.DataFrame | Path]:
    """The tables as `read_tables` has them, but of the results, the largest by far, only their file."""
    results = {"test_results": folder / "test_results.parquet"}
    return dict(read_tables(folder, [name for name in TABLES if name not in results])) | results


@contextmanager
def opened(tables: Mapping[str, pd.DataFrame | Path]) -> Iterator[Engine]:
    """An engine with a history given as frames or Parquet files; a table that is left out is empty, a column null.

    It takes as much memory as the pipeline's does.
    """
    with tempfile.TemporaryDirectory() as spill, open_engine("duckdb", 2, MEMORY_GB, spill) as engine:
        for name, texts in TABLES.items():
            types = dict.fromkeys(texts, pa.string()) | NUMBERS[name]
            given = tables.get(name, pd.DataFrame(columns=list(types)))
            schema = pa.schema(types.items())
            if isinstance(given, Path):
                engine.register_files(name, [given.resolve().as_uri()], schema)
                continue
            table = pa.Table.from_pandas(given.reindex(columns=list(types)), schema=schema, preserve_index=False)
            engine.register_frame(name, table)
        yield engine
