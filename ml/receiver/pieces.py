"""Sends a body in pieces, and goes on where the line broke off; the other end is `ml.receiver.resuming`."""

import re
import time
from collections.abc import Callable, Iterator

import httpx

from ml.errors import SourceError
from ml.receiver.form import FormStream
from ml.sources.http import LONGEST_WAIT_S, asked_wait, backoff

PIECE = 16_000_000  # bytes; what a proxy that waits for the end of a request loses with the line
MAX_FAILURES = 8  # in a row, without a byte more on the other side
MAX_RESTARTS = 3
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}


def in_pieces(
    client: httpx.Client, url: str, stream: FormStream, sleep: Callable[[float], None] = time.sleep
) -> httpx.Response:
    """Send the whole body; the answer to the last piece, or the refusal of any.

    Raises:
        httpx.TransportError: the endpoint was not reached, again and again.
        SourceError: it forgets what it was sent, or is no push endpoint.
    """
    sender = _Sender(client, f"{url}/api/v1/uploads", stream)
    failures = 0
    while True:
        before = sender.offset
        wait_s: float | None = None
        try:
            answer = sender.go_on()
            if answer is not None:
                if answer.status_code not in _AGAIN or failures >= MAX_FAILURES:
                    return answer
                wait_s = asked_wait(answer)
        except httpx.TransportError:
            if failures >= MAX_FAILURES:
                raise
        if sender.offset > before:
            failures = 0
        else:
            failures += 1
            sleep(min(backoff(failures) if wait_s is None else wait_s, LONGEST_WAIT_S))


class Piece:
    """Bytes of the body from `start` up to `end`, as often as they are asked for."""

    def __init__(self, stream: FormStream, start: int, end: int) -> None:
        self._stream = stream
        self._start = start
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, from the first."""
        return self._stream.piece(self._start, self._end)


class _Sender:
    """One upload; `offset` is how much of it is known to be on the other side."""

    def __init__(self, client: httpx.Client, uploads: str, stream: FormStream) -> None:
        self.offset = -1
        self._client = client
        self._uploads = uploads
        self._stream = stream
        self._place = ""
        self._is_sure = False
        self._restarts = 0

    def go_on(self) -> httpx.Response | None:
        """Send the next piece; the answer where it is the last one or a refusal, else None."""
        answer = None if self._is_sure else self._look()
        if answer is not None or not self._is_sure:
            return answer
        self._is_sure = False
        end = min(self._stream.length, self.offset + PIECE)
        headers = {
            "Content-Type": "application/partial-upload",
            "Content-Length": str(end - self.offset),
            "Upload-Offset": str(self.offset),
            "Upload-Complete": "?1" if end == self._stream.length else "?0",
        }
        answer = self._client.patch(self._place, headers=headers, content=Piece(self._stream, self.offset, end))
        return self._noted(answer)

    def _look(self) -> httpx.Response | None:
        """Ask how much is there, or begin."""
        if self._place:
            return self._noted(self._client.head(self._place))
        headers = {"Content-Type": self._stream.content_type, "Upload-Length": str(self._stream.length)}
        answer = self._client.post(self._uploads, headers={**headers, "Upload-Complete": "?0"})
        if answer.status_code != httpx.codes.CREATED:
            return answer
        # Of the address only the name: nothing else may get the token.
        name = answer.headers.get("Location", "").rpartition("/")[2]
        if not re.fullmatch(r"[\w-]{1,100}", name, re.ASCII):
            raise SourceError(f"{answer.request.url.host} answers what no push endpoint does; is the address right?")
        self._place = f"{self._uploads}/{name}"
        self._note(answer)
        return None

    def _noted(self, answer: httpx.Response) -> httpx.Response | None:
        if answer.status_code == httpx.codes.NO_CONTENT:
            self._note(answer)
            return None
        if answer.status_code == httpx.codes.NOT_FOUND:
            self._restarts += 1
            if self._restarts > MAX_RESTARTS:
                raise SourceError(f"{answer.request.url.host} forgets uploads; see the log of the endpoint")
            self._place, self.offset = "", -1
            return None
        return answer

    def _note(self, answer: httpx.Response) -> None:
        offset = answer.headers.get("Upload-Offset", "")
        if not (offset.isascii() and offset.isdecimal() and len(offset) < 19 and int(offset) <= self._stream.length):
            raise SourceError(f"{answer.request.url.host} answers what no push endpoint does; is the address right?")
        self.offset = int(offset)
        self._is_sure = True
