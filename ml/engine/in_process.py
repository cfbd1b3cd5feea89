"""DuckDB: opening files, naming types, and its own as-of join."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pandas as pd
import pyarrow as pa

from ml.engine.coded import coded, read_coded
from ml.engine.places import PARTITIONS, local_path
from ml.errors import LakeError

BYTES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class DuckDBEngine:
    """A DuckDB session in this process; see `ml.engine.Engine`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, files: dict[str, tuple[list[str], pa.Schema]]) -> None:
        self._connection = connection
        self._files = files  # of each view that is one of local files

    def alongside(self) -> "DuckDBEngine":
        """As `Engine.alongside`."""
        connection = self._connection.cursor()
        connection.execute("SET TimeZone = 'UTC'")
        return DuckDBEngine(connection, self._files)

    def lend_thread(self) -> None:
        """As `Engine.lend_thread`."""
        left = int(self.fetch("SELECT current_setting('threads') AS threads")["threads"].iloc[0]) - 1
        if left:
            self._connection.execute(f"SET threads = {left}")

    def register_files(self, name: str, files: Sequence[str], schema: pa.Schema) -> None:
        """As `Engine.register_files`; partition columns keep their type (``day`` would be a date)."""
        if not files:
            self.register_frame(name, schema.empty_table())
            return
        inside = [field for field in schema if field.name not in PARTITIONS]
        # with the columns told, no file is opened before rows are asked for
        declared = f"MAP {{{', '.join(map(_declared, inside))}}}"
        source = f"read_parquet({_texts(files)}, schema = {declared}, hive_partitioning = false, filename = true)"
        columns = [_name(field.name) for field in inside]
        columns += [_partition(schema.field(key)) for key in PARTITIONS if key in schema.names]
        try:
            self._connection.execute(
                f"CREATE OR REPLACE VIEW {_name(name)} AS SELECT {', '.join(columns)} FROM {source}"
            )
        except duckdb.Error as error:
            raise LakeError(f"the files of {name} cannot be read with the schema of the table: {error}") from error
        folders = [local_path(file) for file in files]
        if all(folder for folder, _ in folders):
            self._files[name] = ([folder + file for folder, file in folders], schema)

    def register_frame(self, name: str, table: pa.Table) -> None:
        """As `Engine.register_frame`."""
        self._files.pop(name, None)
        self._connection.register("incoming_frame", table)
        create = f"CREATE OR REPLACE TABLE {_name(name)} AS SELECT * FROM incoming_frame"
        try:
            self._connection.execute(create)
        except duckdb.CatalogException:  # there is a view of that name
            self._connection.execute(f"DROP VIEW {_name(name)}")
            self._connection.execute(create)
        self._connection.unregister("incoming_frame")

    def store(self, name: str, select: str) -> None:
        """As `Engine.store`."""
        self._files.pop(name, None)
        with _files_named():
            self._connection.execute(f"CREATE OR REPLACE TABLE {_name(name)} AS {select}")

    def fetch(self, sql: str) -> pd.DataFrame:
        """As `Engine.fetch`."""
        with _files_named():
            return self._connection.execute(sql).df()

    def coded(self, name: str, columns: Sequence[str]) -> pa.Table:
        """As `Engine.coded`; past the engine where files are local, as it has no numbers for texts."""
        with _files_named():
            if name in self._files:
                paths, schema = self._files[name]
                return read_coded(paths, pa.schema([schema.field(column) for column in columns]))
            return coded(self._connection.execute(f"SELECT {', '.join(columns)} FROM {_name(name)}").to_arrow_table())

    def latest_before(self, facts: str, queries: str, keys: Sequence[str]) -> str:
        """As `Engine.latest_before`."""
        equal = " AND ".join(f"q.{key} = f.{key}" for key in keys)
        on = f"{equal} AND q.at_us > f.known_us" if equal else "q.at_us > f.known_us"
        return f"{queries} AS q ASOF LEFT JOIN {facts} AS f ON {on}"


@contextmanager
def open_duckdb(threads: int, memory_gb: float | None, spill_folder: str | None) -> Iterator["DuckDBEngine"]:
    """Arguments as for `open_engine`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "autoinstall_known_extensions": False,
    }
    if spill_folder is not None:
        config["temp_directory"] = spill_folder
    connection = duckdb.connect(":memory:", config=config)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET parquet_metadata_cache = true")  # every statement over a view opens all its files
        if memory_gb is not None and memory_gb < _memory_gb(connection):
            connection.execute(f"SET memory_limit = '{round(memory_gb * 1000)}MB'")
        connection.execute("SET enable_progress_bar = false")  # it goes to stdout, between the lines of --json
        yield DuckDBEngine(connection, {})
    finally:
        connection.close()


def _memory_gb(connection: duckdb.DuckDBPyConnection) -> float:
    """What DuckDB allows itself: 80 % of the machine, or of what a container may have of it."""
    row = connection.execute("SELECT current_setting('memory_limit')").fetchone()
    number, unit = str(row[0] if row else "inf GiB").split()
    return float(number) * BYTES[unit] / 1e9


@contextmanager
def _files_named() -> Iterator[None]:
    """A file that is gone or torn, or no room for what spills, as `LakeError`; bugs stay what they are."""
    try:
        yield
    except (duckdb.IOException, duckdb.InvalidInputException, OSError, pa.ArrowInvalid) as error:
        raise LakeError(f"the query engine cannot read or write a file: {error}") from error


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _texts(files: Sequence[str]) -> str:
    return "[" + ", ".join(_text(_path(file)) for file in files) + "]"


def _path(uri: str) -> str:
    """Address for DuckDB: glob signs in a folder's name stand for themselves."""
    folder, file = local_path(uri)
    return re.sub(r"([*?\[])", r"[\1]", folder) + file


TYPES = {
    "string": "VARCHAR",
    "large_string": "VARCHAR",
    "string_view": "VARCHAR",
    "bool": "BOOLEAN",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date32[day]": "DATE",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
}


def _type(field: pa.Field) -> str:
    known = TYPES.get(str(field.type))
    if known is None:
        raise LakeError(f"column {field.name} has type {field.type}; the engine reads {', '.join(TYPES)}")
    return known


def _declared(field: pa.Field) -> str:
    name = _text(field.name)
    return f"{name}: {{name: {name}, type: '{_type(field)}', default_value: NULL}}"


def _partition(field: pa.Field) -> str:
    """Partition value from the path, decoded; Hive writes null as ``__HIVE_DEFAULT_PARTITION__``."""
    raw = f"url_decode(regexp_extract(filename, '.*/{field.name}=([^/]*)/', 1))"
    return f"CAST(NULLIF({raw}, '__HIVE_DEFAULT_PARTITION__') AS {_type(field)}) AS {_name(field.name)}"
