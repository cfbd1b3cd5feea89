"""Source over a history that is written as Parquet tables first: they are fetched and read as any others."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ml.sources import tables
from ml.sources.refusals import Refusal
from ml.sources.source import Limits, Progress
from ml.sources.tables import Tables
from ml.spec import Batch, Interval, Parsed

Convert = Callable[[Path], Sequence[Refusal]]


class Converted:
    """`convert` writes the tables into an empty folder and returns what it refused; that lands with them."""

    name = tables.NAME

    def __init__(self, convert: Convert, landing: Path) -> None:
        self._convert = convert
        self._landing = landing

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """Land the runs that started in `interval`, as `Tables.fetch` does.

        Raises:
            SourceError: the history as a whole cannot be read, or a file cannot be landed.
        """
        with TemporaryDirectory(prefix="fourgate-tables-", ignore_cleanup_errors=True) as scratch:
            refused = self._convert(Path(scratch))
            yield from Tables(Path(scratch), self._landing, refused).fetch(interval, on_progress)

    def read(self, batch: Batch, limits: Limits) -> Parsed:
        """Rows of a landed batch; see `ml.sources.read_batch`.

        Raises:
            SourceError: the landed batch is missing or no longer as it was landed.
        """
        return tables.read(batch, limits)
