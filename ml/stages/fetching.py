"""Fetching: a history, or a CI server of `fourgate.toml` -> landing."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ml import sources
from ml.errors import SettingsError, SourceError
from ml.settings import Settings, source_names, source_token, token_name
from ml.sources import configured
from ml.spec import Batch, Interval
from ml.stages.knowing import known, known_so_far
from ml.stages.opening import open_lake, open_warehouse
from ml.stages.project_retention import begin_of
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

    Without a history and a source configured, the simulated history if it was written.
    """
    if only:
        return [only]
    servers = source_names(settings)
    has_history = settings.history or (not servers and simulated_folder(settings).exists())
    is_pushed_to = (landing(settings) / PUSH).exists()
    return [*([HISTORY] if has_history else []), *servers, *([PUSH] if is_pushed_to else [])]


def fetch(settings: Settings, request: Request, on_progress: sources.Progress | None = None) -> list[dict[str, Any]]:
    """Land what is new of one of `names`; see `fetch_history`, `fetch_pushed` and `fetch_source`."""
    return list(fetch_each(settings, request, on_progress))


def fetch_each(
    settings: Settings, request: Request, on_progress: sources.Progress | None = None
) -> Iterator[dict[str, Any]]:
    """What `fetch` returns, of a history each batch as soon as it landed."""
    on_progress = _logged(request.name, on_progress)
    if request.name == HISTORY:
        yield from _history(settings, request.history, request.span, on_progress)
    elif request.name == PUSH:
        yield from fetch_pushed(settings)
    else:
        yield from fetch_source(settings, request, on_progress)


def fetch_history(
    settings: Settings, history: str = "", span: Interval | None = None, on_progress: sources.Progress | None = None
) -> list[dict[str, Any]]:
    """Land the payloads of a history; returns one reference per batch that is not in the lake yet, in time order.

    Without a history given or configured, the simulated one is taken if it was written; else there is nothing to do.

    Raises:
        SourceError: the folder is missing or has no known layout.
    """
    return list(_history(settings, history, span or Interval(), on_progress))


def _history(
    settings: Settings, history: str, span: Interval, on_progress: sources.Progress | None
) -> Iterator[dict[str, Any]]:
    folder = Path(history or settings.history or simulated_folder(settings))
    if not history and not settings.history and not folder.exists():
        return
    source = sources.open_source(folder, landing(settings), source_limits(settings))
    yield from _new(settings, source.fetch(span, on_progress), span, str(folder))


def fetch_pushed(settings: Settings) -> list[dict[str, Any]]:
    """References, as of `fetch_history`, of what was pushed and is not in the lake; many runs join to few batches.

    Pushes of one run come in the order in which they landed. Whatever the interval of the collection: what was pushed
    is there, and nobody will ask for it again.

    Raises:
        SourceError: a landed batch cannot be read.
    """
    with open_warehouse(settings) as warehouse:

        def missing(landed: list[Batch]) -> list[Batch]:
            return [batch for batch in landed if warehouse.find_batch(batch.batch_id) is None]

        waiting = sources.hand_out(landing(settings), PUSH, missing)
    return [_referred(batch, Interval(), PUSH) for batch in waiting]


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
        until, head = warehouse.watermark(source.kind, source.options.project), warehouse.head()
    is_open = request.span == Interval()
    end = request.span.end or request.as_of
    asked = _since_last(source, until, request.as_of) if is_open else Interval(request.span.start, end)
    asked = _kept(asked, begin_of(settings, source.options.project, request.as_of))
    around = surroundings(settings, source_limits(settings), known(open_lake(settings), head, source.options, asked))
    with _place_at(settings, source.options.host), source.open(secret_of(request), around) as opened:
        landed = _as_far_as_it_goes(request.name, opened.fetch(asked, on_progress))
    new = list(_new(settings, landed, request.span, source.options.origin))
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
    yield sources.Finding("secret", bool(secret) or not source.options.needs_secret, where)
    try:
        so_far = known_so_far(settings, source.options, _since_last(source, None, as_of))
        with source.open(secret, surroundings(settings, reading_limits(settings), so_far)) as opened:
            yield from opened.test()
    except SourceError as error:
        yield sources.Finding("server", is_ok=False, detail=str(error))


def landing(settings: Settings) -> Path:
    """Root of the landing area."""
    return settings.home.absolute() / "landing"


def source_limits(settings: Settings) -> sources.Limits:
    """What a source may read, and who opted out."""
    with open_warehouse(settings) as warehouse:
        return replace(reading_limits(settings), forgotten=warehouse.forgotten_persons())


def reading_limits(settings: Settings) -> sources.Limits:
    """What a source may read, where nothing lands; asks nothing of the warehouse."""
    return sources.Limits(settings.max_payload_mb * MB, settings.author_salt.get_secret_value())


def surroundings(settings: Settings, limits: sources.Limits, known: sources.Known) -> sources.Surroundings:
    """What a configured source works with."""
    return sources.Surroundings(landing(settings), limits, known, settings.home.absolute() / "cache")


@contextmanager
def _place_at(settings: Settings, host: str) -> Iterator[None]:
    """One of the few places at a host, so that no server is asked by many tasks at once; no host has no limit."""
    if not host:
        yield
        return
    with open_warehouse(settings) as warehouse, warehouse.place_at(host):
        yield


def _logged(name: str, on_progress: sources.Progress | None) -> sources.Progress:
    """Progress in the log too: that is where somebody looks while an Airflow task runs."""

    def tell(done: int, total: int) -> None:
        LOG.info("%s: %d of %d runs landed", name, done, total)
        if on_progress is not None:
            on_progress(done, total)

    return tell


def _new(settings: Settings, landed: Iterable[Batch], span: Interval, origin: str) -> Iterator[dict[str, Any]]:
    for batch in landed:
        with open_warehouse(settings) as warehouse:
            is_new = warehouse.find_batch(batch.batch_id) is None
        if is_new:
            yield _referred(batch, span, origin)


def _referred(batch: Batch, span: Interval, origin: str) -> dict[str, Any]:
    return {**asdict(batch), "since": _text(span.start), "until": _text(span.end), "origin": origin}


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


def _kept(asked: Interval, begin: datetime | None) -> Interval:
    """The part of an interval whose history is kept: what is from before is not asked for."""
    if begin is None or (asked.start is not None and asked.start >= begin):
        return asked
    return Interval(begin, asked.end if asked.end is None else max(asked.end, begin))


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
