"""Source `junit`: folders of test reports, each run described by a `manifest.json` (docs/history-layout.md)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ml.errors import RefusedPayload
from ml.sources import manifest
from ml.sources.frames import RowsOfRuns
from ml.sources.landing import Payload, Shelf, index_of, land, payload_file
from ml.sources.refusals import UNKNOWN_PROJECT, Refusal, as_value, printable
from ml.sources.reports import read_report
from ml.sources.run_folders import RunFolder, find_runs, with_listed
from ml.sources.source import Limits, Progress
from ml.spec import Batch, Interval, Parsed

NAME = "junit"
MAX_BATCH_RUNS = 500
# 80,000 results, or fewer: a case takes 100 to 200 bytes in reports without captured output. Bounds memory.
MAX_BATCH_BYTES = 8_000_000
_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run on disk as it will land. `document` is its scrubbed manifest, None when it has none that can be read."""

    place: RunFolder
    document: manifest.Document | None
    project: str
    started_at: datetime | None

    @property
    def size(self) -> int:
        """Bytes of its reports."""
        return sum(report.size for report in self.place.reports)


class JUnit:
    """Reads a folder of runs."""

    def __init__(
        self,
        history: Path,
        landing: Path,
        limits: Limits,
        refused: Mapping[str, Sequence[Refusal]] = MappingProxyType({}),
        name: str = NAME,
    ) -> None:
        """`refused` is what was refused of each folder below the history, ``.`` itself, before it came here.

        `name` is the source that the runs land under, where they came from a server.
        """
        self.name = name
        self._history = history.absolute()
        self._landing = landing
        self._limits = limits
        self._refused = refused

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """Land the runs that started in `interval`: per project, in time order, up to about 200,000 results a batch.

        Payloads that belong to no dated run (a broken manifest, a report without one) land last, in a batch of their
        own per project, whatever the interval: what `read` says about them is the only trace they leave.

        Raises:
            SourceError: a file cannot be copied to the landing area.
        """
        places = find_runs(self._history)
        by_folder = {str(place.folder.relative_to(self._history)): place for place in places}
        for folder, refused in self._refused.items():
            by_folder[folder].refused.extend(refused)
        found = [self._describe(place) for place in places]
        found = [run for run in found if run.document is not None or run.place.reports or run.place.refused]
        dated = [run for run in found if run.started_at is not None and interval.contains(run.started_at)]
        undated = [run for run in found if run.started_at is None]
        done = 0
        for runs in [*_batches(dated), *_batches(undated)]:
            yield self._land(runs)
            done += len(runs)
            if on_progress is not None:
                on_progress(done, len(dated) + len(undated))

    def read(self, batch: Batch, limits: Limits) -> Parsed:
        """Rows of a landed batch; see `ml.sources.read_batch`.

        Raises:
            SourceError: the landed batch is missing or no longer as it was landed.
        """
        return read(batch, limits)

    def _describe(self, place: RunFolder) -> FoundRun:
        if not place.has_manifest:
            return FoundRun(self._bounded(place), None, UNKNOWN_PROJECT, None)
        try:
            found = self._manifest_of(place.folder)
            document = manifest.scrub(found, self._limits.author_salt, self._limits.forgotten)
        except RefusedPayload as refused:
            problem = Refusal(refused.reason, as_value(refused), contract="runs", payload=manifest.NAME)
            place.refused.append(problem)
            return FoundRun(self._bounded(place), None, UNKNOWN_PROJECT, None)
        listed = with_listed(place, manifest.variants_of(document))
        return FoundRun(
            self._bounded(listed), document, manifest.project_of(document), manifest.started_at_of(document)
        )

    def _manifest_of(self, folder: Path) -> manifest.Document:
        file = folder / manifest.NAME
        try:
            if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
                raise RefusedPayload("path_outside_run", f"{manifest.NAME} is no file of this folder")
            if file.stat().st_size > self._limits.max_payload_bytes:
                raise RefusedPayload("payload_too_large", f"at most {self._limits.max_payload_bytes} bytes")
            return manifest.parse(file.read_bytes())
        except OSError as error:
            raise RefusedPayload("unreadable", error.strerror or "cannot be read") from error

    def _bounded(self, place: RunFolder) -> RunFolder:
        """The run without the reports that are too large to land; each of them is refused by its size."""
        kept, refused = [], list(place.refused)
        for report in place.reports:
            if report.size <= self._limits.max_payload_bytes:
                kept.append(report)
            else:
                value = f"{report.size} bytes; at most {self._limits.max_payload_bytes}"
                refused.append(Refusal("payload_too_large", value, payload=printable(report.inner)))
        return RunFolder(place.folder, place.has_manifest, kept, refused)

    def _land(self, runs: list[FoundRun]) -> Batch:
        payloads: list[Payload] = []
        entries: list[dict[str, Any]] = []
        for run in runs:
            folder = run.place.folder.relative_to(self._history)
            if run.document is not None:
                content = manifest.to_bytes(run.document)
                payloads.append(Payload(str(folder / manifest.NAME), manifest.NAME, content))
            payloads += [
                Payload(str(folder / report.inner), f"{report.variant}/{report.inner}", report.path)
                for report in run.place.reports
            ]
            entries.append(
                {
                    "folder": str(folder),
                    "has_manifest": run.place.has_manifest,
                    "is_described": run.document is not None,
                    "reports": [[report.inner, report.variant] for report in run.place.reports],
                    "refused": [asdict(refusal) for refusal in run.place.refused],
                }
            )
        notes = repr([entry["refused"] for entry in entries])
        return land(Shelf(self._landing, self.name, runs[0].project), payloads, {"runs": entries}, notes)


def read(batch: Batch, limits: Limits) -> Parsed:
    """Rows of a landed batch of this source; a report of a refused run is refused with it.

    Raises:
        SourceError: the landed batch is missing or no longer as it was landed.
    """
    rows = RowsOfRuns(batch.project)
    for entry in index_of(batch)["runs"]:
        folder = Path(entry["folder"])
        rows.refuse(_placed(Refusal(**refusal), folder) for refusal in entry["refused"])
        run = _read_manifest(batch, folder, rows) if entry["is_described"] else None
        for inner, variant in entry["reports"]:
            payload = printable(str(folder / inner))
            if run is None:
                reason = "manifest_refused" if entry["has_manifest"] else "missing_manifest"
                rows.refuse([Refusal(reason, payload=payload)])
                continue
            report = read_report(payload_file(batch, str(folder / inner)), limits.max_payload_bytes)
            rows.add_report(run, variant, report)
            rows.refuse(replace(refusal, payload=payload) for refusal in report.refused)
    return rows.to_parsed()


def _read_manifest(batch: Batch, folder: Path, rows: RowsOfRuns) -> dict[str, Any] | None:
    path = str(folder / manifest.NAME)
    facts = manifest.to_facts(manifest.parse(payload_file(batch, path).read_bytes()))
    rows.refuse(replace(refusal, payload=printable(path)) for refusal in facts.refused)
    if facts.run is not None:
        rows.add_run(facts.run, facts.changed_files)
    return facts.run


def _placed(refusal: Refusal, folder: Path) -> Refusal:
    return replace(refusal, payload=printable(str(folder / (refusal.payload or ""))))


def _batches(found: Iterable[FoundRun]) -> Iterator[list[FoundRun]]:
    by_project: dict[str, list[FoundRun]] = {}
    for run in sorted(found, key=_order):
        by_project.setdefault(run.project, []).append(run)
    for runs in by_project.values():
        yield from _cut(runs)


def _order(run: FoundRun) -> tuple[datetime, str, str]:
    # By content before place: the same history in another folder gives the same batches.
    document = manifest.to_bytes(run.document).decode() if run.document is not None else ""
    return run.started_at or _LATEST, document, str(run.place.folder)


def _cut(runs: list[FoundRun]) -> Iterator[list[FoundRun]]:
    batch: list[FoundRun] = []
    size = 0
    for run in runs:
        if batch and (len(batch) >= MAX_BATCH_RUNS or size + run.size > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(run)
        size += run.size
    if batch:
        yield batch
