"""Source for a history in one file: a zip or tar is unpacked, then read as the folder that it holds."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from ml.errors import UnreadableHistory
from ml.sources.refusals import Refusal
from ml.sources.source import Limits, Progress, Source
from ml.sources.unpacking import unpack
from ml.spec import Batch, Interval, Parsed

OpenFolder = Callable[[Path, list[Refusal]], Source]
ReadBatch = Callable[[Batch, Limits], Parsed]


class Archive:
    """A history file. `open_folder` gives the source of its unpacked folder, which tells what was not unpacked."""

    name = "archive"

    def __init__(self, file: Path, limits: Limits, open_folder: OpenFolder, read_batch: ReadBatch) -> None:
        self._file = file
        self._limits = limits
        self._open_folder = open_folder
        self._read_batch = read_batch

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """Land what the archive holds, as its folder would: the same content gives the same batches.

        Raises:
            SourceError: the file is no archive, holds no history, or a file cannot be copied.
        """
        with TemporaryDirectory(prefix="fourgate-archive-", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch)
            refused = unpack(self._file, folder, self._limits.max_payload_bytes)
            if refused and not any(folder.iterdir()):
                raise UnreadableHistory(f"nothing of the history {self._file} can be unpacked: {refused[0].reason}")
            yield from self._open_folder(_history_in(folder), refused).fetch(interval, on_progress)

    def read(self, batch: Batch, limits: Limits) -> Parsed:
        """Rows of a landed batch; see `ml.sources.read_batch`.

        Raises:
            SourceError: the landed batch is missing or no longer as it was landed.
        """
        return self._read_batch(batch, limits)


def _history_in(folder: Path) -> Path:
    """The folder, or the only one in it, which most archives wrap around their content."""
    found = list(folder.iterdir())
    return found[0] if len(found) == 1 and found[0].is_dir() else folder
