"""Runs are pushed over HTTP to a real server with a real PostgreSQL behind it."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from ml.receiver.rate import Rate
from ml.settings import Settings
from ml.sources import Limits, find_batch, read_batch
from ml.sources.pseudonyms import pseudonym
from ml.stages.opening import open_warehouse
from tests.ml.receiver.serving import (
    PROJECT,
    REPORT,
    Part,
    in_thread,
    landed,
    left_over,
    manifest,
    new_token,
    parts,
    push,
    raw_body,
)

pytestmark = pytest.mark.integration
LIMITS = Limits(1_000_000, "fourgate")


@pytest.fixture
def token(settings: Settings) -> str:
    return new_token(settings)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with in_thread(settings) as served:
        yield served


def refused(settings: Settings, answer: httpx.Response, status: int) -> str:
    """The error of an answer that left nothing behind."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert set(told) == {"error", "expected"}
    assert told["error"]
    assert told["expected"]
    assert (landed(settings), left_over(settings)) == ([], [])
    return str(told["error"])


def test_a_pushed_run_lands_with_its_variants(settings: Settings, url: str, token: str) -> None:
    sent = parts(manifest(attempt=2, author="Ada"), {"a.xml": REPORT, "linux/py3.12/b.xml": REPORT})
    answer = push(url, token, sent)
    assert answer.status_code == 201
    told = answer.json()
    assert {**told, "batch_id": ""} == {
        "batch_id": "",
        "project": PROJECT,
        "run_id": "1",
        "attempt": 2,
        "reports": 2,
        "refused": [],
    }
    rows = read_batch(find_batch(settings.home / "landing", told["batch_id"]), LIMITS)
    found = rows.frames["test_results"]
    assert sorted(found["variant"]) == ["default", "linux/py3.12"]
    assert len(rows.refused) == 0
    assert left_over(settings) == []
    assert b"Ada" not in b"".join(path.read_bytes() for path in settings.home.rglob("*") if path.is_file())


def test_who_opts_out_while_the_endpoint_runs_is_in_no_later_push(settings: Settings, url: str, token: str) -> None:
    def author_of(run_id: str) -> object:
        batch_id = push(url, token, parts(manifest(run_id=run_id, author="Ada"))).json()["batch_id"]
        (author,) = read_batch(find_batch(settings.home / "landing", batch_id), LIMITS).frames["runs"]["author_id"]
        return author

    assert author_of("1") == pseudonym("Ada", PROJECT, "fourgate")
    with open_warehouse(settings) as warehouse:
        warehouse.forget_person(pseudonym("Ada", PROJECT, "fourgate"), PROJECT, "test")
    assert author_of("2") is None
    assert author_of("1") is None


def test_the_same_content_again_is_the_same_batch(settings: Settings, url: str, token: str) -> None:
    first, second = push(url, token), push(url, token)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert landed(settings) == [first.json()["batch_id"]]


def test_ten_at_once_are_one_batch_that_one_of_them_made(settings: Settings, url: str, token: str) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: push(url, token), range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert landed(settings) == sorted({answer.json()["batch_id"] for answer in answers})
    assert left_over(settings) == []


def test_a_run_without_reports_is_an_announced_change(url: str, token: str) -> None:
    answer = push(url, token, parts(reports={}))
    assert (answer.status_code, answer.json()["reports"]) == (201, 0)


def test_a_report_of_any_name_is_a_report(settings: Settings, url: str, token: str) -> None:
    answer = push(url, token, parts(reports={".hidden/a": REPORT, "ctrf.json": b"[]"}))
    assert answer.json()["reports"] == 2
    rows = read_batch(find_batch(settings.home / "landing", answer.json()["batch_id"]), LIMITS)
    assert list(rows.frames["test_results"]["variant"]) == [".hidden"]
    assert list(rows.refused["payload"]) == ["ctrf.json"]


def test_what_the_manifest_says_of_a_variant_wins(settings: Settings, url: str, token: str) -> None:
    listed = manifest(reports=[{"path": "linux/report.xml", "variant": "Linux"}, {"path": "gone.xml"}])
    answer = push(url, token, parts(listed))
    assert answer.json()["refused"] == [{"reason": "missing_report", "payload": "manifest.json", "value": "gone.xml"}]
    rows = read_batch(find_batch(settings.home / "landing", answer.json()["batch_id"]), LIMITS)
    assert list(rows.frames["test_results"]["variant"]) == ["Linux"]


@pytest.mark.parametrize("given", ["", "Bearer", "Basic abc", "Bearer fgp_wrong", "Bearer \xff\xfe"])
def test_without_a_token_that_is_known_nothing_is_read(settings: Settings, url: str, given: str, token: str) -> None:
    answer = push(url, token, headers={"Authorization": given.encode("latin-1")})
    refused(settings, answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_revoked_token_is_useless_at_once(settings: Settings, url: str, token: str) -> None:
    with open_warehouse(settings) as warehouse:
        warehouse.revoke_push_token("ci", "test")
    refused(settings, push(url, token), 401)


def test_a_token_of_another_project_is_refused(settings: Settings, url: str) -> None:
    other = new_token(settings, "other", "acme/other")
    assert "not for the project" in refused(settings, push(url, other), 403)


def test_a_report_that_is_too_large_is_refused(settings: Settings, url: str, token: str) -> None:
    assert push(url, token, parts(reports={"a.xml": REPORT.ljust(1_000_000)})).status_code == 201
    for batch in landed(settings):
        (settings.home / "landing" / "push" / batch).rename(settings.home / batch)
    refused(settings, push(url, token, parts(reports={"a.xml": b"x" * 1_000_001})), 413)


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_request_that_is_too_large_is_refused(settings: Settings, url: str, token: str, is_announced: bool) -> None:
    sent = parts(reports={f"{number}.xml": b"x" * 900_000 for number in range(6)})
    request = httpx.Request("POST", url, files=sent)
    body = request.read()
    content = body if is_announced else iter([body[at : at + 65_536] for at in range(0, len(body), 65_536)])
    answer = push(url, token, content=content, headers={"Content-Type": request.headers["content-type"]})
    assert refused(settings, answer, 413) == "the request is too large"


def test_too_many_reports_are_refused(settings: Settings, url: str, token: str) -> None:
    sent = parts(reports={f"{number}.xml": b"x" for number in range(5_001)})
    assert "more than 5000 reports" in refused(settings, push(url, token, sent), 413)


HOSTILE = {
    "upwards": b"../x.xml",
    "upwards inside": b"a/../../x.xml",
    "absolute": b"/etc/x.xml",
    "drive": b"C:/x.xml",
    "backslashes": b"..\\\\..\\\\x.xml",
    "NUL": b"a\x00.xml",
    "no UTF-8": b"\xff.xml",
    "long part": b"x" * 300,
    "long path": b"/".join([b"x" * 100] * 20),
    "deep": b"/".join([b"x"] * 50),
    "none": b"",
    "dots": b".",
    "manifest": b"sub/manifest.json",
    "manifest in capitals": b"MANIFEST.JSON",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_is_refused_and_nothing_is_written(
    settings: Settings, url: str, token: str, name: bytes
) -> None:
    kind, body = raw_body(name)
    before = sorted(settings.home.parent.rglob("*"))
    answer = push(url, token, content=body, headers={"Content-Type": kind})
    # The parser itself ends at a control character.
    refused(settings, answer, 400 if b"\x00" in name and answer.status_code == 400 else 422)
    assert sorted(settings.home.parent.rglob("*")) == before


@pytest.mark.parametrize("names", [("a.xml", "a.xml"), ("a", "a/b.xml"), ("a.xml", "./a.xml")])
def test_two_reports_of_one_name_are_refused(settings: Settings, url: str, token: str, names: tuple[str, str]) -> None:
    sent: list[Part] = [*parts(reports={}), *(("report", (name, REPORT)) for name in names)]
    assert "duplicate_entry" in refused(settings, push(url, token, sent), 422)


@pytest.mark.parametrize(
    "sent",
    [
        ("application/json", b"{}", 415),
        ("", b"", 415),
        ("multipart/form-data", b"--X--", 400),
        ("multipart/form-data; boundary=" + "x" * 3_000, b"", 400),
        ("multipart/form-data; boundary=X", b"", 400),
        ("multipart/form-data; boundary=X", b"no parts at all", 400),
        ("multipart/form-data; boundary=X", b"--X--\r\n", 400),
        ("multipart/form-data; boundary=X", raw_body(b"a.xml")[1][:-10], 400),
        ("multipart/form-data; boundary=X", b"--X\r\n" + b"h: v\r\n" * 100_000, 400),
        ("multipart/form-data; boundary=X", b"--X\r\nh: " + b"v" * 100_000, 400),
        ("multipart/form-data; boundary=X", b'--X\r\nContent-Disposition: form-data; name="z"\r\n\r\n\r\n--X--', 400),
        ("multipart/form-data; boundary=X", b"--X\r\n\r\n\r\n--X--", 400),
    ],
)
def test_a_body_of_another_form_is_refused(
    settings: Settings, url: str, token: str, sent: tuple[str, bytes, int]
) -> None:
    kind, body, status = sent
    refused(settings, push(url, token, content=body, headers={"Content-Type": kind}), status)


def test_two_manifests_are_refused(settings: Settings, url: str, token: str) -> None:
    refused(settings, push(url, token, [*parts(), *parts(reports={})]), 400)


def test_a_packed_body_is_refused(settings: Settings, url: str, token: str) -> None:
    kind, body = raw_body(b"a.xml")
    refused(settings, push(url, token, content=body, headers={"Content-Type": kind, "Content-Encoding": "gzip"}), 415)


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 10_000 + b"}"])
def test_a_manifest_that_is_no_json_object_is_refused(
    settings: Settings, url: str, token: str, document: bytes
) -> None:
    refused(settings, push(url, token, parts(document)), 400)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"run_id": None}, "run_id: missing_field"),
        ({"project": None}, "project: missing_field"),
        ({"commit_sha": ""}, "commit_sha: missing_field"),
        ({"started_at": "yesterday"}, "started_at: not_a_timestamp"),
        ({"started_at": "2026-01-01T08:00:00"}, "started_at: not_a_timestamp"),
        ({"attempt": "first"}, "attempt: not_an_integer"),
        ({"run_id": "a\x00"}, "run_id: undecodable"),
    ],
)
def test_a_manifest_with_a_wrong_field_is_refused(
    settings: Settings, url: str, token: str, changed: dict[str, object], told: str
) -> None:
    assert told in refused(settings, push(url, token, parts(manifest(**changed))), 422)


def test_a_manifest_that_nests_too_deeply_is_refused(settings: Settings, url: str, token: str) -> None:
    for depth in (100, 900, 990, 100_000):
        deep = json.dumps(manifest()).replace("}", ', "author": ' + "[" * depth + "]" * depth + "}")
        answer = push(url, token, parts(deep.encode()))
        assert answer.status_code in (200, 201, 400, 422), answer.text


def test_a_list_of_reports_that_makes_the_manifest_too_large_is_refused(
    settings: Settings, url: str, token: str
) -> None:
    long = "/".join(["x" * 200] * 4)
    sent = parts(reports={f"{long}/{number}.xml": b"" for number in range(800)})
    assert "manifest with the list of reports" in refused(settings, push(url, token, sent), 413)


def test_a_large_body_that_is_refused_early_gets_its_answer(settings: Settings, url: str) -> None:
    sent = parts(reports={f"{number}.xml": b"x" * 1_000_000 for number in range(40)})
    refused(settings, push(url, "fgp_wrong", sent), 401)


def test_who_sends_nothing_for_long_is_not_waited_for(
    settings: Settings, url: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.receiver.incoming.IDLE_S", 0.2)
    kind, body = raw_body(b"a.xml")
    at = urlsplit(url)
    head = f"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
    with socket.create_connection((str(at.hostname), int(at.port or 0)), timeout=30) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-20])
        told = b"".join(iter(lambda: client.recv(4_096), b""))
    assert told.startswith(b"HTTP/1.1 408")
    assert (landed(settings), left_over(settings)) == ([], [])


def test_a_body_that_breaks_off_leaves_nothing(settings: Settings, url: str, token: str) -> None:
    kind, body = raw_body(b"a.xml")
    at = urlsplit(url)
    head = f"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
    with socket.create_connection((str(at.hostname), int(at.port or 0))) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-20])
        until = time.monotonic() + 30
        while not left_over(settings) and time.monotonic() < until:
            time.sleep(0.01)
        assert left_over(settings)
    while left_over(settings) and time.monotonic() < until:
        time.sleep(0.01)
    assert (landed(settings), left_over(settings)) == ([], [])
    assert push(url, token).status_code == 201


def test_each_token_has_a_rate_of_its_own(settings: Settings, token: str) -> None:
    other = new_token(settings, "second")
    moment = [0.0]
    with in_thread(settings, Rate(burst=2, per_second=0.1, clock=lambda: moment[0])) as url:
        assert [push(url, token).status_code for _ in range(3)] == [201, 200, 429]
        answer = push(url, token)
        assert (answer.headers["retry-after"], set(answer.json())) == ("10", {"error", "expected"})
        assert push(url, other).status_code == 200
        moment[0] = 10.0
        assert [push(url, token).status_code for _ in range(2)] == [200, 429]


def test_who_has_no_token_that_is_known_may_not_ask_too_often(settings: Settings, token: str) -> None:
    moment = [0.0]
    with in_thread(settings, Rate(burst=3, per_second=0.1, clock=lambda: moment[0])) as url:
        tried = [push(url, f"fgp_{number}").status_code for number in range(2)]
        tried += [httpx.post(f"{url}/api/v1/uploads").status_code, push(url, "fgp_other").status_code]
        assert tried == [401, 401, 401, 429]
        answer = httpx.post(f"{url}/api/v1/runs")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
        assert push(url, token).status_code == 201
        moment[0] = 10.0
        assert [push(url, "fgp_more").status_code for _ in range(2)] == [401, 429]


def test_a_secret_is_in_no_answer(settings: Settings, url: str, token: str) -> None:
    secret = "ghp_" + "a1B2" * 9  # pragma: allowlist secret
    listed = [{"path": f"{token}.xml"}, {"path": f"{secret}.xml"}]
    answers = [
        push(url, token, parts(manifest(run_id=token, reports=listed))),
        push(url, token, parts(manifest(project=token))),
        push(url, token, parts(manifest(started_at=token))),
        push(url, token, parts(reports={f"../{token}": REPORT})),
        push(url, token, parts(token.encode())),
    ]
    assert [answer.status_code for answer in answers] == [201, 403, 422, 422, 400]
    told = "".join(answer.text + str(answer.headers) for answer in answers)
    assert token not in told
    assert secret not in told


def test_without_postgresql_it_says_later_and_nothing_of_where(
    settings: Settings, url: str, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    gone = settings.model_copy(update={"warehouse_dsn": type(settings.warehouse_dsn)("host=/nowhere user=u")})
    home = settings.home.parent / "other"
    with in_thread(gone.model_copy(update={"home": home})) as other:
        answer = push(other, token)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert "nowhere" not in answer.text
    assert "/nowhere" in caplog.text


def test_a_landing_area_that_cannot_be_written_is_told_as_later(settings: Settings, url: str, token: str) -> None:
    (settings.home / "landing").write_text("in the way")
    answer = push(url, token)
    assert answer.status_code == 503
    assert str(settings.home) not in answer.text
    (settings.home / "landing").unlink()
    assert push(url, token).status_code == 201


def test_health_and_document_need_no_token(url: str) -> None:
    assert httpx.get(f"{url}/api/v1/health").json() == {"status": "ok"}
    document = httpx.get(f"{url}/api/v1/openapi.json").json()
    assert set(document["paths"]) == {
        "/api/v1/health",
        "/api/v1/runs",
        "/api/v1/uploads",
        "/api/v1/uploads/{upload_id}",
    }
    answers = document["paths"]["/api/v1/runs"]["post"]["responses"]
    assert set(answers) == {"200", "201", "400", "401", "403", "408", "413", "415", "422", "429", "503"}
    assert httpx.get(f"{url}/docs").status_code == 404
    assert set(httpx.get(f"{url}/api/v1/runs").json()) == {"error", "expected"}
