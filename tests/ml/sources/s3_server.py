"""As much of the S3 API as reading a bucket takes (ListObjectsV2, HeadObject, GetObject), for Arrow's own client."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.ml.sources.replay_server import answering

BUCKET = "ci"
ACCESS = "AKIA42"
PAGE = 3  # small, so that every listing has several
WRITTEN = "2026-03-05T10:00:00.000Z"


class S3Server(ThreadingHTTPServer):
    """A bucket in memory; `got` lists the keys that were read. Another access key is refused."""

    daemon_threads = True

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = objects
        self.written: dict[str, str] = {}
        self.got: list[str] = []

    def url(self, prefix: str) -> str:
        return f"s3://{BUCKET}/{prefix}?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:{self.server_port}"

    def page(self, query: dict[str, list[str]]) -> bytes:
        prefix, after = (query.get(name, [""])[0] for name in ("prefix", "continuation-token"))
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > after]
        entries = "".join(
            f"<Contents><Key>{quote(key) if 'encoding-type' in query else escape(key)}</Key>"
            f"<LastModified>{self.written.get(key, WRITTEN)}</LastModified>"
            f"<Size>{len(self.objects[key])}</Size></Contents>"
            for key in keys[:PAGE]
        )
        more = f"<NextContinuationToken>{escape(keys[PAGE - 1])}</NextContinuationToken>" if len(keys) > PAGE else ""
        cut = "true" if more else "false"
        head = f"<Name>{BUCKET}</Name><KeyCount>{len(keys[:PAGE])}</KeyCount><IsTruncated>{cut}</IsTruncated>"
        return f"<?xml version='1.0'?><ListBucketResult>{head}{entries}{more}</ListBucketResult>".encode()


class _Handler(BaseHTTPRequestHandler):
    server: S3Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._object(has_body=False)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if "list-type=2" not in url.query:
            self._object(has_body=True)
        elif self._is_allowed():
            self._send(200, self.server.page(parse_qs(url.query)))

    def _object(self, has_body: bool) -> None:
        key = unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")
        content = self.server.objects.get(key)
        if not self._is_allowed():
            return
        if content is None:
            self._send(404, b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>", has_body)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
            content = content[first : last + 1]
        if has_body:
            self.server.got.append(key)
        self._send(206 if wanted else 200, content, has_body)

    def _is_allowed(self) -> bool:
        if f"Credential={ACCESS}/" in self.headers.get("Authorization", ""):
            return True
        self._send(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        return False

    def _send(self, status: int, content: bytes, has_body: bool = True) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", "Thu, 05 Mar 2026 10:00:00 GMT")
        self.end_headers()
        if has_body and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *told: object) -> None:
        pass


@contextmanager
def serving(objects: dict[str, bytes]) -> Iterator[S3Server]:
    with S3Server(objects) as server, answering(server):
        yield server
