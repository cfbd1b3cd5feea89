"""GitHub's REST API as one repository's reader sees it: credentials, pages, and what each refusal asks for.

The credentials and the cache are `githubkit`'s, the transport is ours: it alone waits and asks again. Importing
githubkit takes most of a second, so this module is imported when a server is opened.
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from githubkit import AppAuthStrategy, GitHub, TokenAuthStrategy, UnauthAuthStrategy
from githubkit.auth import BaseAuthStrategy
from githubkit.cache import MemCacheStrategy
from githubkit.exception import GitHubException
from jwt import PyJWTError

from ml.errors import RefusedPayload, SourceError
from ml.sources import http
from ml.sources.github.refusals import refused, unreachable

PER_PAGE = "100"
# Of 100 entries each: ten times what GitHub lists of anything that is asked for here.
MAX_PAGES = 300
MAX_KEPT_BYTES = 100_000_000

Params = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Access:
    """Which repository, and as whom: with `app_id`, `secret` is the App's private key in PEM, else a token."""

    url: str
    repository: str
    secret: str = field(repr=False)
    app_id: int | None = None


class _Prepared(httpx.BaseTransport):
    """Gives back what the cache takes from a request: its time limit, and a body that can be sent twice."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        request.extensions = {"timeout": http.TIMEOUT.as_dict(), **request.extensions}
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class GitHubApi:
    """Asks for what lies below one repository; nothing is asked of it before the first call.

    Answers that may be wanted again are kept in memory only (an entry holds the token) and asked for with their ETag:
    an answer 304 does not count against the rate limit.
    """

    def __init__(self, access: Access, transport: httpx.BaseTransport) -> None:
        self.repository = access.repository
        self._access = access
        self._root = httpx.URL(access.url.rstrip("/") + "/")
        self._transport = _Prepared(transport)
        self._cache = MemCacheStrategy()
        self._kept_bytes = 0
        self._open = ExitStack()
        self._clients: dict[bool, httpx.Client] = {}
        self._auth: BaseAuthStrategy | None = None

    def close(self) -> None:
        """Close the connections and forget what was kept."""
        self._clients = {}
        self._kept_bytes = 0
        self._open.close()
        self._cache.cleanup()
        self._transport.close()

    def get(self, path: str, params: Params | None = None, absent: Collection[int] = ()) -> Any:
        """The JSON at `path` below the repository; None where the answer is one of the `absent` statuses.

        Raises:
            SourceError: GitHub cannot be reached, refuses, or answers no JSON.
        """
        response = self._ask(self._below(path), params, is_kept=False)
        return None if response.status_code in absent else self._json(response)

    def get_root(self, path: str, absent: Collection[int] = ()) -> Any:
        """As `get`, at `path` of the API itself."""
        response = self._ask(path, None, is_kept=False)
        return None if response.status_code in absent else self._json(response)

    def pages(
        self, path: str, params: Params | None = None, *, is_kept: bool = False, absent: Collection[int] = ()
    ) -> Iterator[Any]:
        """The JSON of every page, 100 entries each, by the links of the answers.

        Raises:
            SourceError: see `get`; or the pages lead to another host, or have no end.
        """
        url, asked = self._below(path), {"per_page": PER_PAGE, **(params or {})}
        for number in range(MAX_PAGES):
            response = self._ask(url, None if number else asked, is_kept=is_kept)
            if response.status_code in absent:
                return
            yield self._json(response)
            url = self._linked(response, "next")
            if not url:
                return
        raise SourceError(f"{self._root.host} has more than {MAX_PAGES} pages of {path}; right would be fewer")

    def last_of(self, path: str, params: Params) -> tuple[Any, Any]:
        """The first and the last page at `path`.

        Raises:
            SourceError: see `pages`.
        """
        response = self._ask(self._below(path), params, is_kept=False)
        first, url = self._json(response), self._linked(response, "last")
        return first, self._json(self._ask(url, None, is_kept=False)) if url else first

    def download(self, url: str, target: Path, max_bytes: int) -> None:
        """Stream what `url` of the API leads to into `target`; the credentials stay with the API.

        Raises:
            RefusedPayload: it is gone (`artifact_gone`), too large, or not of this API (`artifact_elsewhere`).
            SourceError: GitHub cannot be reached or refuses.
        """
        if not self._is_home(url):
            raise RefusedPayload("artifact_elsewhere", f"its address is not below {self._root}")
        try:
            http.download(self._client(is_kept=False), url, target, max_bytes)
        except httpx.HTTPStatusError as error:
            if error.response.status_code in (404, 410):
                raise RefusedPayload("artifact_gone", f"answered {error.response.status_code}") from None
            raise refused(error.response, self._root, self.repository) from None
        except (httpx.HTTPError, httpx.InvalidURL, GitHubException) as error:
            raise unreachable(self._root.host, error) from None

    def _below(self, path: str) -> str:
        return f"repos/{self.repository}/{path}".rstrip("/")

    def _is_home(self, url: str) -> bool:
        try:
            asked = httpx.URL(url)
        except (httpx.InvalidURL, TypeError):
            return False
        return (asked.scheme, asked.host, asked.port) == (self._root.scheme, self._root.host, self._root.port)

    def _linked(self, response: httpx.Response, relation: str) -> str:
        url = response.links.get(relation, {}).get("url", "")
        if url and not self._is_home(url):
            raise SourceError(
                f"the pages of {response.url.path} lead away from {self._root.host}; right would be the address that "
                "GitHub itself gives for its API, as `url` of the source"
            )
        return url

    def _ask(self, url: str, params: Params | None, *, is_kept: bool) -> httpx.Response:
        client = self._client(is_kept=is_kept)
        try:
            response = client.get(url, params=params, follow_redirects=True)
        # LookupError and their kin: the cache trusts the headers of an answer.
        except (httpx.HTTPError, httpx.InvalidURL, LookupError, ValueError, TypeError, AssertionError) as error:
            raise unreachable(self._root.host, error) from None
        except GitHubException as error:
            raise self._no_token(error) from None
        self._kept_bytes += len(response.content) if is_kept else 0
        return response

    def _json(self, response: httpx.Response) -> Any:
        if response.status_code != httpx.codes.OK:
            raise refused(response, self._root, self.repository)
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise SourceError(
                f"{self._root.host} answered {response.url.path} with what is no JSON; right would be an address of "
                "GitHub's REST API as `url` of the source"
            ) from None

    def _client(self, *, is_kept: bool) -> httpx.Client:
        if self._kept_bytes > MAX_KEPT_BYTES:
            self.close()
        if is_kept not in self._clients:
            if self._auth is None:
                self._auth = self._signed_in()
            github = self._github(self._auth, is_kept=is_kept)
            self._clients[is_kept] = self._open.enter_context(github.get_sync_client())
        return self._clients[is_kept]

    def _github(self, auth: BaseAuthStrategy, *, is_kept: bool) -> GitHub[Any]:
        return GitHub(
            auth,
            base_url=self._root,
            user_agent="Fourgate",
            timeout=http.TIMEOUT,
            transport=self._transport,
            cache_strategy=self._cache,
            http_cache=is_kept,
            follow_redirects=False,
            auto_retry=False,
        )

    def _signed_in(self) -> BaseAuthStrategy:
        secret = self._access.secret.strip()
        if self._access.app_id is not None:
            return self._installed(AppAuthStrategy(self._access.app_id, secret))
        if not secret:
            return UnauthAuthStrategy()
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise SourceError("the token has spaces or characters that no token has; right would be one line of text")
        return TokenAuthStrategy(secret)

    def _installed(self, app: AppAuthStrategy) -> BaseAuthStrategy:
        try:
            with self._github(app, is_kept=False).get_sync_client() as client:
                response = client.get(self._below("installation"), follow_redirects=True)
        except httpx.HTTPError as error:
            raise unreachable(self._root.host, error) from None
        except (PyJWTError, ValueError, TypeError):
            raise SourceError(
                "the secret is no private key of a GitHub App; right would be the whole PEM file, its first and last "
                "line too"
            ) from None
        found = self._json(response)
        number = found.get("id") if isinstance(found, dict) else None
        if not isinstance(number, int):
            raise SourceError(f"{self._root.host} names no installation of the App on {self.repository}")
        return app.as_installation(number)

    def _no_token(self, error: GitHubException) -> SourceError:
        answer = getattr(getattr(error, "response", None), "raw_response", None)
        if isinstance(answer, httpx.Response):
            return refused(answer, self._root, self.repository)
        return unreachable(self._root.host, error)
