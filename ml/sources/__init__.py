"""Where CI history comes from: one file per source, the same two verbs.

`fetch` lands raw payloads, `read` turns a landed batch into rows. What cannot be read becomes a row of `refused`.
"""

from collections.abc import Sequence
from pathlib import Path

from ml.errors import SourceError
from ml.sources import configured, junit, tables
from ml.sources.archive import Archive
from ml.sources.ci_server import CiServer, Finding
from ml.sources.junit import JUnit
from ml.sources.landing import find as find_batch
from ml.sources.landing import landed
from ml.sources.refusals import Refusal
from ml.sources.run_folders import has_manifest
from ml.sources.source import Limits, Progress, Source
from ml.sources.tables import Tables
from ml.spec import Batch, Parsed

__all__ = [
    "PUSH",
    "CiServer",
    "Finding",
    "JUnit",
    "Limits",
    "Progress",
    "Source",
    "find_batch",
    "landed",
    "open_source",
    "read_batch",
]

PUSH = "push"  # runs that CI jobs sent to `ml.receiver`
_READERS = {
    junit.NAME: junit.read,
    Tables.name: tables.read,
    PUSH: junit.read,
    **dict.fromkeys(configured.KINDS, junit.read),  # they land as folders of reports
}


def open_source(history: Path, landing: Path, limits: Limits) -> Source:
    """The source that reads `history`, chosen by what lies in it.

    Args:
        history: folder with runs.parquet, or with a manifest.json at or below it; or a zip, tar or tar.gz of one.
        landing: root of the landing area.
        limits: what may be read.

    Raises:
        SourceError: the history is missing or has neither layout; what is in an archive shows when it is fetched.
    """
    if history.is_file():
        return Archive(history, limits, lambda folder, refused: _open(folder, landing, limits, refused), read_batch)
    if not history.is_dir():
        raise SourceError(
            f"the history {history} is neither a folder nor a file; set FOURGATE_HISTORY to one that exists"
        )
    return _open(history, landing, limits, ())


def _open(folder: Path, landing: Path, limits: Limits, refused: Sequence[Refusal]) -> Source:
    if (folder / "runs.parquet").exists():
        if refused:
            raise SourceError(
                f"{refused[0].payload} was refused ({refused[0].reason}); tables are read whole or not at all"
            )
        return Tables(folder, landing)
    if has_manifest(folder):
        return JUnit(folder, landing, limits, {".": refused})
    raise SourceError(
        f"{folder} holds no CI history that can be read; expected runs.parquet and test_results.parquet in it, "
        "or test reports below folders with a manifest.json each (layouts: docs/history-layout.md)"
    )


def read_batch(batch: Batch, limits: Limits) -> Parsed:
    """Rows of a landed batch of any source, from the landing area alone; for replay.

    Raises:
        SourceError: the batch is missing, no longer as it was landed, or of a source that is not known.
    """
    reader = _READERS.get(batch.source)
    if reader is None:
        raise SourceError(f"batch {batch.batch_id} is of source {batch.source!r}; known: {', '.join(_READERS)}")
    return reader(batch, limits)
