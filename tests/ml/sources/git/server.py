"""A git server over https, git's own backend behind a password: what GitHub and GitLab look like to a client."""

import base64
import os
import ssl
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Self
from urllib.parse import urlsplit

USER, TOKEN = "x-access-token", "tok3n-0f-a-test"  # pragma: allowlist secret


def backend() -> Path:
    """Where git's http backend lies, there or not."""
    found = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True)
    return Path(found.stdout.strip(), "git-http-backend")


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody trusts yet, in one file."""
    both = folder / "server.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    words += [
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:localhost",
        "-keyout",
        str(folder / "key.pem"),
        "-out",
        str(both),
    ]
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    both.write_bytes(both.read_bytes() + (folder / "key.pem").read_bytes())
    return both


class GitServer:
    """Serves the repositories below a folder; `asked` are the paths, `given` the sign-ins that came.

    `redirect` is where every request is sent instead.
    """

    def __init__(self, root: Path, pem: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.given: list[str] = []
        self.redirect = ""
        handler = type("Handler", (_Handler,), {"served": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: GitServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def _answer(self, body: bytes) -> None:
        self.served.asked.append(self.path)
        if self.served.redirect:
            self._send(302, b"", ("Location", self.served.redirect + self.path))
            return
        sign_in = self.headers.get("Authorization", "")
        self.served.given.append(sign_in)
        if sign_in != "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode():
            self._send(401, b"", ("WWW-Authenticate", 'Basic realm="git"'))
            return
        head, _, content = self._called(body).partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(fields.get("Status", "200").split()[0])
        self._send(status, content, ("Content-Type", fields.get("Content-Type", "text/plain")))

    def _called(self, body: bytes) -> bytes:
        parts = urlsplit(self.path)
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.served.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "REQUEST_METHOD": self.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_USER": USER,
        }
        return subprocess.run([backend()], input=body, env=variables, check=True, capture_output=True).stdout

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _send(self, status: int, content: bytes, header: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header(*header)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""
