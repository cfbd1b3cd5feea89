"""Which files of an unpacked artifact are test reports."""

from collections.abc import Iterator
from pathlib import Path

from ml.sources.manifest import NAME
from ml.sources.reports.ctrf import HEAD, announces_ctrf
from ml.sources.run_folders import SUFFIXES


def keep_reports(folder: Path) -> Iterator[Path]:
    """The reports below `folder`. All else is removed: it takes room, and a manifest in there would pass for a run."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and _is_report(file):
            yield file
        elif file.is_file():
            file.unlink()


def _is_report(file: Path) -> bool:
    name = file.name.lower()
    if name.endswith(SUFFIXES):
        return True
    if name == NAME or not name.endswith(".json"):
        return False
    with file.open("rb") as stream:
        return announces_ctrf(stream.read(HEAD))
