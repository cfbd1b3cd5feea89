"""Uploads that come in pieces, on disk: what was taken outlives a broken line and a restart of the service.

Layout: ``<folder>/<id>/about.json``, ``body`` (as long as the offset), and ``answer.json`` once the run has landed.
"""

import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from ml.errors import RefusedRequest
from ml.receiver.body import too_large
from ml.warehouse import PushToken

LIFETIME_S = 24 * 3_600.0
MAX_OPEN = 20  # of one token
_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that comes in pieces: whose it is, how long it will be, and when it was begun (seconds of the clock)."""

    folder: Path
    token: str
    content_type: str
    length: int
    begun_at: float

    @property
    def upload_id(self) -> str:
        """What the sender calls it."""
        return self.folder.name

    @property
    def body(self) -> Path:
        """The file with what came."""
        return self.folder / "body"

    @property
    def offset(self) -> int:
        """Bytes that came."""
        return self.length if self.answer is not None else self.body.stat().st_size

    @property
    def answer(self) -> dict[str, Any] | None:
        """What was answered when the run had landed."""
        try:
            answer: dict[str, Any] = json.loads((self.folder / "answer.json").read_bytes())
        except FileNotFoundError:
            return None
        return answer

    def finish(self, told: dict[str, Any]) -> None:
        """Keep the answer for a sender that did not get it, and no longer the body."""
        scratch = self.folder / ".answer.json"
        scratch.write_text(json.dumps(told), encoding="ascii")
        scratch.replace(self.folder / "answer.json")
        self.body.unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget it."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Uploads:
    """The uploads of all tokens."""

    def __init__(self, folder: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.max_bytes = max_bytes
        self._folder = folder
        self._clock = clock
        self._lock = Lock()
        self._busy: set[str] = set()

    def begin(self, token: PushToken, content_type: str, length: int) -> Upload:
        """A new upload, or the open one of the same token, type and length: whoever began it may have lost its address.

        Raises:
            RefusedRequest: it is too large, or the token has too many.
        """
        if length > self.max_bytes:
            raise too_large("the request", self.max_bytes)
        with self._lock:
            ours = [one for one in self._all() if one.token == token.sha256 and one.answer is None]
            for one in ours:
                if (one.content_type, one.length) == (content_type, length):
                    return one
            if len(ours) >= MAX_OPEN:
                expected = f"at most {MAX_OPEN} that are not finished; each ends after {LIFETIME_S / 3_600:g} h"
                raise RefusedRequest(429, "too many open uploads with this token", expected, 60.0)
            return self._make(Upload(self._folder / "new", token.sha256, content_type, length, self._clock()))

    def find(self, token: PushToken, upload_id: str) -> Upload:
        """An upload that this token began.

        Raises:
            RefusedRequest: there is none, or no longer.
        """
        if _ID.fullmatch(upload_id):
            found = self._read(self._folder / upload_id)
            if found is not None and found.token == token.sha256:
                return found
        raise RefusedRequest(404, "there is no such upload of this token", "POST /api/v1/uploads")

    @contextmanager
    def writing(self, upload: Upload) -> Iterator[None]:
        """Around whatever changes an upload; one at a time.

        Raises:
            RefusedRequest: another request is writing.
        """
        with self._lock:
            if upload.upload_id in self._busy:
                raise RefusedRequest(409, "another request is writing to this upload", "HEAD, and then what is missing")
            self._busy.add(upload.upload_id)
        try:
            yield
        finally:
            with self._lock:
                self._busy.remove(upload.upload_id)

    def _make(self, wanted: Upload) -> Upload:
        """Written aside and renamed into place, so that a kill leaves no half upload."""
        made = self._folder / secrets.token_hex(16)
        scratch = self._folder / f".{made.name}"
        scratch.mkdir()
        (scratch / "body").touch()
        about = {name: value for name, value in asdict(wanted).items() if name != "folder"}
        (scratch / "about.json").write_text(json.dumps(about), encoding="ascii")
        scratch.rename(made)
        return Upload(made, **about)

    def _all(self) -> list[Upload]:
        """Every upload; what expired, or was left half made by a kill, goes."""
        found = [self._read(folder) for folder in sorted(self._folder.iterdir())]
        return [one for one in found if one is not None]

    def _read(self, folder: Path) -> Upload | None:
        try:
            upload = Upload(folder, **json.loads((folder / "about.json").read_bytes()))
            is_over = self._clock() - upload.begun_at > LIFETIME_S or not _ID.fullmatch(folder.name)
        except (OSError, ValueError, TypeError):
            is_over = True
        if not is_over:
            return upload
        if folder.name not in self._busy:
            shutil.rmtree(folder, ignore_errors=True)
        return None
