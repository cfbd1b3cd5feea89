"""Histories of projects as Parquet tables: read with what was known at the time, opened as features want them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ml.engine import Engine, open_engine

TABLES = {
    "runs": ("run_id", "workflow", "event", "branch", "change_id", "author_id", "commit_sha", "status"),
    "test_results": ("run_id", "variant", "test_id", "outcome"),
    "changed_files": ("run_id", "path"),
}
NUMBERS = {
    "runs": {"attempt": pa.int64(), "started_at": pa.timestamp("us", "UTC"), "finished_at": pa.timestamp("us", "UTC")},
    "test_results": {"attempt": pa.int64(), "duration_s": pa.float64()},
    "changed_files": {"added": pa.int64(), "deleted": pa.int64()},
}
# The final patch of the ticket that a run belongs to: nobody had it when the run started.
LATER_KNOWN = "merged_patch_of_same_jira"


def data_folder() -> Path:
    """Folder of real histories, one folder each: what FOURGATE_REAL_DATA says, or the tests' default."""
    return Path(os.environ.get("FOURGATE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of a history folder, without changed files that were known only later; no file, no rows."""
    files = {name: folder / f"{name}.parquet" for name in TABLES}
    found = {name: pd.read_parquet(path) for name, path in files.items() if path.exists()}
    changes = found.get("changed_files")
    if changes is not None and "change_source" in changes:
        found["changed_files"] = changes[changes["change_source"] != LATER_KNOWN]
    return found


@contextmanager
def opened(tables: Mapping[str, pd.DataFrame]) -> Iterator[Engine]:
    """An engine with a history given as frames; a table that is left out is empty."""
    with open_engine("duckdb", threads=2) as engine:
        for name, texts in TABLES.items():
            types = dict.fromkeys(texts, pa.string()) | NUMBERS[name]
            given = tables.get(name, pd.DataFrame(columns=list(types)))
            table = pa.Table.from_pandas(given[list(types)], schema=pa.schema(types.items()), preserve_index=False)
            engine.register_frame(name, table)
        yield engine
