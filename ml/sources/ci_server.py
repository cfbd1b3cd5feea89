"""What the sources that ask a CI server share: which runs are new, and how they land as folders of reports do.

A server knows two things: which attempts of which runs there are, and how to download one of them into a folder with
its reports. Here its manifest is written beside them, and source `junit` lands the folder: limits, scrubbing, refusals
and reading are the same for a run from a server and for one from a folder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl

from ml.sources import junit, manifest
from ml.sources.refusals import Refusal
from ml.sources.source import Limits, Progress
from ml.spec import Batch, Interval, Parsed

# A kill loses the downloads of at most so many runs.
BATCH_RUNS = 100
RunAttempt = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ServerRun:
    """One attempt of a run as the server lists it; `detail` is what `download` needs of the listing.

    `is_finished` is False while it waits or runs: it is left for a later collection.
    """

    run_id: str
    attempt: int
    started_at: datetime
    is_finished: bool
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a run's folder holds now: the manifest to write (with `author` as named, see `manifest.scrub`), and what of
    the run could not be had; `payload` of a refusal is relative to the folder.
    """

    document: manifest.Document
    refused: Sequence[Refusal] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: is it as it should be, and what to do where it is not."""

    subject: str
    is_ok: bool
    detail: str


class ServerOptions(BaseModel):
    """What every CI server's part of `fourgate.toml` says; each server's module adds its own.

    Attributes:
        project: Name that the runs go into the lake under.
        url: Root of the server's API.
        history_days: How far back the first collection goes.
        overlap_days: How far before the end of what is collected each further collection begins again: for runs that
            were still running then, and for later attempts of runs.
        silent_days: A collection fails when there has been no run for longer than this; 0 = never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str = Field(min_length=1, max_length=200)
    url: HttpUrl
    history_days: float = Field(90, gt=0, le=3_650)
    overlap_days: float = Field(3, ge=0, le=90)
    silent_days: float = Field(14, ge=0, le=3_650)


class Server(Protocol):
    """A CI server with one project's runs on it."""

    kind: str
    project: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None:
        """Close the connections."""

    def find(self, interval: Interval) -> Iterator[ServerRun]:
        """Every attempt of the runs that started in `interval`, in the order of their start.

        Raises:
            SourceError: the server cannot be reached, refuses, or answers what is no listing.
        """
        ...

    def download(self, run: ServerRun, folder: Path, max_bytes: int) -> Downloaded:
        """Put the reports of `run` below the empty `folder`, none larger than `max_bytes`.

        Raises:
            SourceError: the server cannot be reached or refuses. A report that is gone is no error but a refusal.
        """
        ...

    def test(self) -> Iterator[Finding]:
        """What can be reached with these credentials, which permission is missing, how much history there is."""
        ...


class CiServer:
    """Source over a `Server`; lands under the name of its kind."""

    def __init__(self, server: Server, landing: Path, limits: Limits, known: Set[RunAttempt] = frozenset()) -> None:
        """`known` are attempts in the lake: a finished attempt never changes, so it is not asked for again."""
        self.name = server.kind
        self._server = server
        self._landing = landing
        self._limits = limits
        self._known = known

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """Land the finished attempts of the runs that started in `interval` and are not known, in time order.

        Raises:
            SourceError: see `Server`, or a file cannot be copied. What landed before is landed.
        """
        runs = [
            run
            for run in self._server.find(interval)
            if run.is_finished and (run.run_id, run.attempt) not in self._known
        ]
        for first in range(0, len(runs), BATCH_RUNS):
            with TemporaryDirectory(prefix="fourgate-download-", ignore_cleanup_errors=True) as scratch:
                yield from self._land(runs[first : first + BATCH_RUNS], Path(scratch))
            if on_progress is not None:
                on_progress(min(first + BATCH_RUNS, len(runs)), len(runs))

    def read(self, batch: Batch, limits: Limits) -> Parsed:
        """Rows of a landed batch; see `ml.sources.read_batch`.

        Raises:
            SourceError: the landed batch is missing or no longer as it was landed.
        """
        return junit.read(batch, limits)

    def _land(self, runs: Sequence[ServerRun], scratch: Path) -> Iterator[Batch]:
        refused: dict[str, Sequence[Refusal]] = {}
        for number, run in enumerate(runs, start=1):
            # numbered, since a server's id may be any text
            folder = scratch / f"{number:04}"
            folder.mkdir()
            downloaded = self._server.download(run, folder, self._limits.max_payload_bytes)
            (folder / manifest.NAME).write_text(json.dumps(downloaded.document), encoding="ascii")
            refused[folder.name] = downloaded.refused
        yield from junit.JUnit(scratch, self._landing, self._limits, refused, self.name).fetch(Interval())
