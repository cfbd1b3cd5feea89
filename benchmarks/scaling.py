"""How time and memory of all features grow with the history: 1, 5 and 20 million simulated results."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import run
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.histories import PROJECT, TABLES, history
from ml.engine import open_engine
from ml.features import Context, Queries, build
from ml.spec import Interval

SIZES = (1_000_000, 5_000_000, 20_000_000)
QUICK_SIZES = (2_000, 6_000)
ASKED = 500_000  # rows of the frame: the newest results, whatever the history; the frame itself is 84 columns wide
RUNS, QUICK_RUNS = 600, 20
THREADS = 2
MEMORY_GB = 3.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One size, measured in a process of its own; seconds without imports and without writing the history."""

    family: str
    count: int
    unit: str
    asked: int
    wall_s: float
    cpu_s: float
    peak_gib: float

    def __str__(self) -> str:
        """For people."""
        return (
            f"{self.family}, {self.count:,} {self.unit}, frame of {self.asked:,} rows: {self.wall_s:.1f} s, "
            f"{self.cpu_s:.1f} CPU s, peak {self.peak_gib:.2f} GiB"
        )


def figures(quick: bool, scratch: Path) -> Iterator[Figure]:
    """One per size."""
    for size in QUICK_SIZES if quick else SIZES:
        folder = scratch / f"history-{size}"
        _write(QUICK_RUNS if quick else RUNS, size, folder)
        command = [sys.executable, "-m", "benchmarks.scaling", str(folder)]
        done = run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        yield Figure(family="all features", unit="results", **json.loads(done.stdout.splitlines()[-1]))


def _write(run_count: int, wanted: int, folder: Path) -> None:
    """A simulated history, again and again one after the other, until there are so many results."""
    tables = {name: getattr(history(run_count), name) for name in TABLES}
    span = tables["runs"]["started_at"].max() - tables["runs"]["started_at"].min() + pd.Timedelta(hours=1)
    for number in range(-(-wanted // len(tables["test_results"]))):
        for name, table in tables.items():
            again = table.assign(run_id=f"{number:04}-" + table["run_id"])
            for moment in ("started_at", "finished_at"):
                if moment in again:
                    again[moment] += number * span
            (folder / name).mkdir(parents=True, exist_ok=True)
            pq.write_table(_as_in_the_lake(again), folder / name / f"{number:04}.parquet")


def _as_in_the_lake(table: pd.DataFrame) -> pa.Table:
    """Moments in microseconds, and what is null throughout as text."""
    rows = pa.Table.from_pandas(table, preserve_index=False)
    return rows.cast(pa.schema([(field.name, _type_in_the_lake(field.type)) for field in rows.schema]))


def _type_in_the_lake(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    return pa.string() if pa.types.is_null(kind) else kind


def _measured(folder: Path) -> dict[str, Any]:
    """In a process of its own, because the peak of a process never falls."""
    files = {name: sorted(map(str, (folder / name).glob("*.parquet"))) for name in TABLES}
    counts = [pq.read_metadata(path).num_rows for path in files["test_results"]]
    share = min(1.0, ASKED / sum(counts))
    starts = pd.concat(
        [pq.read_table(path, columns=["started_at"])["started_at"].to_pandas() for path in files["runs"]]
    )
    since = starts.quantile(1 - share).to_pydatetime()
    began, began_cpu = time.perf_counter(), time.process_time()
    with open_engine("duckdb", THREADS, MEMORY_GB, str(folder / "spill")) as engine:
        for name, paths in files.items():
            engine.register_files(name, paths, pq.read_schema(paths[0]).remove_metadata())
        frame = build(engine, Queries.training(PROJECT, Interval(since, None)), Context())
    return {
        "count": sum(counts),
        "asked": len(frame),
        "wall_s": time.perf_counter() - began,
        "cpu_s": time.process_time() - began_cpu,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    print(json.dumps(_measured(Path(sys.argv[1]))))
