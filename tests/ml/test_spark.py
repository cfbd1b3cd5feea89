"""Spark reads the same files and computes the same frames as DuckDB, from the same statements."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pandas.testing as pdt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from ml.engine import Engine, open_engine
from ml.errors import LakeError
from ml.features import Context, Queries, build, build_failures, build_runs
from tests.label_builders import random_labels_history, register

pytest.importorskip("pyspark", reason="Spark is not installed: uv sync --group spark")
pytestmark = [
    # py4j leaves the sockets of a finished call to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.integration,
    pytest.mark.skipif(
        not (os.environ.get("JAVA_HOME") or shutil.which("java")), reason="no Java runtime (17 or 21) for Spark"
    ),
]
# Compiling each of some hundred small plans to bytecode would take longer than running them.
QUICK = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}
Build = Callable[[Engine, Queries, Context], pd.DataFrame]
SCHEMA = pa.schema([("project", pa.string()), ("day", pa.string()), ("run_id", pa.string()), ("event", pa.string())])


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One session for all: starting one takes seconds."""
    folder = tmp_path_factory.mktemp("spark")
    (folder / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in QUICK.items()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(folder))
        with open_engine("spark", threads=1) as engine:
            yield engine
            gc.collect()  # while its warnings are still expected


def rows(project: str, run_id: str, names: list[str]) -> pa.Table:
    values = {"project": project, "day": "2026-03-01", "run_id": run_id, "event": "push"}
    return pa.table({name: [values[name]] for name in names})


def test_partition_values_folder_names_and_missing_columns_are_read(spark: Engine, tmp_path: Path) -> None:
    place = tmp_path / "a é b"
    write_deltalake(place, rows("apache/ozone", "1", SCHEMA.names[:3]), partition_by=["project", "day"])
    later = rows("a b%c=é'", "2", SCHEMA.names)
    write_deltalake(place, later, partition_by=["project", "day"], mode="append", schema_mode="merge")
    spark.register_files("lake_runs", DeltaTable(place).file_uris(), SCHEMA)
    found = spark.fetch("SELECT project, day, run_id, event FROM lake_runs ORDER BY run_id")
    assert found.to_numpy().tolist() == [
        ["apache/ozone", "2026-03-01", "1", None],
        ["a b%c=é'", "2026-03-01", "2", "push"],
    ]


def test_glob_signs_in_a_folder_name_stand_for_themselves(spark: Engine, tmp_path: Path) -> None:
    for folder, run_id in (("a[12]{3}", "1"), ("a13", "2")):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"run_id": [run_id]}), tmp_path / folder / "x.parquet")
    files = [str(tmp_path / "a[12]{3}" / "x.parquet")]
    spark.register_files("globbed", files, pa.schema([("run_id", pa.string())]))
    assert spark.fetch("SELECT run_id FROM globbed")["run_id"].tolist() == ["1"]


def test_a_missing_file_is_a_lake_error_that_names_the_table(spark: Engine, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="files of gone"):
        spark.register_files("gone", [str(tmp_path / "gone.parquet")], SCHEMA)


def test_the_latest_fact_before_a_query_is_strictly_earlier(spark: Engine) -> None:
    spark.register_frame("facts", pa.table({"k": [1, 1, 1, 2], "known_us": [10, 20, 30, 5], "v": [1, 2, 3, 9]}))
    spark.register_frame("asked", pa.table({"k": [1, 1, 1, 3], "at_us": [10, 20, 31, 99]}))
    found = spark.fetch(f"SELECT q.k, q.at_us, f.v FROM {spark.latest_before('facts', 'asked', ['k'])} ORDER BY 1, 2")
    assert found["v"].fillna(-1).tolist() == [-1, 1, 3, -1]


@pytest.mark.parametrize("make", [build, build_failures, build_runs])
def test_both_engines_give_the_same_frame(spark: Engine, make: Build) -> None:
    """To the last bit, but for averages whose weights are powers in floating point: within 1e-12."""
    history = random_labels_history(seed=3, runs_count=36)
    with open_engine("duckdb", threads=1) as duckdb:
        expected, found = (frame_of(engine, make, history) for engine in (duckdb, spark))
    assert len(expected) > 10
    assert (expected.nunique() > 1).sum() > 20
    weighed = [name for name in expected if "ewma" in name]
    pdt.assert_frame_equal(found.drop(columns=weighed), expected.drop(columns=weighed), check_exact=True)
    pdt.assert_frame_equal(found[weighed], expected[weighed], rtol=1e-12, atol=1e-12)


def frame_of(engine: Engine, make: Build, history: dict[str, pd.DataFrame]) -> pd.DataFrame:
    register(engine, history)
    return make(engine, Queries.training("p"), Context())
