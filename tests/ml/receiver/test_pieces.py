"""`fourgate upload` over a bad line: a proxy cuts connections, loses answers, and the service restarts."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ml.errors import SourceError
from ml.receiver import pieces, uploading
from ml.receiver.form import FormStream
from ml.settings import Settings
from ml.sources.http import PatientTransport
from tests.history_builders import write_run
from tests.ml.receiver.serving import PROJECT, in_thread, landed, new_token, push

pytestmark = pytest.mark.integration
REPORT = b'<testsuite name="s"><testcase classname="C" name="t"/>' + b" " * 900_000 + b"</testsuite>"


class BadLine:
    """Passes bytes between a client and a server; each connection ends after so many bytes of the client's.

    A budget below 0 passes all bytes of the client and loses the answer.
    """

    def __init__(self, server: str, budgets: list[int]) -> None:
        self.budgets = budgets
        self.connections = 0
        self._server = urlsplit(server)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            budget = self.budgets.pop(0) if self.budgets else 10**12
            with client, socket.create_connection((str(self._server.hostname), self._server.port or 0)) as server:
                self._pass(client, server, budget)

    def _pass(self, client: socket.socket, server: socket.socket, budget: int) -> None:
        loses_answer = budget < 0
        back = threading.Thread(target=self._back, args=(server, client, loses_answer))
        back.start()
        left = 10**12 if loses_answer else budget
        with suppress(OSError):
            while left > 0 and (data := client.recv(min(left, 1 << 16))):
                server.sendall(data)
                left -= len(data)
        for line in (server, client):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        back.join()

    def _back(self, server: socket.socket, client: socket.socket, loses_answer: bool) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if loses_answer and b"batch_id" in data:
                    break
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.receiver.uploading.MAX_AT_ONCE", 1_000_000)
    monkeypatch.setattr("ml.sources.http.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("ml.sources.http.LONGEST_WAIT_S", 0.2)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with in_thread(settings) as served:
        yield served


@pytest.fixture
def upload(tmp_path: Path) -> uploading.Upload:
    folder = write_run(tmp_path / "run", "7", project=PROJECT)
    for number in range(4):
        (folder / f"{number}.xml").write_bytes(REPORT)
    return uploading.gather(folder, {}, {})


def test_a_large_run_comes_whole_over_a_line_that_breaks_again_and_again(
    settings: Settings, url: str, upload: uploading.Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1_500_000)
    budgets = [700, 400_000, 100, 1_100_000, 1_000, 300_000, 2_000_000, -1]
    line = BadLine(url, list(budgets))
    try:
        told = uploading.send(upload, line.url, new_token(settings), PatientTransport())
    finally:
        line.close()
    assert (told["run_id"], told["reports"], told["refused"]) == ("7", 4, [])
    assert landed(settings) == [told["batch_id"]]
    assert line.connections > len(budgets)


def test_without_a_bad_line_it_is_the_same_batch(settings: Settings, url: str, upload: uploading.Upload) -> None:
    token = new_token(settings)
    first = uploading.send(upload, url, token)
    stream = FormStream(upload.document, upload.reports)
    whole = push(url, token, content=b"".join(stream), headers={"Content-Type": stream.content_type})
    assert (first["is_new"], whole.status_code, whole.json()["batch_id"]) == (True, 200, first["batch_id"])


def test_a_refusal_is_told_at_once(settings: Settings, url: str, upload: uploading.Upload) -> None:
    with pytest.raises(SourceError, match=r"refused the run \(403\).*not for the project"):
        uploading.send(upload, url, new_token(settings, "other", "acme/other"))
    with pytest.raises(SourceError, match=r"\(401\)"):
        uploading.send(upload, url, "fgp_unknown")
    assert landed(settings) == []


def test_nobody_there_is_told_after_some_attempts(upload: uploading.Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_FAILURES", 2)
    with pytest.raises(SourceError, match="cannot be reached"):
        uploading.send(upload, "http://127.0.0.1:1", "token")


def test_the_body_is_the_same_each_time_and_from_any_byte_on(upload: uploading.Upload) -> None:
    one, other = FormStream(upload.document, upload.reports), FormStream(upload.document, upload.reports)
    whole = b"".join(one)
    assert (len(whole), b"".join(other), one.content_type) == (one.length, whole, other.content_type)
    for start, end in ((0, 1), (0, 700), (500, 1_000_000), (899_000, 901_500), (len(whole) - 3, len(whole)), (5, 5)):
        assert b"".join(one.piece(start, end)) == whole[start:end]
    changed = FormStream({**upload.document, "attempt": 2}, upload.reports)
    assert changed.content_type != one.content_type
