"""Spark: the same statements, rewritten by sqlglot from DuckDB's dialect."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - as Spark's own documents name it
from pyspark.sql.pandas.types import from_arrow_schema
from sqlglot import exp, parse_one

from ml.engine.coded import coded
from ml.engine.places import PARTITIONS, local_path
from ml.errors import LakeError

FUNCTIONS = {"EPOCH_US": "UNIX_MICROS"}
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@contextmanager
def open_spark(threads: int, memory_gb: float | None, spill_folder: str | None) -> Iterator["SparkEngine"]:
    """Arguments as for `open_engine`; needs a Java runtime (17 or 21). Other options: spark-defaults.conf."""
    builder = SparkSession.builder.appName("fourgate")
    options = {
        "spark.master": f"local[{threads}]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": str(threads),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.driver.memory": None if memory_gb is None else f"{round(memory_gb * 1000)}m",
        "spark.local.dir": spill_folder,
    }
    for name, value in options.items():
        if value is not None:
            builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        yield SparkEngine(session)
    finally:
        session.stop()


class SparkEngine:
    """A Spark session; see `ml.engine.Engine`."""

    def __init__(self, session: SparkSession) -> None:
        self._session = session

    def alongside(self) -> "SparkEngine":
        """As `Engine.alongside`: a session takes statements from any thread."""
        return self

    def lend_thread(self) -> None:
        """As `Engine.lend_thread`: its tasks are too many to stand in one thread's way."""

    def register_files(self, name: str, files: Sequence[str], schema: pa.Schema) -> None:
        """As `Engine.register_files`."""
        if not files:
            self.register_frame(name, schema.empty_table())
            return
        inside = pa.schema([field for field in schema if field.name not in PARTITIONS])
        try:
            read = self._session.read.schema(from_arrow_schema(inside)).parquet(*map(_path, files))
            keys = [_partition(key).alias(key) for key in PARTITIONS if key in schema.names]
            read.select("*", *keys).createOrReplaceTempView(name)
        except PySparkException as error:
            raise LakeError(f"the files of {name} cannot be read with the schema of the table: {error}") from error

    def register_frame(self, name: str, table: pa.Table) -> None:
        """As `Engine.register_frame`."""
        # Spark's own annotations do not know that it takes Arrow tables; unused where Spark is not installed
        frame = self._session.createDataFrame(table, schema=from_arrow_schema(table.schema))  # type: ignore[call-overload, unused-ignore]
        frame.createOrReplaceTempView(name)

    def store(self, name: str, select: str) -> None:
        """As `Engine.store`; the rows are kept, so that a later plan starts from them and not from the files."""
        self._sql(select).localCheckpoint().createOrReplaceTempView(name)

    def fetch(self, sql: str) -> pd.DataFrame:
        """As `Engine.fetch`."""
        found: pd.DataFrame = self._sql(sql).toPandas()
        return found

    def coded(self, name: str, columns: Sequence[str]) -> pa.Table:
        """As `Engine.coded`."""
        return coded(self._session.table(name).select(*columns).toArrow())

    def latest_before(self, facts: str, queries: str, keys: Sequence[str]) -> str:
        """As `Engine.latest_before`: when the latest fact became known, by one window over both; then the fact."""
        names = "".join(f"{key}, " for key in keys)
        partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
        same = "".join(f"{{0}}.{key} = q.{key} AND " for key in keys)
        return f"""
            {queries} AS q
            LEFT JOIN (
                SELECT {names}us AS at_us, known_us
                FROM (
                    SELECT {names}us, is_fact, MAX(known_us) OVER ({partition}ORDER BY us, is_fact
                        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS known_us
                    FROM (
                        SELECT DISTINCT {names}at_us AS us, 0 AS is_fact, CAST(NULL AS BIGINT) AS known_us
                        FROM {queries}
                        UNION ALL SELECT {names}known_us AS us, 1 AS is_fact, known_us FROM {facts}))
                WHERE is_fact = 0) AS m ON {same.format("m")}m.at_us = q.at_us
            LEFT JOIN {facts} AS f ON {same.format("f")}f.known_us = m.known_us
            """

    def _sql(self, text: str) -> DataFrame:
        return self._session.sql(spark_sql(text))


def spark_sql(text: str) -> str:
    """A statement of DuckDB's dialect in Spark's."""
    tree = parse_one(text, read="duckdb")
    for call in tree.find_all(exp.Anonymous):
        call.set("this", FUNCTIONS.get(call.name.upper(), call.name))
    translated: str = tree.sql(dialect="spark")
    return translated


def _path(uri: str) -> str:
    """Address for Hadoop: glob signs in a folder's name stand for themselves."""
    folder, file = local_path(uri)
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", folder) + file


def _partition(key: str) -> Column:
    """Partition value from the path: once encoded by Delta for the folder's name, once by Spark as an address."""
    raw = F.regexp_extract(F.col("_metadata.file_path"), f".*/{key}=([^/]*)/", 1)
    value = F.url_decode(F.url_decode(raw))
    return F.when(value != NO_PARTITION, value)
