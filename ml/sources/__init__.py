"""Where CI history comes from: one file per source, the same two verbs.

`fetch` lands raw payloads, `read` turns a landed batch into rows. What cannot be read becomes a row of `refused`.
"""

from pathlib import Path

from ml.errors import SourceError
from ml.sources import junit, tables
from ml.sources.junit import JUnit
from ml.sources.landing import find as find_batch
from ml.sources.run_folders import has_manifest
from ml.sources.source import Limits, Progress, Source
from ml.sources.tables import Tables
from ml.spec import Batch, Parsed

__all__ = ["Limits", "Progress", "Source", "find_batch", "open_source", "read_batch"]

_READERS = {JUnit.name: junit.read, Tables.name: tables.read}


def open_source(history: Path, landing: Path, limits: Limits) -> Source:
    """The source that reads `history`, chosen by what lies in it.

    Args:
        history: folder with runs.parquet, or with a manifest.json at or below it.
        landing: root of the landing area.
        limits: what may be read.

    Raises:
        SourceError: the folder is missing or has neither layout.
    """
    if not history.is_dir():
        raise SourceError(f"the history {history} is not a folder; set FOURGATE_HISTORY to one that exists")
    if (history / "runs.parquet").exists():
        return Tables(history, landing)
    if has_manifest(history):
        return JUnit(history, landing, limits)
    raise SourceError(
        f"{history} holds no CI history that can be read; expected runs.parquet and test_results.parquet in it, "
        "or JUnit XML reports below folders with a manifest.json each (layouts: docs/history-layout.md)"
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
