"""Fetching: a history, or a CI server of `fourgate.toml` -> landing."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ml import sources
from ml.errors import SettingsError, SourceError
from ml.settings import Settings, source_names, source_token, token_name
from ml.sources import configured
from ml.spec import Batch, Interval
from ml.stages.opening import open_lake, open_warehouse
from ml.stages.simulation import simulated_folder

LOG = logging.getLogger(__name__)
MB = 1_000_000
HISTORY = "history"  # stands for FOURGATE_HISTORY among the names of sources
PUSH = sources.PUSH  # stands for what CI jobs pushed


@dataclass(frozen=True, slots=True)
class Request:
    """What to fetch.

    Attributes:
        name: One of `names`.
        as_of: Moment taken as now.
        span: Starts of the runs to ask for. Open on both sides: all of a history; of a server what comes after what was
            collected before (less its `overlap_days`; at first its `history_days`) up to `as_of`.
        token: Secret of a server; without one, that of the environment.
        history: Folder or archive to take in place of the configured one, for `HISTORY`.
    """

    name: str
    as_of: datetime
    span: Interval
    token: SecretStr | None = None
    history: str = ""


def names(settings: Settings, only: str = "") -> list[str]:
    """What a collection goes through: `only` one, or the configured history, then each source of `fourgate.toml`, and
    then what was pushed.

    Without either, the simulated history if it was written.
    """
    if only:
        return [only]
    servers = list(source_names(settings))
    if (landing(settings) / PUSH).exists():
        servers.append(PUSH)
    if settings.history or (not servers and simulated_folder(settings).exists()):
        return [HISTORY, *servers]
    return servers


def fetch(settings: Settings, request: Request, on_progress: sources.Progress | None = None) -> list[dict[str, Any]]:
    """Land what is new of one of `names`; see `fetch_history`, `fetch_pushed` and `fetch_source`."""
    if request.name == HISTORY:
        return fetch_history(settings, request.history, request.span, on_progress)
    if request.name == PUSH:
        return fetch_pushed(settings)
    return fetch_source(settings, request, on_progress)


def fetch_history(
    settings: Settings, history: str = "", span: Interval | None = None, on_progress: sources.Progress | None = None
) -> list[dict[str, Any]]:
    """Land the payloads of a history; returns one reference per batch that is not in the lake yet, in time order.

    Without a history given or configured, the simulated one is taken if it was written; else there is nothing to do.

    Raises:
        SourceError: the folder is missing or has no known layout.
    """
    folder = Path(history or settings.history or simulated_folder(settings))
    if not history and not settings.history and not folder.exists():
        return []
    source = sources.open_source(folder, landing(settings), source_limits(settings))
    span = span or Interval()
    return _new(settings, source.fetch(span, on_progress), span)


def fetch_pushed(settings: Settings) -> list[dict[str, Any]]:
    """References, as of `fetch_history`, of what was pushed and is not in the lake, in the order in which it landed.

    Whatever the interval of the collection: what was pushed is there, and nobody will ask for it again.

    Raises:
        SourceError: a landed batch cannot be read.
    """
    return _new(settings, sources.landed(landing(settings), PUSH), Interval())


def fetch_source(
    settings: Settings, request: Request, on_progress: sources.Progress | None = None
) -> list[dict[str, Any]]:
    """Land the runs of a CI server that are not in the lake; returns references as `fetch_history` does.

    Raises:
        SettingsError: there is no such source.
        SourceError: the server cannot be reached or refuses before anything new landed, or has been silent for longer
            than it should be.
    """
    source = configured.find(settings.sources, request.name)
    with open_warehouse(settings) as warehouse:
        until = warehouse.watermark(source.kind, source.options.project)
        head = warehouse.head()
    known = frozenset[tuple[str, int]]()
    if head is not None:
        columns = ["run_id", "attempt"]
        runs = open_lake(settings).read("runs", head.versions["runs"], source.options.project, columns)
        known = frozenset(zip(*(runs[column].to_pylist() for column in columns), strict=True))
    is_open = request.span == Interval()
    end = request.span.end or request.as_of
    asked = _since_last(source, until, request.as_of) if is_open else Interval(request.span.start, end)
    with source.open(secret_of(request)) as server:
        runs = sources.CiServer(server, landing(settings), source_limits(settings), known)
        new = _new(settings, _as_far_as_it_goes(request.name, runs.fetch(asked, on_progress)), request.span)
    if is_open and not new:
        _refuse_silence(source, until, request.as_of)
    return new


def examine(settings: Settings, name: str, as_of: datetime) -> Iterator[sources.Finding]:
    """What of a source can be reached with its secret of the environment, as far as that can be told.

    Raises:
        SettingsError: there is no such source.
    """
    source = configured.find(settings.sources, name)
    secret = secret_of(Request(name, as_of, Interval()))
    where = f"in {token_name(name)}" if secret else f"none; {token_name(name)} is not set"
    yield sources.Finding("secret", bool(secret), where)
    try:
        with source.open(secret) as server:
            yield from server.test()
    except SourceError as error:
        yield sources.Finding("server", is_ok=False, detail=str(error))


def landing(settings: Settings) -> Path:
    """Root of the landing area."""
    return settings.home.absolute() / "landing"


def source_limits(settings: Settings) -> sources.Limits:
    """What a source may read."""
    return sources.Limits(settings.max_payload_mb * MB, settings.author_salt.get_secret_value())


def _new(settings: Settings, landed: Iterable[Batch], span: Interval) -> list[dict[str, Any]]:
    batches = list(landed)
    with open_warehouse(settings) as warehouse:
        new = [batch for batch in batches if warehouse.find_batch(batch.batch_id) is None]
    return [{**asdict(batch), "since": _text(span.start), "until": _text(span.end)} for batch in new]


def _as_far_as_it_goes(name: str, batches: Iterator[Batch]) -> list[Batch]:
    """What landed before a server was lost, or had told enough for an hour: the next collection goes on from there.

    Raises:
        SourceError: it was lost before anything landed.
    """
    landed: list[Batch] = []
    try:
        for batch in batches:
            landed.append(batch)
    except SourceError as error:
        if not landed:
            raise
        LOG.warning("source %s gave %d batches, the next collection goes on from there: %s", name, len(landed), error)
    return landed


def _since_last(source: configured.ConfiguredSource, until: datetime | None, as_of: datetime) -> Interval:
    options = source.options
    if until is None:
        return Interval(as_of - timedelta(days=options.history_days), as_of)
    return Interval(until - timedelta(days=options.overlap_days), as_of)


def _refuse_silence(source: configured.ConfiguredSource, until: datetime | None, as_of: datetime) -> None:
    """A source that went silent is an alert, not an empty success."""
    most = timedelta(days=source.options.silent_days)
    if until is not None and most and as_of - until > most:
        raise SourceError(
            f"source {source.name} has had no run since {until:%Y-%m-%d %H:%M} UTC, {(as_of - until).days} days ago; "
            f"see `fourgate source test {source.name}`, or raise its silent_days (now {source.options.silent_days:g})"
        )


def secret_of(request: Request) -> str:
    """The secret that came with the request, else that of the environment.

    Raises:
        SettingsError: it cannot be one; the message holds nothing of it.
    """
    found = (request.token or source_token(request.name)).get_secret_value()
    if not all(letter.isprintable() or letter in "\r\n" for letter in found):
        raise SettingsError(
            f"{token_name(request.name)} holds characters that no token has; was it pasted with others?"
        )
    return found


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
