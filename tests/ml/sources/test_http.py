"""The patient transport and `download` against a real server on this machine."""

import gzip
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, repeat
from pathlib import Path

import httpx
import pytest

from ml.errors import RefusedPayload, SourceError
from ml.sources.http import ATTEMPTS, MAX_REDIRECTS, PatientTransport, download
from tests.ml.sources.replay_server import Answer, ReplayServer, Request, patient, serving

OK = Answer(200, {"is": "well"})
Open = Callable[..., httpx.Client]


@pytest.fixture
def answers() -> list[Answer]:
    """What the server says, in this order; the last one again and again."""
    return [OK]


@pytest.fixture
def server(answers: list[Answer]) -> Iterator[ReplayServer]:
    with serving(lambda _: answers.pop(0) if len(answers) > 1 else answers[0]) as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(server: ReplayServer, waits: list[float]) -> Iterator[httpx.Client]:
    headers = {"PRIVATE-TOKEN": "s3cret", "Authorization": "Bearer s3cret"}
    with httpx.Client(base_url=server.url, transport=patient(waits, 10_000), headers=headers) as client:
        yield client


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(
    status: int, client: httpx.Client, answers: list[Answer], waits: list[float]
) -> None:
    answers[:0] = [Answer(status), Answer(status)]
    assert client.get("/x").json() == {"is": "well"}
    assert len(waits) == 2
    assert 0 <= waits[0] <= 1
    assert 0 <= waits[1] <= 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 501])
def test_a_refusal_is_handed_on_at_once(
    status: int, client: httpx.Client, answers: list[Answer], waits: list[float]
) -> None:
    answers[:0] = [Answer(status)]
    assert client.get("/x").status_code == status
    assert waits == []


def test_the_last_answer_is_handed_on(client: httpx.Client, server: ReplayServer, answers: list[Answer]) -> None:
    answers[:] = [Answer(503, {"still": "busy"})]
    answer = client.get("/x")
    assert (answer.status_code, answer.json()) == (503, {"still": "busy"})
    assert len(server.asked) == ATTEMPTS


def test_the_last_error_is_handed_on(client: httpx.Client, server: ReplayServer, answers: list[Answer]) -> None:
    answers[:] = [Answer(200, b"0123456789", is_cut=True)]
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/x")
    assert len(server.asked) == ATTEMPTS


def test_a_cut_body_is_asked_for_again(client: httpx.Client, answers: list[Answer], waits: list[float]) -> None:
    answers[:0] = [Answer(200, {"is": "cut off"}, is_cut=True)]
    assert client.get("/x").json() == {"is": "well"}
    assert len(waits) == 1


def test_a_server_that_nobody_listens_to_is_asked_again(waits: list[float]) -> None:
    with serving(lambda _: OK) as server:
        gone = server.url
    with httpx.Client(transport=patient(waits)) as client, pytest.raises(httpx.ConnectError):
        client.get(gone)
    assert len(waits) == ATTEMPTS - 1


@pytest.mark.parametrize("status", [403, 429, 503])
def test_the_waiting_time_of_the_server_is_kept_to(
    status: int, client: httpx.Client, answers: list[Answer], waits: list[float]
) -> None:
    answers[:0] = [Answer(status, headers={"Retry-After": "7"})]
    assert client.get("/x").status_code == 200
    assert waits == [7.0]


def test_a_waiting_time_may_be_a_date(client: httpx.Client, answers: list[Answer], waits: list[float]) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=30)
    answers[:0] = [Answer(503, headers={"Retry-After": format_datetime(moment, usegmt=True)})]
    client.get("/x")
    assert len(waits) == 1
    assert 25 <= waits[0] <= 30


def test_a_date_that_is_past_is_no_wait(client: httpx.Client, answers: list[Answer], waits: list[float]) -> None:
    answers[:0] = [Answer(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})]
    client.get("/x")
    assert waits == [0.0]


@pytest.mark.parametrize(
    "after",
    ["soon", "-5", "Wed, 21 Oct 99999 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 +99999999999999999999", "1.5"],
)
def test_a_waiting_time_that_is_none_is_passed_over(
    after: str, client: httpx.Client, answers: list[Answer], waits: list[float]
) -> None:
    answers[:0] = [Answer(429, headers={"Retry-After": after})]
    assert client.get("/x").status_code == 200
    assert 0 <= waits[0] <= 1


@pytest.mark.parametrize("prefix", ["X-RateLimit", "RateLimit"])
def test_a_used_up_rate_limit_is_waited_for(
    prefix: str, client: httpx.Client, answers: list[Answer], waits: list[float]
) -> None:
    reset = str(int(time.time()) + 20)
    answers[:0] = [Answer(403, headers={f"{prefix}-Remaining": "0", f"{prefix}-Reset": reset})]
    assert client.get("/x").status_code == 200
    assert 15 <= waits[0] <= 20


def test_a_limit_that_is_not_used_up_is_no_reason_to_wait(
    client: httpx.Client, answers: list[Answer], waits: list[float]
) -> None:
    reset = str(int(time.time()) + 20)
    answers[:0] = [Answer(403, headers={"X-RateLimit-Remaining": "12", "X-RateLimit-Reset": reset})]
    assert client.get("/x").status_code == 403
    assert waits == []


@pytest.mark.parametrize("after", ["61", "9" * 400])
def test_a_long_wait_is_left_to_the_caller(
    after: str, client: httpx.Client, answers: list[Answer], waits: list[float]
) -> None:
    answers[:0] = [Answer(429, headers={"Retry-After": after})]
    assert client.get("/x").status_code == 429
    assert waits == []


def test_an_answer_that_is_too_large_is_refused(client: httpx.Client, answers: list[Answer]) -> None:
    answers[:] = [Answer(200, b"x" * 10_000)]
    assert len(client.get("/x").content) == 10_000
    answers[:] = [Answer(200, b"x" * 10_001)]
    with pytest.raises(RefusedPayload, match="sent more than 10000 bytes"):
        client.get("/x")


def test_a_packed_answer_is_read_and_its_unpacked_size_counts(client: httpx.Client, answers: list[Answer]) -> None:
    packed = {"Content-Encoding": "gzip"}
    answers[:] = [Answer(200, gzip.compress(b'{"is": "packed"}'), packed)]
    assert client.get("/x").json() == {"is": "packed"}
    answers[:] = [Answer(200, gzip.compress(b"x" * 1_000_000), packed)]
    with pytest.raises(RefusedPayload) as refused:
        client.get("/x")
    assert refused.value.reason == "payload_too_large"


def test_a_packed_answer_that_is_damaged_is_asked_for_again(client: httpx.Client, answers: list[Answer]) -> None:
    answers[:0] = [Answer(200, b"no gzip", {"Content-Encoding": "gzip"})]
    assert client.get("/x").json() == {"is": "well"}


def test_no_address_with_its_query_is_logged(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client.get("/x", params={"signature": "s1gned"})
    assert "s1gned" not in caplog.text
    assert "s3cret" not in caplog.text


def test_a_download_is_streamed_into_its_file(client: httpx.Client, answers: list[Answer], tmp_path: Path) -> None:
    # More than the transport would read as a whole.
    answers[:] = [Answer(200, b"x" * 200_000)]
    download(client, "/x", tmp_path / "file", 200_000)
    assert (tmp_path / "file").read_bytes() == b"x" * 200_000


def test_a_download_that_is_too_large_is_refused(client: httpx.Client, answers: list[Answer], tmp_path: Path) -> None:
    answers[:] = [Answer(200, b"x" * 101)]
    with pytest.raises(RefusedPayload, match="more than 100 bytes"):
        download(client, "/x", tmp_path / "file", 100)


def test_a_download_goes_past_faults_and_keeps_nothing_of_them(
    client: httpx.Client, answers: list[Answer], tmp_path: Path
) -> None:
    answers[:] = [Answer(200, b"y" * 99, is_cut=True), Answer(503), Answer(429, headers={"Retry-After": "1"}), OK]
    download(client, "/x", tmp_path / "file", 100)
    assert (tmp_path / "file").read_bytes() == OK.content


def test_a_download_that_always_breaks_off_says_so_without_its_query(
    client: httpx.Client, answers: list[Answer], tmp_path: Path
) -> None:
    answers[:] = [Answer(200, b"0123456789", is_cut=True)]
    with pytest.raises(SourceError, match=r"127\.0\.0\.1 broke off the download of /x 5 times") as broken:
        download(client, "/x?signature=s1gned", tmp_path / "file", 100)
    assert "s1gned" not in str(broken.value)


@pytest.mark.parametrize("status", [401, 404, 410, 500])
def test_a_refused_download_is_handed_on(
    status: int, client: httpx.Client, answers: list[Answer], tmp_path: Path
) -> None:
    answers[:] = [Answer(status)]
    with pytest.raises(httpx.HTTPStatusError) as refused:
        download(client, "/x", tmp_path / "file", 100)
    assert refused.value.response.status_code == status


def test_another_host_is_told_no_header_of_ours(
    client: httpx.Client, server: ReplayServer, answers: list[Answer], tmp_path: Path
) -> None:
    with serving(lambda _: Answer(200, b"from storage")) as storage:
        answers[:] = [Answer(302, headers={"Location": f"{storage.url}/bucket?signature=1"})]
        download(client, "/x", tmp_path / "file", 100)
        asked = storage.asked
    assert (tmp_path / "file").read_bytes() == b"from storage"
    assert server.asked[0].headers["private-token"] == "s3cret"
    assert set(asked[0].headers) <= {"host", "accept", "accept-encoding", "user-agent"}


def test_another_host_is_told_no_password(server: ReplayServer, answers: list[Answer], tmp_path: Path) -> None:
    with serving(lambda _: OK) as storage, httpx.Client(transport=patient(), auth=("ada", "s3cret")) as client:
        answers[:] = [Answer(307, headers={"Location": f"{storage.url}/bucket"})]
        download(client, f"{server.url}/x", tmp_path / "file", 100)
        assert "authorization" in server.asked[0].headers
        assert "authorization" not in storage.asked[0].headers


def test_the_same_host_is_told_who_we_are_again(
    client: httpx.Client, server: ReplayServer, answers: list[Answer], tmp_path: Path
) -> None:
    answers[:] = [Answer(302, headers={"Location": "/there"}), OK]
    download(client, "/x", tmp_path / "file", 100)
    assert [(asked.path, asked.headers["private-token"]) for asked in server.asked] == [
        ("/x", "s3cret"),
        ("/there", "s3cret"),
    ]


def test_redirects_in_a_circle_come_to_an_end(
    client: httpx.Client, server: ReplayServer, answers: list[Answer], tmp_path: Path
) -> None:
    answers[:] = [Answer(302, headers={"Location": "/x"})]
    with pytest.raises(SourceError, match=f"redirects /x more than {MAX_REDIRECTS} times"):
        download(client, "/x", tmp_path / "file", 100)
    assert len(server.asked) == MAX_REDIRECTS + 1


def test_answers_in_between_leave_no_connection_open(
    client: httpx.Client, answers: list[Answer], tmp_path: Path
) -> None:
    # httpx keeps at most 100 connections: left open, they would be used up.
    answers[:] = [*chain.from_iterable(repeat((Answer(503, b"busy" * 10_000), OK), 120))]
    for number in range(120):
        download(client, "/x", tmp_path / f"{number}", 100)


def test_the_proxy_of_the_environment_is_used_and_its_exceptions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def answering(request: Request) -> Answer:
        return Answer(200, {"host": request.headers["host"]})

    with serving(answering) as proxy, httpx.Client(transport=PatientTransport()) as client:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "own.invalid")
        assert client.get("http://ci.invalid/api").json() == {"host": "ci.invalid"}
        with pytest.raises(httpx.ConnectError):
            PatientTransport(sleep=[].append).handle_request(httpx.Request("GET", "http://own.invalid/api"))
        with serving(answering) as server:
            assert client.get(f"{server.url}/api").json() == {"host": f"127.0.0.1:{server.server_port}"}
        assert proxy.paths() == ["/api"]
