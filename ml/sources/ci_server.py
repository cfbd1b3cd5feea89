"""What the sources that ask a CI server share: which runs are new, and how they land as folders of reports do.

A server knows two things: which attempts of which runs there are, and how to download one of them into a folder with
its reports. Here its manifest is written beside them, and source `junit` lands the folder: limits, scrubbing, refusals
and reading are the same for a run from a server and for one from a folder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Protocol, Self

from pydantic import AfterValidator, HttpUrl

from ml.errors import SettingsError
from ml.sources import junit, manifest
from ml.sources.refusals import Refusal
from ml.sources.source import Finding, Progress, SourceOptions, Surroundings
from ml.sources.trust import trusting
from ml.spec import Batch, Interval

# A kill loses the downloads of at most so many runs.
BATCH_RUNS = 100


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


def _checked(ca_file: Path) -> Path:
    try:
        trusting(ca_file)
    except SettingsError as error:
        raise ValueError(str(error)) from error
    return ca_file


class ServerOptions(SourceOptions):
    """What every CI server's part of `fourgate.toml` says; each server's module adds its own.

    Attributes:
        url: Root of the server's API.
        ca_file: PEM file with certificates that are believed beside those that this machine believes: of an authority
            of one's own.
    """

    url: HttpUrl
    ca_file: Annotated[Path, AfterValidator(_checked)] | None = None


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

    def download(self, run: ServerRun, folder: Path, max_bytes: int) -> Downloaded | None:
        """Put the reports of `run` below the empty `folder`, none larger than `max_bytes`.

        None: it turns out to be unfinished, and is left for a later collection.

        Raises:
            SourceError: the server cannot be reached or refuses. A report that is gone is no error but a refusal.
        """
        ...

    def test(self) -> Iterator[Finding]:
        """What can be reached with these credentials, which permission is missing, how much history there is."""
        ...


class CiServer:
    """Source over a `Server`; lands under the name of its kind.

    A finished attempt never changes: one that is known is not asked for again.
    """

    def __init__(self, server: Server, around: Surroundings) -> None:
        self.name = server.kind
        self._server = server
        self._around = around

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)

    def test(self) -> Iterator[Finding]:
        """See `Server.test`."""
        return self._server.test()

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """Land the finished attempts of the runs that started in `interval` and are not known, in time order.

        Raises:
            SourceError: see `Server`, or a file cannot be copied. What landed before is landed.
        """
        runs = [
            run
            for run in self._server.find(interval)
            if run.is_finished and (run.run_id, run.attempt) not in self._around.known.attempts
        ]
        for first in range(0, len(runs), BATCH_RUNS):
            with TemporaryDirectory(prefix="fourgate-download-", ignore_cleanup_errors=True) as scratch:
                yield from self._land(runs[first : first + BATCH_RUNS], Path(scratch))
            if on_progress is not None:
                on_progress(min(first + BATCH_RUNS, len(runs)), len(runs))

    def _land(self, runs: Sequence[ServerRun], scratch: Path) -> Iterator[Batch]:
        refused: dict[str, Sequence[Refusal]] = {}
        for number, run in enumerate(runs, start=1):
            # numbered, since a server's id may be any text
            folder = scratch / f"{number:04}"
            folder.mkdir()
            downloaded = self._server.download(run, folder, self._around.limits.max_payload_bytes)
            if downloaded is None:
                continue
            (folder / manifest.NAME).write_text(json.dumps(downloaded.document), encoding="ascii")
            refused[folder.name] = downloaded.refused
        yield from junit.JUnit(scratch, self._around.landing, self._around.limits, refused, self.name).fetch(Interval())
