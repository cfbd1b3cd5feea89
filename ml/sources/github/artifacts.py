"""The test reports among the artifacts of a run of GitHub Actions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.errors import RefusedPayload, SourceError
from ml.sources import manifest
from ml.sources.artifact_files import keep_reports
from ml.sources.refusals import Refusal, as_value, printable
from ml.sources.unpacking import MAX_PAYLOADS, unpack

if TYPE_CHECKING:
    from ml.sources.github.api import GitHubApi

ARCHIVE = ".artifact.zip"


@dataclass(slots=True)
class Collected:
    """`reports` of a manifest, and what could not be had."""

    reports: list[dict[str, str]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which artifacts of a run: by name, and made from `start` on and before `end`, None where that side is open."""

    run_id: str
    patterns: Sequence[str]
    start: datetime | None = None
    end: datetime | None = None

    def listed(self, api: "GitHubApi") -> Iterator[Mapping[str, Any]]:
        """Each of them as GitHub lists it, with a name.

        Raises:
            SourceError: GitHub cannot be reached or refuses.
        """
        for page in api.pages(f"actions/runs/{self.run_id}/artifacts", absent=(404, 410)):
            entries = page.get("artifacts") if isinstance(page, dict) else None
            for entry in entries if isinstance(entries, list) else []:
                if isinstance(entry, dict) and isinstance(entry.get("name"), str) and self._is_wanted(entry):
                    yield entry

    def _is_wanted(self, entry: Mapping[str, Any]) -> bool:
        if not any(fnmatchcase(entry["name"], pattern) for pattern in self.patterns):
            return False
        created = manifest.read_moment(str(entry.get("created_at")))
        if created is None:  # of the last attempt, which stays open
            return self.end is None
        return (self.start is None or created >= self.start) and (self.end is None or created < self.end)


def collect(api: "GitHubApi", wanted: Wanted, folder: Path, max_bytes: int) -> Collected:
    """Put the reports of the wanted artifacts below `folder`, each artifact in a numbered folder of its own.

    Raises:
        SourceError: GitHub cannot be reached or refuses.
    """
    collected = Collected()
    for number, artifact in enumerate(wanted.listed(api), start=1):
        target = folder / f"{number:04}"
        name = printable(artifact["name"])
        try:
            refused = _fetch(api, artifact, target, max_bytes)
        except RefusedPayload as problem:
            value = f"{name}, expires {artifact.get('expires_at')}" if problem.reason == "artifact_gone" else problem
            refused = [Refusal(problem.reason, as_value(value), contract="test_results")]
        collected.refused += [
            Refusal(one.reason, one.value, contract="test_results", payload="/".join(filter(None, (name, one.payload))))
            for one in refused
        ]
        collected.reports += [
            {"path": report.relative_to(folder).as_posix(), "variant": name or "default"}
            for report in keep_reports(target)
        ]
    return collected


def _fetch(api: "GitHubApi", artifact: Mapping[str, Any], target: Path, max_bytes: int) -> list[Refusal]:
    if artifact.get("expired") is True:
        raise RefusedPayload("artifact_gone", "expired")
    archive = target.with_name(ARCHIVE)
    try:
        api.download(str(artifact.get("archive_download_url")), archive, max_bytes * MAX_PAYLOADS)
        target.mkdir()
        return _unpacked(archive, target, max_bytes)
    finally:
        archive.unlink(missing_ok=True)


def _unpacked(archive: Path, target: Path, max_bytes: int) -> list[Refusal]:
    try:
        return unpack(archive, target, max_bytes)
    except SourceError:
        raise RefusedPayload("damaged_archive", "no zip file") from None
