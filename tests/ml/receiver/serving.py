"""The push endpoint on a port of its own: in a thread, or as the process that users start."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from ml.receiver.app import create_app
from ml.receiver.rate import Rate
from ml.settings import Settings
from ml.stages.opening import open_warehouse

PROJECT = "acme/shop"
REPORT = b'<testsuite name="s"><testcase classname="C" name="t"/></testsuite>'
MANIFEST = {"run_id": "1", "project": PROJECT, "commit_sha": "abc", "started_at": "2026-01-01T08:00:00Z"}
Part = tuple[str, tuple[str | None, bytes]]


def manifest(**fields: Any) -> dict[str, Any]:
    return {**MANIFEST, **fields}


def parts(document: Mapping[str, Any] | bytes = MANIFEST, reports: Mapping[str, bytes] | None = None) -> list[Part]:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    listed = {"linux/report.xml": REPORT} if reports is None else reports
    return [("manifest", ("manifest.json", content)), *(("report", (name, data)) for name, data in listed.items())]


def push(url: str, token: str, sent: Sequence[Part] | None = None, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
    files = parts() if sent is None else list(sent)
    options = {"files": files} if "content" not in options else options
    return httpx.post(f"{url}/api/v1/runs", headers=headers, timeout=60, trust_env=False, **options)


def raw_body(filename: bytes) -> tuple[str, bytes]:
    """Content type and body with a manifest and a report called exactly so."""
    head = b'--X\r\nContent-Disposition: form-data; name="manifest"\r\n\r\n' + json.dumps(MANIFEST).encode()
    report = b'\r\n--X\r\nContent-Disposition: form-data; name="report"; filename="' + filename + b'"\r\n\r\n' + REPORT
    return "multipart/form-data; boundary=X", head + report + b"\r\n--X--\r\n"


def new_token(settings: Settings, name: str = "ci", project: str = PROJECT) -> str:
    with open_warehouse(settings) as warehouse:
        return warehouse.create_push_token(name, project, "test")


def landed(settings: Settings) -> list[str]:
    """Everything in the landing area of pushes, whole batches or not."""
    folder = settings.home / "landing" / "push"
    return sorted(path.name for path in folder.glob("*") if path.name != ".lock")


def left_over(settings: Settings) -> list[str]:
    return [str(path) for path in (settings.home / "receiver" / "incoming").rglob("*")]


@contextmanager
def in_thread(settings: Settings, rate: Rate | None = None, certificate: Path | None = None) -> Iterator[str]:
    """The address of the endpoint; with a certificate and its key in a file, over TLS."""
    scratch = settings.home / "receiver" / "incoming"
    scratch.mkdir(parents=True)
    config = uvicorn.Config(create_app(settings, scratch, rate), log_config=None, access_log=False)
    config.ssl_certfile = certificate
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


class Process:
    """`fourgate receive`; its output is in `log`."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        given = {
            "FOURGATE_HOME": str(settings.home),
            "FOURGATE_WAREHOUSE_DSN": settings.warehouse_dsn.get_secret_value(),
            "FOURGATE_MAX_PAYLOAD_MB": str(settings.max_payload_mb),
            "FOURGATE_AIRFLOW_URL": settings.airflow_url,
            "FOURGATE_AIRFLOW_PASSWORD": settings.airflow_password.get_secret_value(),
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FOURGATE_")}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from ml.cli import main; main()", "receive", "--port", "0"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**kept, **given, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
                cwd=log.parent,
            )
        self.url = self._address()

    def _address(self) -> str:
        seen = self.log.read_text().count("listening on ")
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            lines = [line for line in self.log.read_text().splitlines() if line.startswith("listening on ")]
            if len(lines) > seen:
                return lines[-1].removeprefix("listening on ").strip()
            time.sleep(0.05)
        raise RuntimeError(self.log.read_text())

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(60)
