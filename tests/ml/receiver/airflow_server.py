"""Stands where Airflow does: answers as its REST API, as long as it is well, and notes the events it was told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

USER, PASSWORD = "admin", "airflow-password"  # pragma: allowlist secret
ASSETS = [{"id": 3, "name": "pushed_runs_too"}, {"id": 7, "name": "pushed_runs"}]


class AirflowServer(ThreadingHTTPServer):
    """`asked` counts requests of an event, answered or not; `events` are those that were taken."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.events: list[Any] = []
        self.asked = 0
        self.status = 200
        self.changed = threading.Condition()
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def wait_for(self, asked: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.asked >= asked, timeout=30)

    def wait_for_events(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.events) >= count, timeout=30)


class _Handler(BaseHTTPRequestHandler):
    server: AirflowServer

    def do_GET(self) -> None:
        self._answer(200, {"assets": ASSETS, "total_entries": len(ASSETS)})

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if urlsplit(self.path).path == "/auth/token":
            is_right = said == {"username": USER, "password": PASSWORD}
            self._answer(201 if is_right else 401, {"access_token": "jwt"} if is_right else {"detail": "no"})
            return
        server = self.server
        with server.changed:
            server.asked += 1
            server.changed.notify_all()
        server.may_answer.wait(30)
        with server.changed:
            if server.status == 200 and self.headers["Authorization"] == "Bearer jwt":
                server.events.append(said)
            server.changed.notify_all()
        self._answer(server.status, {})

    def _answer(self, status: int, told: Any) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""


@contextmanager
def airflow_server() -> Iterator[AirflowServer]:
    with AirflowServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.may_answer.set()
            server.shutdown()
            thread.join()
