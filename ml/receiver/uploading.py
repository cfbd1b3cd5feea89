"""Sends the reports of a CI job to a push endpoint; needs neither settings nor servers of its own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from ml.errors import RefusedPayload, SettingsError, SourceError
from ml.receiver.ci_environment import describe
from ml.receiver.form import FormStream
from ml.receiver.pieces import in_pieces
from ml.sources import manifest
from ml.sources.http import PatientTransport
from ml.sources.refusals import Refusal, printable
from ml.sources.run_folders import ReportFile, RunFolder, find_runs, with_listed
from ml.sources.trust import remedy

# A large run is written to disk once more before the answer.
MAX_AT_ONCE = 8_000_000  # bytes; what is larger goes in pieces
TIMEOUT = httpx.Timeout(60.0, connect=10.0, read=300.0)
FIELDS = (
    *manifest.REQUIRED,
    "finished_at",
    "attempt",
    "workflow",
    "event",
    "branch",
    "change_id",
    "change_title",
    "author",
    "status",
)


@dataclass(frozen=True, slots=True)
class Upload:
    """A run as it will be sent; `refused` is what of it cannot be."""

    document: manifest.Document
    reports: list[ReportFile]
    refused: list[Refusal] = field(default_factory=list)


def gather(folder: Path, given: Mapping[str, str], environ: Mapping[str, str]) -> Upload:
    """The run in `folder`: its manifest.json, or what the environment of the CI job says; `given` fields win.

    Without a manifest the run starts when the first report was written and ends with the last, where nothing else says
    so: the same folder is the same run, however often it is sent.

    Raises:
        SettingsError: a given field is unknown, or a required one is nowhere to be found.
        SourceError: there is no such folder, or its manifest cannot be read.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder; right would be one with the reports of this run")
    if unknown := sorted(set(given) - set(FIELDS)):
        raise SettingsError(f"{unknown[0]!r} is no field of a manifest that can be set; known: {', '.join(FIELDS)}")
    place = _place(folder)
    found = _read(folder) if place.has_manifest else {**_moments(place), **describe(environ)}
    document = _numbered({**found, **given})
    for name in manifest.REQUIRED:
        if document.get(name) in (None, ""):
            raise SettingsError(f"nothing says what {name} is; right would be --set {name}=..., or a {manifest.NAME}")
    run = with_listed(place, manifest.variants_of(document))
    reports = [report for report in run.reports if printable(report.inner) == report.inner]
    unnamed = [report for report in run.reports if report not in reports]
    undecodable = [Refusal("undecodable", payload=printable(report.inner)) for report in unnamed]
    return Upload(document, reports, [*run.refused, *undecodable])


def send(upload: Upload, url: str, token: str, transport: httpx.BaseTransport | None = None) -> dict[str, Any]:
    """Push the run; what the endpoint answers.

    Raises:
        SettingsError: the address or the token cannot be one.
        SourceError: the endpoint cannot be reached, or refused the run as a whole.
    """
    if not token or not token.isascii() or not token.isprintable():
        raise SettingsError("there is no token, or it holds characters that none has; set FOURGATE_UPLOAD_TOKEN")
    stream = FormStream(upload.document, upload.reports)
    try:
        with httpx.Client(transport=transport or PatientTransport(), timeout=TIMEOUT) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            is_large = stream.length > MAX_AT_ONCE
            answer = (in_pieces if is_large else _at_once)(client, url.rstrip("/"), stream)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise SettingsError(f"{url!r} is no address; right would be https://fourgate.example.org") from error
    except httpx.TransportError as error:
        reason = remedy(error) or f"{type(error).__name__}: {error}"
        raise SourceError(f"{url} cannot be reached: {reason}") from error
    told = _told(answer)
    if answer.status_code not in (200, 201):
        expected = told.get("expected", "the address of a push endpoint")
        why = f"{told.get('error', 'it gives no reason')}; right would be: {expected}"
        raise SourceError(f"{url} refused the run ({answer.status_code}): {why}".replace(token, "***"))
    return {"is_new": answer.status_code == 201, **told}


def _at_once(client: httpx.Client, url: str, stream: FormStream) -> httpx.Response:
    headers = {"Content-Type": stream.content_type, "Content-Length": str(stream.length)}
    return client.post(f"{url}/api/v1/runs", headers=headers, content=stream)


def _place(folder: Path) -> RunFolder:
    *runs, unowned = find_runs(folder.absolute())
    if not runs:
        return unowned
    if len(runs) > 1 or runs[0].folder != folder.absolute():
        raise SourceError(f"{folder} holds {manifest.NAME} in other places than at its top; right would be one run")
    return runs[0]


def _read(folder: Path) -> manifest.Document:
    file = folder / manifest.NAME
    try:
        return manifest.parse(file.read_bytes())
    except (OSError, RefusedPayload) as error:
        raise SourceError(f"{file} cannot be read: {error}") from error


def _moments(place: RunFolder) -> dict[str, str]:
    written = [os.stat(report.path).st_mtime for report in place.reports]
    if not written:
        return {}
    first, last = (datetime.fromtimestamp(moment, UTC).isoformat() for moment in (min(written), max(written)))
    return {"started_at": first, "finished_at": last}


def _numbered(document: Mapping[str, Any]) -> manifest.Document:
    attempt = document.get("attempt")
    is_number = isinstance(attempt, str) and attempt.isdecimal()
    return {**document, "attempt": int(str(attempt))} if is_number else dict(document)


def _told(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if isinstance(told, dict):
        return told
    if answer.status_code in (200, 201):
        raise SourceError(f"{answer.request.url.host} answers what no push endpoint does; is the address right?")
    return {}
