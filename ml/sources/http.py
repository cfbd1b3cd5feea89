"""One way to ask a CI server: patient with a busy one, bounded against a hostile one, silent about secrets."""

import logging
import random
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import httpx

from ml.errors import RefusedPayload, SourceError
from ml.sources.trust import distrust, remedy, trusting

LOG = logging.getLogger(__name__)
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
ATTEMPTS = 5
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
# An API answers pages of at most some 100 entries; the longest seen (job lists of GitHub) have under 2 MB.
MAX_ANSWER_BYTES = 50_000_000
CHUNK = 1 << 16
MAX_REDIRECTS = 5
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_OF_THE_BODY = {"content-encoding", "content-length", "transfer-encoding"}
# All that another host is told.
_HARMLESS = ("host", "accept", "accept-encoding", "user-agent")

Sleep = Callable[[float], None]


class PatientTransport(httpx.BaseTransport):
    """Asks again where that may help: connection lost, body cut off, 429 and 5xx, with the server's own waiting time.

    An answer is read whole before it is handed on (a cut body is a reason to ask again), up to `max_bytes`; `download`
    streams instead. Waits are exponential with full jitter
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    def __init__(
        self,
        inner: httpx.BaseTransport | None = None,
        sleep: Sleep = time.sleep,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._inner = inner or ProxiedTransport()
        self._sleep = sleep
        self._max_bytes = max_bytes
        # They log addresses with their query, and signed addresses carry their key in it.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One answer, after at most `ATTEMPTS` attempts; the last one's error or answer is handed on as it is."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._whole(request)
            except (httpx.TransportError, httpx.DecodingError) as error:
                if attempt == ATTEMPTS or distrust(error):
                    raise
                self._wait(request, type(error).__name__, backoff(attempt))
                continue
            waiting = asked_wait(response)
            is_busy = response.status_code in _AGAIN or waiting is not None
            if not is_busy or attempt == ATTEMPTS or (waiting or 0) > LONGEST_WAIT_S:
                return response
            response.close()
            self._wait(request, str(response.status_code), backoff(attempt) if waiting is None else waiting)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _whole(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        response.request = request
        if request.extensions.get("fourgate_stream"):
            return response
        try:
            # Unpacked here: a few megabytes of gzip can hold gigabytes.
            content = b"".join(bounded(response.iter_bytes(), self._max_bytes, request.url.host))
        finally:
            response.close()
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_BODY]
        return httpx.Response(
            response.status_code, headers=headers, stream=_Bytes(content), extensions=response.extensions
        )

    def _wait(self, request: httpx.Request, why: str, seconds: float) -> None:
        LOG.info("%s answered %s; asking again in %.1f s", request.url.host, why, seconds)
        self._sleep(seconds)


class ProxiedTransport(httpx.BaseTransport):
    """Goes through the proxies that the environment names (`HTTPS_PROXY`, `NO_PROXY`, ...).

    httpx itself looks there only where no transport is given to its client. `verify` is what httpx takes.
    """

    def __init__(self, verify: ssl.SSLContext | bool = True) -> None:
        self._verify = verify
        self._transports: dict[str | None, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One answer, by the proxy for this address, or without one."""
        is_direct = request.url.host in LOOPBACK or proxy_bypass(request.url.host)
        proxy = None if is_direct else getproxies().get(request.url.scheme, getproxies().get("all"))
        if proxy not in self._transports:
            self._transports[proxy] = httpx.HTTPTransport(verify=self._verify, proxy=proxy)
        return self._transports[proxy].handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        for transport in self._transports.values():
            transport.close()


def patient_transport(ca_file: Path | None) -> PatientTransport:
    """The transport of a source or an upload that believes the certificates in `ca_file` too.

    Raises:
        SettingsError: see `trusting`.
    """
    return PatientTransport(ProxiedTransport(trusting(ca_file)))


class _Bytes(httpx.SyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content


def asked_wait(response: httpx.Response) -> float | None:
    """Seconds that a refusing server wants us to wait: `Retry-After`, or the reset of a used-up rate limit.

    A moment that it names is held against its own clock.
    """
    if response.status_code not in (403, 429, 503):
        return None
    after = response.headers.get("retry-after", "")
    if after.isdecimal():
        return float(after)
    now = answered_at(response)
    if now is None:
        return None
    if after:
        until = _moment(after)
        return None if until is None else max(0.0, (until - now).total_seconds())
    reset = response.headers.get("x-ratelimit-reset", response.headers.get("ratelimit-reset", ""))
    used_up = response.headers.get("x-ratelimit-remaining", response.headers.get("ratelimit-remaining")) == "0"
    return max(0.0, float(reset) - now.timestamp()) if used_up and reset.isdecimal() else None


def answered_at(response: httpx.Response) -> datetime | None:
    """The moment of the answer by the server's own clock, its `Date`; None where it tells none."""
    return _moment(response.headers.get("date", ""))


def _moment(text: str) -> datetime | None:
    """A date of HTTP (https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7) in UTC; None for anything else."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def backoff(attempt: int) -> float:
    """Seconds to wait before the next attempt."""
    return random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt))  # noqa: S311 -- no secret hangs on it


def bounded(chunks: Iterator[bytes], most: int, host: str) -> Iterator[bytes]:
    """The chunks, as long as they add up to at most `most` bytes.

    Raises:
        RefusedPayload: there are more (`payload_too_large`).
    """
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > most:
            raise RefusedPayload("payload_too_large", f"{host} sent more than {most} bytes")
        yield chunk


def download(client: httpx.Client, url: str, target: Path, max_bytes: int) -> None:
    """Stream what `url` holds into the new file `target`; redirects leave the client's credentials behind.

    Raises:
        RefusedPayload: it is larger than `max_bytes` (`payload_too_large`).
        httpx.HTTPStatusError: the server has no such thing (404, 410) or refuses.
        SourceError: the body broke off again and again, or redirects lead nowhere.
    """
    for attempt in range(1, ATTEMPTS + 1):
        request = client.build_request("GET", url, extensions={"fourgate_stream": True})
        try:
            response = _redirected(client, request)
            try:
                response.raise_for_status()
                with target.open("wb") as file:
                    for chunk in bounded(response.iter_bytes(CHUNK), max_bytes, response.url.host):
                        file.write(chunk)
                return
            finally:
                response.close()
        except (httpx.TransportError, httpx.DecodingError) as error:
            if distrust(error):
                raise SourceError(f"{request.url.host} cannot be reached: {remedy(error)}") from error
            if attempt == ATTEMPTS:
                raise SourceError(
                    f"{request.url.host} broke off the download of {request.url.path} {ATTEMPTS} times "
                    f"({type(error).__name__}); collect again when the network is steady"
                ) from error


def _redirected(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """The answer behind the redirects. httpx itself takes all headers but `Authorization` along to another host."""
    home = _origin(request)
    response = client.send(request, stream=True)
    for _ in range(MAX_REDIRECTS):
        following = response.next_request
        if following is None:
            return response
        response.close()
        if _origin(following) == home:
            response = client.send(following, stream=True)
        else:
            told = [(name, value) for name, value in following.headers.multi_items() if name in _HARMLESS]
            following.headers = httpx.Headers(told)
            response = client.send(following, stream=True, auth=None)
    if response.next_request is None:
        return response
    response.close()
    raise SourceError(f"{request.url.host} redirects {request.url.path} more than {MAX_REDIRECTS} times")


def _origin(request: httpx.Request) -> tuple[str, str, int | None]:
    return request.url.scheme, request.url.host, request.url.port
