"""Where a repository is: what may stand in `url`."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ml.legible import legible

RIGHT = "right would be an absolute path, https://host/path, ssh://user@host/path or file:///path"
LONGEST = 2_000


def checked_url(url: str) -> str:
    """`url` as it came.

    Raises:
        ValueError: it is of another form, or holds a secret; the message does not quote it.
    """
    if len(url) > LONGEST or legible(url) != url or any(letter in url for letter in "\n\t"):
        raise ValueError(f"it is too long, or holds control characters; {RIGHT}")
    if is_path(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"it is none that is read; {RIGHT}") from None
    if parts.password is not None or (parts.scheme != "ssh" and parts.username is not None):
        raise ValueError("it holds a user or a secret; right would be the URL alone, and the token in the environment")
    if parts.scheme in ("https", "ssh") and parts.hostname and parts.path.strip("/"):
        return url
    if parts.scheme == "file" and parts.hostname in (None, "localhost") and parts.path.startswith("/"):
        return url
    raise ValueError(f"it is none that is read; {RIGHT}")


def is_path(url: str) -> bool:
    """Whether it names a clone on this machine, which is read where it lies."""
    return url.startswith(("/", "~"))


def local_folder(url: str) -> Path | None:
    """Where it lies on this machine; None where it is on another."""
    if is_path(url):
        return Path(url).expanduser()
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
