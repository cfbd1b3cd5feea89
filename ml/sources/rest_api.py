"""Asks a REST API for JSON: every refusal becomes an error that says what would have been right.

What a server sends is believed to be nothing: `as_text`, `as_list` and their kin take a value for what it should be, or
for nothing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx

from ml.errors import SourceError
from ml.sources.http import ATTEMPTS, TIMEOUT, PatientTransport, download
from ml.sources.manifest import MAX_INTEGER
from ml.sources.refusals import printable
from ml.sources.trust import remedy

_UNPRINTABLE = str.maketrans(dict.fromkeys(map(chr, (*range(0x20), *range(0x7F, 0xA0))), "?"))
_GONE = (404, 410)
Parameters = Mapping[str, str | int]
Json = dict[str, Any]


class StatusError(SourceError):
    """The server refuses; `status` is what it answers with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RestApi:
    """A client of one server.

    `advice` says per status (401, 403, 404) what is wrong then, and what would be right.
    """

    def __init__(
        self,
        root: str,
        advice: Mapping[int, str],
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._advice = advice
        self._client = httpx.Client(
            base_url=root,
            headers=headers,
            auth=auth,
            transport=transport or PatientTransport(),
            timeout=TIMEOUT,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, parameters: Parameters | None = None) -> httpx.Response:
        """The answer with status 200.

        Raises:
            RefusedPayload: it is too large.
            SourceError: the server cannot be reached, or refuses.
        """
        try:
            response = self._client.get(path, params=parameters)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._lost(path, error) from error
        if response.status_code != httpx.codes.OK:
            raise self._refused(response)
        return response

    def find(self, path: str, parameters: Parameters | None = None) -> Json | None:
        """The JSON object at `path`, None where there is none (404, 410).

        Raises:
            RefusedPayload: it is too large.
            SourceError: the server cannot be reached, refuses, or answers what is no JSON object.
        """
        try:
            found = self.json(self.get(path, parameters))
        except StatusError as error:
            if error.status in _GONE:
                return None
            raise
        if not isinstance(found, dict):
            raise SourceError(f"{self.place(path)} is no JSON object; right would be the root of the server as url")
        return found

    def json(self, response: httpx.Response) -> Any:
        """What the answer says.

        Raises:
            SourceError: it is no JSON, as the page of a login or a proxy.
        """
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise SourceError(
                f"{self.place(response.request.url.path)} is no JSON; "
                "right would be the root of the server as url, without a login page or proxy before it"
            ) from None

    def download(self, path: str, target: Path, max_bytes: int) -> bool:
        """Put what is at `path` into the new file `target`; False when it is gone (404, 410).

        Raises:
            RefusedPayload: it is larger than `max_bytes`.
            SourceError: the server cannot be reached, or refuses.
        """
        try:
            download(self._client, path, target, max_bytes)
        except httpx.HTTPStatusError as error:
            if error.response.status_code in _GONE:
                return False
            # Without its cause, whose message quotes the address with its query.
            raise self._refused(error.response) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._lost(path, error) from error
        return True

    def place(self, path: str) -> str:
        """Host and path, as an error may say it."""
        return printable(f"{self._client.base_url.host}: /{path.lstrip('/')}", 300)

    def _lost(self, path: str, error: Exception) -> SourceError:
        if advice := remedy(error):
            return SourceError(f"{self.place(path)} cannot be reached: {advice}")
        return SourceError(
            f"{self.place(path)} was not answered in {ATTEMPTS} attempts ({type(error).__name__}); "
            "right would be a url that this machine reaches; collect again when the network is steady"
        )

    def _refused(self, response: httpx.Response) -> StatusError:
        status = response.status_code
        reset = response.headers.get("x-ratelimit-reset", response.headers.get("ratelimit-reset", ""))
        if status == httpx.codes.TOO_MANY_REQUESTS:
            until = as_moment(reset)
            when = f"until {until:%Y-%m-%d %H:%M:%S} UTC" if until else "for now"
            advice = f"the rate limit is used up {when}; collect again then, what has landed stays"
        elif response.is_redirect:
            advice = "it leads elsewhere, to a login or a new address; right would be that address as url, or a secret"
        else:
            advice = self._advice.get(status, "expected 200; collect again when the server is well")
        return StatusError(f"{self.place(response.request.url.path)} was answered with {status}: {advice}", status)


def checked_secret(secret: str) -> str:
    """The secret as it can stand in a header.

    Raises:
        SourceError: it holds what no token holds; the message does not quote it.
    """
    stripped = secret.strip()
    if not stripped.isascii() or not stripped.isprintable():
        raise SourceError("the secret holds characters that no token holds; right would be one line of ASCII")
    return stripped


def as_text(value: object) -> str | None:
    """A text that is not blank; None for anything else."""
    return value if isinstance(value, str) and value.strip() else None


def as_name(value: object, default: str) -> str:
    """A text to call something by, cut and without control characters; `default` where there is none."""
    text = as_text(value)
    return printable(text).translate(_UNPRINTABLE) if text else default


def as_number(value: object) -> int | None:
    """A whole number from 0 to `MAX_INTEGER`, also as text; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_INTEGER)):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MAX_INTEGER else None


def as_list(value: object) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_objects(value: object) -> list[Json]:
    """The JSON objects of a list; anything else in it is passed over."""
    return [entry for entry in as_list(value) if isinstance(entry, dict)]


def as_moment(value: object, per_second: int = 1) -> datetime | None:
    """A number of seconds, or of parts of a second, since 1970 as a moment in UTC; None for anything else."""
    number = as_number(value)
    try:
        return None if number is None else datetime.fromtimestamp(number / per_second, UTC)
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        return None
