"""Finds the runs of a history of reports: which manifest owns which report files, and which paths are tricks."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ml.sources.manifest import NAME
from ml.sources.refusals import Refusal, as_value, printable
from ml.sources.reports.ctrf import HEAD, announces_ctrf

SUFFIXES = (".xml", ".trx")
OUTSIDE = "path_outside_run"


@dataclass(frozen=True, slots=True)
class ReportFile:
    """One report: `path` on disk, `inner` relative to its run's folder, `variant` of its results, `size` in bytes."""

    path: Path
    inner: str
    variant: str
    size: int


@dataclass(slots=True)
class RunFolder:
    """One folder with a manifest and the reports that belong to it; without a manifest, the reports nobody owns."""

    folder: Path
    has_manifest: bool
    reports: list[ReportFile] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def has_manifest(history: Path) -> bool:
    """Whether any folder at or below `history` holds a manifest."""
    return any(NAME in files for _, _, files in _walk(history))


def find_runs(history: Path) -> list[RunFolder]:
    """Every run at or below `history`, in path order; the last entry holds the reports that no manifest owns.

    Links to folders are not followed, and folders whose name begins with a dot are not entered: tools keep their state
    there, Fourgate its landing area. A link, or a listed path, that leaves its run's folder is refused unread.
    """
    unowned = RunFolder(history, has_manifest=False)
    owners: dict[str, RunFolder] = {}
    for folder, subfolders, files in _walk(history):
        owner = owners.get(os.path.dirname(folder), unowned)
        if NAME in files:
            owner = RunFolder(Path(folder), has_manifest=True)
        owners[folder] = owner
        for name in subfolders:
            _refuse_link(owner, Path(folder, name))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) or _is_json_report(owner, Path(folder, name)):
                _add_report(owner, Path(folder, name))
    runs = [owner for folder, owner in owners.items() if owner.has_manifest and owner.folder == Path(folder)]
    return [*runs, unowned]


def _walk(history: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for folder, subfolders, files in os.walk(history):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield folder, subfolders, files


def _refuse_link(owner: RunFolder, folder: Path) -> None:
    if folder.is_symlink() and not _is_inside(folder, owner.folder):
        inner = printable(str(folder.relative_to(owner.folder)))
        owner.refused.append(Refusal(OUTSIDE, as_value(inner), payload=inner))


def _is_json_report(owner: RunFolder, path: Path) -> bool:
    """Whether a JSON file says that it is a report: other JSON is common, and none of our business."""
    if not path.name.lower().endswith(".json") or path.name == NAME:
        return False
    if isinstance(_checked(owner.folder, path, ""), Refusal):
        return False
    with path.open("rb") as stream:
        return announces_ctrf(stream.read(HEAD))


def _add_report(owner: RunFolder, path: Path) -> None:
    inner = path.relative_to(owner.folder)
    variant = printable(inner.parent.as_posix())
    report = _checked(owner.folder, path, "default" if variant == "." else variant)
    if isinstance(report, Refusal):
        owner.refused.append(report)
    else:
        owner.reports.append(report)


def with_listed(run: RunFolder, listed: Mapping[str, str]) -> RunFolder:
    """The run with the variants that its manifest lists; a listed file of any name counts as a report.

    Reports that are not listed keep the variant of their folder.
    """
    reports = {report.inner: report for report in run.reports}
    refused = list(run.refused)
    for inner, variant in listed.items():
        report = _listed_file(run.folder, inner, printable(variant))
        if isinstance(report, Refusal):
            refused.append(report)
        else:
            reports[report.inner] = report
    ordered = sorted(reports.values(), key=lambda report: report.inner)
    return RunFolder(run.folder, run.has_manifest, ordered, refused)


def _listed_file(folder: Path, inner: str, variant: str) -> ReportFile | Refusal:
    # Normalised first: `a/../../x` must not be followed through a link called `a`.
    path = Path(os.path.normpath(folder / inner))
    if "\x00" in inner or not path.is_relative_to(folder):
        return Refusal(OUTSIDE, as_value(inner), "reports", payload=NAME)
    # A manifest lands scrubbed or not at all.
    if path.name == NAME or not _exists(path):
        return Refusal("missing_report", as_value(inner), "reports", payload=NAME)
    return _checked(folder, path, variant)


def _checked(folder: Path, path: Path, variant: str) -> ReportFile | Refusal:
    inner = path.relative_to(folder).as_posix()
    name = printable(inner)
    if not _is_inside(path, folder):
        return Refusal(OUTSIDE, as_value(name), payload=name)
    if not path.is_file():
        # A named pipe would be waited for without end.
        return Refusal("not_a_file", as_value(name), payload=name)
    if not os.access(path, os.R_OK):
        return Refusal("unreadable", as_value(name), payload=name)
    return ReportFile(path, inner, variant, path.stat().st_size)


def _exists(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except OSError:  # a name longer than the file system takes
        return False


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links that lead in a circle
        return False
