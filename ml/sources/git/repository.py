"""The repository: a clone that is read where it lies, or a bare mirror of a URL that is brought up to date.

Nothing of a repository is executed: libgit2 compares trees without its hooks and filters. The mirror keeps every branch
and the heads of pull and merge requests, so that the commits that CI tested are there; commits that a forced push took
from a branch stay in it.
https://libgit2.org
"""

import fcntl
import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pygit2
from pygit2.enums import CredentialType, FetchPrune, RepositoryOpenFlag

from ml.errors import SourceError
from ml.sources.git.address import is_path, local_folder

MIRRORED = ("heads/*", "pull/*/head", "merge-requests/*/head")
CONNECT_S = 30
SILENT_S = 120
LONGEST_S = 3_600
# libgit2 keeps every pack open and each update leaves one: far below the 1,024 files that a process may open.
MOST_PACKS = 200
MILLISECONDS = 1_000
GIT_ERRORS = (pygit2.GitError, KeyError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class Login:
    """How to sign in over https; over ssh the agent does."""

    user: str = ""
    token: str = field(default="", repr=False)


def open_repository(url: str, login: Login, cache: Path) -> pygit2.Repository:
    """The clone that a path names, or a mirror of a URL below `cache`, as the remote is now.

    Raises:
        SourceError: there is none, it is shallow, it cannot be reached or refuses, or takes too long.
    """
    folder = local_folder(url)
    repository = None if folder is None else _opened(folder)
    if repository is None or not is_path(url):
        repository = _mirror(url, login, cache)
    refuse_shallow(repository, url)
    return repository


def _opened(folder: Path) -> pygit2.Repository:
    try:
        repository = pygit2.Repository(str(folder), RepositoryOpenFlag.NO_SEARCH)
    except GIT_ERRORS as error:
        raise SourceError(f"no repository can be read in {folder}: {error}{_advice(error, folder)}") from error
    refuse_shallow(repository, str(folder))
    return repository


def _advice(error: Exception, folder: Path) -> str:
    if "owned by" in str(error):
        return f"; to trust its owner: git config --global --add safe.directory {folder}"
    return "; right would be the folder of a clone, or a bare repository"


def refuse_shallow(repository: pygit2.Repository, place: str) -> None:
    """Raise a `SourceError` where the history was cut off: what came before would look like one huge first commit."""
    if repository.is_shallow:
        raise SourceError(
            f"{place} is a shallow clone, its history is cut off; to fetch the rest: git -C PATH fetch --unshallow "
            "(in CI: fetch-depth: 0 for actions/checkout, GIT_DEPTH: 0 for GitLab)"
        )


def _mirror(url: str, login: Login, cache: Path) -> pygit2.Repository:
    folder = cache / "git" / hashlib.sha256(url.encode()).hexdigest()[:16]
    try:
        with _only_writer(folder):
            if sum(1 for _ in folder.glob("objects/pack/*.pack")) > MOST_PACKS:
                shutil.rmtree(folder)
            repository = pygit2.init_repository(str(folder), bare=True)
            # To another host, that is: it would be given the token.
            repository.config["http.followRedirects"] = "false"
            _update(repository, url, login)
    except GIT_ERRORS as error:
        raise SourceError(
            f"{url} cannot be mirrored in {folder}: {_reason(error)}; right would be a URL that `git ls-remote` "
            "answers, with a token that may read the code"
        ) from error
    return repository


def _reason(error: Exception) -> str:
    if "invalid packet line" in str(error):
        return f"{error}: so a server answers whose own repository is shallow"
    return str(error) or type(error).__name__


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Hold the mirror's lock, which the kernel frees on a kill; clear what an earlier kill left of a pack."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob("objects/pack/pack_git2_*"):
            left.unlink(missing_ok=True)
        yield


def _update(repository: pygit2.Repository, url: str, login: Login) -> None:
    pygit2.settings.server_connect_timeout = CONNECT_S * MILLISECONDS
    pygit2.settings.server_timeout = SILENT_S * MILLISECONDS
    # Anonymous: what is configured of a named remote is not believed, and the URL is written nowhere.
    remote = repository.remotes.create_anonymous(url)
    refspecs = [f"+refs/{names}:refs/{names}" for names in MIRRORED]
    heads = remote.list_heads(callbacks=_Calls(url, login), proxy=True)
    remote.fetch(refspecs, callbacks=_Calls(url, login), prune=FetchPrune.PRUNE, proxy=True)
    for head in heads:
        if head.name == "HEAD" and head.symref_target:
            repository.set_head(head.symref_target)


class _Calls(pygit2.RemoteCallbacks):
    """What libgit2 asks while it talks to a remote: how to sign in, once, and whether to go on."""

    def __init__(self, url: str, login: Login) -> None:
        super().__init__()
        self._url, self._login = url, login
        self._ends = time.monotonic() + LONGEST_S
        self._given: set[CredentialType] = set()

    def credentials(self, url: str, username_from_url: str | None, allowed_types: CredentialType) -> Any:
        """The token, over https only; over ssh a key of the agent."""
        scheme = urlsplit(self._url).scheme
        if scheme == "ssh" and allowed_types & CredentialType.USERNAME and self._once(CredentialType.USERNAME):
            return pygit2.Username("git")
        if scheme == "ssh" and allowed_types & CredentialType.SSH_KEY and self._once(CredentialType.SSH_KEY):
            return pygit2.KeypairFromAgent(username_from_url or "git")
        is_plain = allowed_types & CredentialType.USERPASS_PLAINTEXT
        if scheme == "https" and is_plain and self._login.token and self._once(CredentialType.USERPASS_PLAINTEXT):
            return pygit2.UserPass(self._login.user, self._login.token)
        has_any = "what it was given" if self._given else "that nobody signs in"
        raise SourceError(
            f"{self._url} refuses {has_any}; right would be a token that may read the code (over ssh: a key in "
            "the agent)"
        )

    def _once(self, kind: CredentialType) -> bool:
        """libgit2 would ask without end."""
        is_first = kind not in self._given
        self._given.add(kind)
        return is_first

    def sideband_progress(self, string: str) -> None:
        """What the remote says about itself: not believed, but a moment to look at the clock."""
        self._go_on()

    def transfer_progress(self, stats: Any) -> None:
        """Objects arrived."""
        self._go_on()

    def _go_on(self) -> None:
        if time.monotonic() > self._ends:
            raise SourceError(
                f"{self._url} was not fetched within {LONGEST_S:,} s; clone it yourself (git clone --mirror) and give "
                "the path of the clone as `url`"
            )
