"""Uploads in pieces against a real server: broken lines, restarts, lost answers, and what is refused."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from ml.errors import RefusedRequest
from ml.receiver import uploads as uploads_module
from ml.receiver.rate import Rate
from ml.receiver.uploads import Uploads
from ml.settings import Settings
from ml.stages.opening import open_warehouse
from ml.warehouse import PushToken
from tests.ml.receiver.serving import PROJECT, Process, in_thread, landed, new_token, push, raw_body

pytestmark = pytest.mark.integration
TYPE, BODY = raw_body(b"linux/report.xml")
HALF = len(BODY) // 2


@pytest.fixture
def token(settings: Settings) -> str:
    return new_token(settings)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with in_thread(settings, Rate(burst=1_000_000)) as served:
        yield served


def ask(url: str, token: str, method: str, content: bytes = b"", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["Authorization"] = f"Bearer {token}"
    return httpx.request(method, url, headers=named, content=content, timeout=60, trust_env=False)


def start(url: str, token: str, body: bytes = BODY, **headers: str) -> httpx.Response:
    given = {"Content_Type": TYPE, "Upload_Length": str(len(body)), **headers}
    return ask(f"{url}/api/v1/uploads", token, "POST", **given)


def begun(url: str, token: str, body: bytes = BODY) -> str:
    answer = start(url, token, body)
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "0")
    return url + answer.headers["location"]


def patch(place: str, token: str, offset: int, piece: bytes) -> httpx.Response:
    return ask(place, token, "PATCH", piece, Upload_Offset=str(offset), Content_Type="application/partial-upload")


def offset_of(place: str, token: str) -> tuple[int, str, str]:
    answer = ask(place, token, "HEAD")
    return answer.status_code, answer.headers.get("upload-offset", ""), answer.headers.get("upload-complete", "")


def kept(settings: Settings) -> list[str]:
    return sorted(path.name for path in (settings.home / "receiver" / "uploads").iterdir())


def test_pieces_become_the_run_that_one_push_is(settings: Settings, url: str, token: str) -> None:
    place = begun(url, token)
    assert offset_of(place, token) == (204, "0", "?0")
    first = patch(place, token, 0, BODY[:HALF])
    assert (first.status_code, first.headers["upload-offset"], first.content) == (204, str(HALF), b"")
    assert landed(settings) == []
    last = patch(place, token, HALF, BODY[HALF:])
    assert last.status_code == 201
    assert landed(settings) == [last.json()["batch_id"]]
    again = push(url, token, content=BODY, headers={"Content-Type": TYPE})
    assert (again.status_code, again.json()) == (200, last.json())


def test_the_answer_to_the_last_piece_can_be_had_again(settings: Settings, url: str, token: str) -> None:
    place = begun(url, token)
    first = patch(place, token, 0, BODY)
    assert offset_of(place, token) == (204, str(len(BODY)), "?1")
    for offset, piece in ((0, BODY), (len(BODY), b"")):
        again = patch(place, token, offset, piece)
        assert (again.status_code, again.json()) == (201, first.json())
    assert len(landed(settings)) == 1


def test_another_offset_is_refused_with_the_right_one(url: str, token: str) -> None:
    place = begun(url, token)
    assert patch(place, token, 0, BODY[:HALF]).status_code == 204
    for offset in (0, HALF - 1, HALF + 1, len(BODY)):
        answer = patch(place, token, offset, BODY[offset:])
        assert (answer.status_code, answer.headers["upload-offset"]) == (409, str(HALF))
    assert offset_of(place, token) == (204, str(HALF), "?0")


def test_what_came_before_a_broken_line_stays(url: str, token: str) -> None:
    place = begun(url, token)
    address = urlsplit(place)
    head = f"PATCH {address.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nUpload-Offset: 0\r\n"
    with socket.create_connection((str(address.hostname), address.port or 0)) as line:
        line.sendall(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:HALF])
        until = threading.Event()
        for _ in range(3_000):
            if offset_of(place, token)[1] == str(HALF):
                break
            until.wait(0.01)
        busy = patch(place, token, HALF, BODY[HALF:])
        assert (busy.status_code, "another request is writing" in busy.text) == (409, True)
    for _ in range(3_000):
        answer = patch(place, token, HALF, BODY[HALF:])
        if answer.status_code != 409:
            break
        until.wait(0.01)
    assert answer.status_code == 201


def test_another_token_sees_no_upload(settings: Settings, url: str, token: str) -> None:
    place = begun(url, token)
    other = new_token(settings, "other")
    assert offset_of(place, other)[0] == 404
    assert patch(place, other, 0, BODY).status_code == 404
    for name in ("0" * 32, "..", "%2e%2e", "x" * 300, "\u00fc"):
        assert ask(f"{url}/api/v1/uploads/{name}", token, "HEAD").status_code == 404
    assert ask(place, "unknown", "HEAD").status_code == 401


def test_a_start_that_is_repeated_finds_what_is_there(settings: Settings, url: str, token: str) -> None:
    place = begun(url, token)
    patch(place, token, 0, BODY[:HALF])
    answer = start(url, token)
    assert (url + answer.headers["location"], answer.headers["upload-offset"]) == (place, str(HALF))
    assert len(kept(settings)) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload_Length": "many"}, 400),
        ({"Upload_Length": "-1"}, 400),
        ({"Upload_Length": "9" * 40}, 400),
        ({"Upload_Length": "5000001"}, 413),
        ({"Content_Type": "application/json"}, 415),
        ({"Content_Type": "multipart/form-data"}, 400),
        ({"Content_Encoding": "gzip"}, 415),
    ],
)
def test_what_cannot_become_a_run_is_refused_before_a_byte_of_it(
    settings: Settings, url: str, token: str, headers: dict[str, str], status: int
) -> None:
    answer = start(url, token, **headers)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "expected"})
    assert kept(settings) == []


def test_more_than_was_announced_is_refused(settings: Settings, url: str, token: str) -> None:
    place = begun(url, token)
    assert patch(place, token, 0, BODY + b"x").status_code == 400
    assert landed(settings) == []
    assert ask(place, token, "PATCH").status_code == 400


def test_a_run_that_is_refused_as_a_whole_leaves_nothing(settings: Settings, url: str, token: str) -> None:
    wrong = BODY.replace(PROJECT.encode(), b"acme/other")
    place = begun(url, token, wrong)
    assert patch(place, token, 0, wrong).status_code == 403
    cut = BODY[:-10]
    assert patch(begun(url, token, cut), token, 0, cut).status_code == 400
    assert (kept(settings), landed(settings)) == ([], [])


def test_a_token_has_a_bounded_number_of_open_uploads(
    settings: Settings, url: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "MAX_OPEN", 2)
    place = begun(url, token)
    begun(url, token, BODY[:-1])
    refused = start(url, token, BODY[:-2])
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert start(url, new_token(settings, "other")).status_code == 201
    assert patch(place, token, 0, BODY).status_code == 201
    assert start(url, token, BODY[:-2]).status_code == 201


def test_an_upload_expires_after_a_day_and_half_made_ones_go(settings: Settings, token: str, tmp_path: Path) -> None:
    moment = [1_000_000.0]
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / ".left").mkdir()
    (folder / ("a" * 32)).mkdir()
    (folder / ("b" * 32)).mkdir()
    (folder / ("b" * 32) / "about.json").write_text(json.dumps({"begun_at": "never"}))
    kept = Uploads(folder, 1_000, lambda: moment[0])
    with open_warehouse(settings) as warehouse:
        known = warehouse.find_push_token(token)
    assert isinstance(known, PushToken)
    made = kept.begin(known, TYPE, 100)
    moment[0] += 24 * 3_600
    assert kept.find(known, made.upload_id) == made
    moment[0] += 1
    with pytest.raises(RefusedRequest, match="no such upload"):
        kept.find(known, made.upload_id)
    second = kept.begin(known, TYPE, 100)
    assert [path.name for path in folder.iterdir()] == [second.upload_id]


def test_an_upload_that_is_whole_but_not_landed_lands_with_an_empty_piece(
    settings: Settings, url: str, token: str
) -> None:
    place = begun(url, token)
    name = place.rpartition("/")[2]
    (settings.home / "receiver" / "uploads" / name / "body").write_bytes(BODY)  # as a kill before landing leaves it
    assert offset_of(place, token) == (204, str(len(BODY)), "?0")
    assert patch(place, token, len(BODY), b"").status_code == 201


@pytest.mark.slow
def test_an_upload_survives_kills_of_the_service(settings: Settings, token: str, tmp_path: Path) -> None:
    places, cuts = {}, [0, HALF // 2, HALF, len(BODY)]
    for start_at, end in pairwise(cuts):
        process = Process(settings, tmp_path / "receiver.log")
        try:
            for number in range(3):
                body = BODY.replace(b'"run_id": "1"', b'"run_id": "%d"' % number)
                if number not in places:
                    places[number] = begun(process.url, token, body + b" " * number).removeprefix(process.url)
                place = process.url + places[number]
                assert offset_of(place, token)[1] == str(start_at)
                full = body + b" " * number
                piece = full[start_at:] if end == len(BODY) else full[start_at:end]
                answer = patch(place, token, start_at, piece)
        finally:
            process.end(signal.SIGKILL)
    assert answer.status_code == 201
    assert len(landed(settings)) == 3
