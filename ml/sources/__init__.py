"""Where CI history comes from: one file per source, the same two verbs.

`fetch` lands raw payloads, `read` turns a landed batch into rows. What cannot be read becomes a row of `refused`.
"""

from collections.abc import Sequence
from pathlib import Path

from ml.errors import SourceError, UnreadableHistory
from ml.sources import configured, csv_tables, junit, retecs, rtptorrent, tables
from ml.sources.archive import Archive
from ml.sources.converted import Converted
from ml.sources.git import payload as git_payload
from ml.sources.joining import hand_out
from ml.sources.junit import JUnit
from ml.sources.landing import find as find_batch
from ml.sources.landing import holder, landed, payloads_of
from ml.sources.refusals import Refusal
from ml.sources.run_folders import has_manifest
from ml.sources.source import Finding, Known, Limits, Progress, Source, SourceOptions, Surroundings
from ml.sources.tables import Tables
from ml.spec import Batch, Parsed

__all__ = [
    "PUSH",
    "Finding",
    "JUnit",
    "Known",
    "Limits",
    "Progress",
    "Source",
    "SourceOptions",
    "Surroundings",
    "find_batch",
    "hand_out",
    "holder",
    "landed",
    "open_source",
    "payloads_of",
    "read_batch",
]

PUSH = "push"  # runs that CI jobs sent to `ml.receiver`
_READERS = {
    junit.NAME: junit.read,
    tables.NAME: tables.read,
    PUSH: junit.read,
    **dict.fromkeys(configured.KINDS, junit.read),  # they land as folders of reports
    "git": git_payload.read,
    "sql": tables.read,
}


def open_source(history: Path, landing: Path, limits: Limits) -> Source:
    """The source that reads `history`, chosen by what lies in it.

    Args:
        history: folder with runs.parquet or runs.csv, or with a manifest.json at or below it; or a zip, tar or tar.gz
            of one.
        landing: root of the landing area.
        limits: what may be read.

    Raises:
        UnreadableHistory: the history is missing or has neither layout; what is in an archive shows when it is fetched.
    """
    if history.is_file():
        return Archive(history, limits, lambda folder, refused: _open(folder, landing, limits, refused), read_batch)
    if not history.is_dir():
        raise UnreadableHistory(
            f"the history {history} is neither a folder nor a file; set FOURGATE_HISTORY to one that exists"
        )
    return _open(history, landing, limits, ())


def _open(folder: Path, landing: Path, limits: Limits, refused: Sequence[Refusal]) -> Source:
    found = _open_tables(folder, landing, limits)
    if found is not None:
        if refused:
            raise UnreadableHistory(
                f"{refused[0].payload} was refused ({refused[0].reason}); tables are read whole or not at all"
            )
        return found
    if has_manifest(folder):
        return JUnit(folder, landing, limits, {".": refused})
    raise UnreadableHistory(
        f"{folder} holds no CI history that can be read; expected runs.parquet and test_results.parquet in it, "
        "or the same as CSV, or test reports below folders with a manifest.json each (layouts: docs/history-layout.md)"
    )


def _open_tables(folder: Path, landing: Path, limits: Limits) -> Source | None:
    """The source of a folder that holds tables, None for one that holds none."""
    if csv_tables.has_csv(folder):
        files = csv_tables.find_csv(folder, limits.max_payload_bytes)
        return Converted(lambda scratch: csv_tables.convert(files, scratch), landing)
    if (folder / "runs.parquet").exists():
        return Tables(folder, landing)
    if rtptorrent.is_rtptorrent(folder):
        return Converted(lambda scratch: rtptorrent.convert(folder, scratch), landing)
    if sets := retecs.find_sets(folder):
        return Converted(lambda scratch: retecs.convert(sets, scratch), landing)
    return None


def read_batch(batch: Batch, limits: Limits) -> Parsed:
    """Rows of a landed batch of any source, from the landing area alone; for replay.

    Raises:
        SourceError: the batch is missing, no longer as it was landed, or of a source that is not known.
    """
    reader = _READERS.get(batch.source)
    if reader is None:
        raise SourceError(f"batch {batch.batch_id} is of source {batch.source!r}; known: {', '.join(_READERS)}")
    return reader(batch, limits)
