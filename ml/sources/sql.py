"""Source `sql`: queries of a database that give the tables of docs/history-layout.md.

Rows are streamed as text into Parquet below a scratch folder and go on as any tables (`ml.sources.tables`).
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, Literal, Self

import pyarrow as pa
from pydantic import AfterValidator, Field
from sqlalchemy import URL, Connection, CursorResult, NullPool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from ml.errors import SourceError
from ml.sources.casting import Kind, cast
from ml.sources.csv_tables import places_of
from ml.sources.refusals import Refusal, as_row, as_value, printable
from ml.sources.source import Finding, Progress, SourceOptions, Surroundings
from ml.sources.tables import COLUMNS, REQUIRED, Tables
from ml.sources.text_table import TextTable, as_array
from ml.spec import Batch, Interval

SLICE_ROWS = 10_000
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, tzinfo=UTC)
PARAMETERS = {"since", "until"}
# All queries of a fetch see the same moment; a moment without a zone is UTC, there as here.
_BEGIN = {
    "postgresql": ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", "SET LOCAL TIME ZONE 'UTC'"),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION time_zone = '+00:00'"),
    "mariadb": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION time_zone = '+00:00'"),
    "oracle": ("SET TRANSACTION READ ONLY",),
    "sqlite": ("PRAGMA query_only = ON",),
}


def _checked_url(value: str) -> str:
    try:
        url = make_url(value)
        url.get_dialect()().create_connect_args(url)
    except (NoSuchModuleError, ImportError):
        raise ValueError("names a database or driver that is not installed") from None
    except (ArgumentError, ValueError, TypeError):
        told = "is no URL of SQLAlchemy; right would be as postgresql+psycopg2://ci@db.example.org/ci"
        raise ValueError(told) from None
    if url.password is not None or any("pass" in name.lower() for name in url.query):
        raise ValueError("holds a password; right would be the URL without it, and the password as the source's secret")
    return value


def _checked_query(value: str) -> str:
    unknown = sorted(set(text(value).compile().params) - PARAMETERS)
    if unknown:
        raise ValueError(
            f"asks for :{unknown[0]}; right would be :since and :until (a colon of its own is written \\:)"
        )
    return value


Query = Annotated[str, Field(min_length=1, max_length=100_000), AfterValidator(_checked_query)]


class Options(SourceOptions):
    """A database.

    Attributes:
        kind: Always sql.
        url: URL of SQLAlchemy without a password, which is the secret.
        runs: Query that gives run_id, started_at and perhaps the other columns of runs; ``:since`` and ``:until`` are
            bound where they stand in it.
        test_results: Query that gives run_id, test_id, outcome and perhaps the others.
        changed_files: Query that gives run_id, path and perhaps the others; empty = none.
    """

    needs_secret: ClassVar[bool] = False  # a file or a trusted network needs none

    kind: Literal["sql"]
    url: Annotated[str, AfterValidator(_checked_url)]
    runs: Query
    test_results: Query
    changed_files: Query | Literal[""] = ""


def open_source(options: Options, secret: str, around: Surroundings) -> "Database":
    """The database as a source of `fourgate.toml`."""
    return Database(options, secret, around)


class Database:
    """Queries of one database; each fetch and test is one read-only transaction, where the database has such."""

    name = "sql"

    def __init__(self, options: Options, secret: str, around: Surroundings) -> None:
        self._options = options
        self._secret = secret
        self._around = around
        self._known = {(run_id, str(attempt)) for run_id, attempt in around.known.attempts}
        self._url = make_url(options.url)
        self._engine = create_engine(self._with_secret(), poolclass=NullPool, hide_parameters=True)
        if self._url.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _read_any_text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._engine.dispose()

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """Land the runs that started in `interval` and are not known, as `Tables.fetch` does.

        Raises:
            SourceError: the database cannot be reached, a query fails or lacks a column, or no run has a start that
                can be read.
        """
        bounds = Interval(interval.start or FIRST, interval.end or LAST)
        with TemporaryDirectory(prefix="fourgate-sql-", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch)
            with self._connected() as connection:
                refused = self._write_all(connection, bounds, folder)
            if refused is not None:
                tables = Tables(folder, self._around.landing, refused, self.name)
                yield from tables.fetch(bounds, on_progress)

    def test(self) -> Iterator[Finding]:
        """Whether it can be reached, each query runs and has its columns, and how many runs there are since when."""
        try:
            with self._connected():
                yield Finding("connection", True, f"{self._shown} can be reached")
            for name in self._queries:
                yield self._test_query(name)
            yield self._test_history()
        except SourceError as error:
            yield Finding("access", False, str(error))

    @property
    def _queries(self) -> dict[str, str]:
        queries = {name: str(getattr(self._options, name)) for name in COLUMNS}
        return {name: query for name, query in queries.items() if query}

    @property
    def _shown(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def _with_secret(self) -> URL:
        has_none = not self._secret or self._url.get_backend_name() == "sqlite"
        return self._url if has_none else self._url.set(password=self._secret)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A transaction that changes nothing.

        Raises:
            SourceError: the database cannot be reached or refuses; the message holds no password.
        """
        path = self._url.database or ""
        if self._url.get_backend_name() == "sqlite" and not path.startswith("file:") and not Path(path).is_file():
            raise SourceError(
                f"{self._shown} names no file; right would be sqlite:////folder/file.db, with four slashes"
            )
        try:
            with self._engine.connect() as connection:
                for statement in _BEGIN.get(connection.dialect.name, ()):
                    connection.execute(text(statement))
                yield connection
        except (SQLAlchemyError, UnicodeError) as error:
            raise SourceError(f"the database {self._shown} refuses: {self._told(error)}") from None

    def _told(self, error: Exception) -> str:
        told = str(getattr(error, "orig", None) or error).strip()
        return printable(told.replace(self._secret, "***") if self._secret else told, 500)

    def _run(self, connection: Connection, query: str, interval: Interval) -> CursorResult[Any]:
        statement = text(query)
        moments = {"since": interval.start or FIRST, "until": interval.end or LAST}
        dialect = connection.dialect.name
        values = {name: _bound(moments[name], dialect) for name in statement.compile().params}
        streaming = connection.execution_options(stream_results=True, max_row_buffer=SLICE_ROWS)
        return streaming.execute(statement, values)

    def _write_all(self, connection: Connection, interval: Interval, folder: Path) -> list[Refusal] | None:
        """Write every table; None where there is no run that is not known, else the runs that were refused."""
        refused: list[Refusal] = []
        for name, query in self._queries.items():
            with self._run(connection, query, interval) as result:
                places = _places(name, result)
                rows = result.partitions(SLICE_ROWS)
                count = 0
                with TextTable(folder / f"{name}.parquet", _columns(name, places)) as table:
                    for part in rows:
                        columns = _as_columns(part, places)
                        if name == "runs":
                            columns = _of_new_runs(columns, self._known, refused)
                            columns["project"] = [self._options.project] * len(columns["run_id"])
                        table.add(list(columns.values()))
                    count = table.rows
            if name == "runs" and not count:
                if refused:
                    raise SourceError(
                        f"no run of {self._shown} has a started_at that can be read: {refused[0].value!r}"
                    )
                return None
        return refused

    def _test_query(self, name: str) -> Finding:
        try:
            with self._connected() as connection, self._run(connection, self._queries[name], Interval()) as result:
                places = _places(name, result)
                row = result.fetchone()
        except SourceError as error:
            return Finding(f"query {name}", False, str(error))
        return Finding(f"query {name}", True, f"gives {', '.join(places)}" + ("" if row else "; there are no rows yet"))

    def _test_history(self) -> Finding:
        inner = self._options.runs.strip().rstrip(";")
        query = f"SELECT count(*), min(started_at), max(started_at) FROM ({inner}) AS runs"
        with self._connected() as connection, self._run(connection, query, Interval()) as result:
            count, first, last = tuple(result.one())
        return Finding("history", bool(count), f"{count} runs from {first or '?'} to {last or '?'}")


def _read_any_text(connection: Any, record: object) -> None:
    """SQLite keeps any bytes as text: what is no UTF-8 is refused row by row, and ends no query."""
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")


def _bound(moment: datetime, dialect: str) -> datetime | str:
    """The moment as its database compares it: SQLite has texts, as those of its own ``datetime()``, and no zones."""
    if dialect == "sqlite":
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return moment if dialect == "postgresql" else moment.astimezone(UTC).replace(tzinfo=None)


def _places(name: str, result: CursorResult[Any]) -> dict[str, int]:
    wanted = {name: column for name, column in COLUMNS[name].items() if name != "project"}
    required = [column for column in REQUIRED[name] if column != "project"]
    return places_of(f"the query {name!r}", list(result.keys()), required, tuple(wanted))


def _columns(name: str, places: Mapping[str, int]) -> list[str]:
    return [*places, "project"] if name == "runs" else list(places)


def _as_columns(rows: Sequence[Sequence[Any]], places: Mapping[str, int]) -> dict[str, list[str | None]]:
    values = list(zip(*rows, strict=True))
    return {name: [_as_text(value) for value in values[place]] for name, place in places.items()}


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value.total_seconds() if isinstance(value, timedelta) else value)


def _of_new_runs(
    columns: dict[str, list[str | None]], known: Set[tuple[str, str]], refused: list[Refusal]
) -> dict[str, list[str | None]]:
    """The runs that are not known; one without a start that can be read is refused, since it lies in no interval."""
    starts = cast(pa.chunked_array([as_array(columns["started_at"])]), Kind.MOMENT)
    is_dated = starts.values.is_valid().to_pylist() if starts else []
    attempts = columns.get("attempt", ["1"] * len(is_dated))
    kept = []
    for position, identity in enumerate(zip(columns["run_id"], attempts, strict=True)):
        if not is_dated[position]:
            row = {name: values[position] for name, values in columns.items()}
            reason = "missing_field" if row["started_at"] is None else "not_a_timestamp"
            value = as_value(row["started_at"])
            refused.append(Refusal(reason, value, "started_at", as_row(row), "runs", "query runs"))
        elif identity not in known:
            kept.append(position)
    return {name: [values[position] for position in kept] for name, values in columns.items()}
