"""What GitHub's refusals mean, in words that say what would have been right; they hold no query, body or token."""

from datetime import timedelta

import httpx

from ml.errors import SourceError
from ml.sources.http import answered_at, asked_wait
from ml.sources.trust import remedy

_LONGEST = timedelta(days=366)
_PERMISSIONS = {"actions": "Actions: read", "pulls": "Pull requests: read", "commits": "Contents: read"}


def unreachable(host: str, error: Exception) -> SourceError:
    """No answer, or none that can be read, came from `host`."""
    advice = remedy(error) or "collect again when the network and the server are well"
    return SourceError(f"{host} cannot be reached ({type(error).__name__}): {advice}")


def refused(response: httpx.Response, root: httpx.URL, repository: str) -> SourceError:
    """Why `response` is not what was asked of the API at `root`, and the remedy."""
    asked = response.request.url
    what = f"{asked.host} answered {response.status_code} for {asked.path}"
    if asked.netloc != root.netloc:
        return SourceError(f"{what}, where it keeps an artifact; collect again")
    if response.status_code in (403, 429) and _is_rate_limit(response):
        return SourceError(f"{asked.host} answers no more {_until(response)}; what landed stays, collect again then")
    return SourceError(f"{what}: {_remedy(response, repository)}")


def _remedy(response: httpx.Response, repository: str) -> str:
    status = response.status_code
    if status == httpx.codes.UNAUTHORIZED:
        return "the token is missing or expired, or the key is not the App's; right would be a valid one"
    if status == httpx.codes.FORBIDDEN:
        part = response.request.url.path.partition(f"/{repository}/")[2].split("/")[0]
        permission = _PERMISSIONS.get(part, "Metadata: read")
        return f"the token lacks a permission; right would be {permission!r} on {repository}"
    if status == httpx.codes.NOT_FOUND:
        return f"the name {repository} is wrong, or the token (or App) may not see it"
    return "right would be 200; collect again when the server is well"


def _is_rate_limit(response: httpx.Response) -> bool:
    if asked_wait(response) is not None or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return True
    # GitHub's second kind of limit may come without any header that says so. A stream was never read.
    return response.is_stream_consumed and b"rate limit" in response.content[:10_000].lower()


def _until(response: httpx.Response) -> str:
    wait, now = asked_wait(response), answered_at(response)
    if wait is None or now is None:
        return "for some minutes"
    moment = now + timedelta(seconds=min(wait, _LONGEST.total_seconds()))
    return f"until {moment:%Y-%m-%d %H:%M:%S} UTC"
