"""`fourgate receive` as the process that users start: killed, asked to end, and what its log holds."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from ml.errors import SettingsError
from ml.receiver.server import serve
from ml.settings import Settings
from ml.sources import Limits, find_batch, read_batch
from tests.ml.receiver.serving import Process, landed, left_over, manifest, new_token, parts, push

pytestmark = [pytest.mark.integration, pytest.mark.slow]
LARGE = b'<testsuite name="s"><testcase classname="C" name="t"/>' + b" " * 900_000 + b"</testsuite>"
SENDERS = 4


@pytest.fixture
def token(settings: Settings) -> str:
    return new_token(settings)


@pytest.fixture
def started(settings: Settings, tmp_path: Path) -> Iterator[list[Process]]:
    """Processes of a test; each is ended."""
    found = [Process(settings, tmp_path / "receiver.log")]
    yield found
    for process in found:
        process.end(signal.SIGKILL)


def send_until_gone(url: str, token: str, sender: int) -> None:
    with suppress(httpx.TransportError):
        for number in range(1_000):
            document = manifest(run_id=f"{sender}-{number}")
            push(url, token, parts(document, {f"{part}.xml": LARGE for part in range(4)}))


def test_a_kill_amid_uploads_leaves_no_half_batch_and_the_same_again_succeeds(
    settings: Settings, token: str, started: list[Process], tmp_path: Path
) -> None:
    seen = []
    for delay in (0.3, 0.7, 1.1):
        process = started[-1]
        senders = [
            threading.Thread(target=send_until_gone, args=(process.url, token, number)) for number in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        threading.Event().wait(delay)
        process.end(signal.SIGKILL)
        for sender in senders:
            sender.join(60)
        seen.append(left_over(settings))
        started.append(Process(settings, tmp_path / "receiver.log"))
        assert left_over(settings) == []
    assert any(seen), "no kill came amid an upload"
    again = push(started[-1].url, token, parts(manifest(run_id="0-0"), {f"{part}.xml": LARGE for part in range(4)}))
    assert again.status_code in (200, 201)
    batches = landed(settings)
    assert again.json()["batch_id"] in batches
    for batch in batches:
        rows = read_batch(find_batch(settings.home / "landing", batch), Limits(1_000_000, "fourgate"))
        assert len(rows.frames["runs"]) == 1
        assert len(rows.frames["test_results"]) == 4


def test_the_token_is_in_no_log(settings: Settings, token: str, started: list[Process]) -> None:
    url = started[0].url
    listed = [{"path": f"{token}.xml"}]
    assert push(url, token, parts(manifest(run_id=token, reports=listed))).status_code == 201
    assert push(url, token, parts(manifest(project=token))).status_code == 403
    assert httpx.get(f"{url}/{token}?token={token}", headers={"Authorization": f"Bearer {token}"}).status_code == 404
    assert push(f"{url}/{token}", token).status_code == 404
    started[0].end()
    log = started[0].log.read_text()
    assert "token ci pushed batch" in log
    assert token not in log


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl_pushes_as_the_page_says(started: list[Process], token: str, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "report.xml").write_bytes(LARGE)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest()))
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "push-from-ci.md").read_text()
    command = page[page.index("curl --fail") :].partition("```")[0]
    command = command.replace("https://fourgate.example.org", started[0].url)
    environment = {"PATH": os.environ["PATH"], "FOURGATE_UPLOAD_TOKEN": token}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert (told["reports"], told["refused"]) == (1, [])


def test_it_ends_when_it_is_asked_to(started: list[Process]) -> None:
    httpx.get(f"{started[0].url}/api/v1/health").raise_for_status()  # it listens a moment before it answers
    assert started[0].end(signal.SIGTERM) == -signal.SIGTERM
    log = started[0].log.read_text()
    assert "Finished server process" in log
    assert "Traceback" not in log


def test_one_home_has_one_receiver(settings: Settings, started: list[Process]) -> None:
    with pytest.raises(SettingsError, match="another receiver"):
        serve(settings, "127.0.0.1", 0, print)


def test_a_port_that_is_taken_is_told(settings: Settings, started: list[Process]) -> None:
    other = settings.model_copy(update={"home": settings.home.parent / "other"})
    port = int(started[0].url.rpartition(":")[2])
    with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
        serve(other, "127.0.0.1", port, print)
