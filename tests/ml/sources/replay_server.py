"""A real HTTP server on this machine: it answers as it is told, with faults in between, and notes what it was asked."""

import json
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ml.sources.http import PatientTransport


@dataclass(frozen=True)
class Request:
    """What was asked: the path as it came, with its escapes."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """`body` other than bytes goes as JSON; `is_cut`: half of the body, then the connection closes."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


FAULTS = (
    Answer(503, {"message": "busy"}),
    Answer(200, {"message": "half of it"}, is_cut=True),
    Answer(429, {"message": "Retry later"}, {"Retry-After": "3"}),
    Answer(502, b"<html>"),
)
Reply = Callable[[Request], Answer]


class ReplayServer(ThreadingHTTPServer):
    """Answers with `reply`; with `faults`, the first answer to each address is the next of them."""

    daemon_threads = True

    def __init__(self, reply: Reply, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "https" if tls else "http"
        if tls:
            # The handshake belongs to the thread of the connection: a client that gives up must not stop the others.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.reply = reply
        self.faults: Iterator[Answer] = iter(())
        self.asked: list[Request] = []
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may hang up on an answer that is too large for it."""
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)

    def answer(self, address: str, request: Request) -> Answer:
        with self._lock:
            self.asked.append(request)
            is_new = address not in self._seen
            self._seen.add(address)
            fault = next(self.faults, None) if is_new else None
        return fault or self.reply(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each small answer waits for the acknowledgement of its head
    server: ReplayServer

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(address.path, dict(parse_qsl(address.query)), headers)
        answer = self.server.answer(self.path, request)
        content = answer.content
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(content)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.is_cut:
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(reply: Reply, tls: ssl.SSLContext | None = None) -> Iterator[ReplayServer]:
    """A server that answers until the block ends."""
    with ReplayServer(reply, tls) as server, answering(server):
        yield server


@contextmanager
def answering(server: socketserver.BaseServer) -> Iterator[None]:
    """Let a server answer, in a thread of its own, until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def patient(waits: list[float] | None = None, max_bytes: int = 50_000_000) -> PatientTransport:
    """The transport of product code, that notes its waits in place of waiting."""
    return PatientTransport(sleep=([] if waits is None else waits).append, max_bytes=max_bytes)
