"""Secrets here are put together from parts, so that no scanner takes this file for a leak."""

import random
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.sources.landing import Payload, Shelf, land
from ml.sources.scrubbing import LONGEST, scrub, scrubbed

LETTERS = string.ascii_letters + string.digits


def chance(length: int, seed: int = 7, letters: str = LETTERS) -> str:
    return "".join(random.Random(seed).choices(letters, k=length))


SECRETS = [
    "gh" + "p_" + chance(36),
    *[f"gh{kind}_" + chance(36) for kind in "ousr"],
    "github" + "_pat_" + chance(60),
    *[f"gl{kind}-" + chance(20) for kind in ("pat", "dt", "rt", "cbt", "ptt")],
    *["A" + kind + "IA" + chance(16, letters=string.ascii_uppercase) for kind in "KS"],
    "AI" + "za" + chance(35),
    *[f"xox{kind}-" + chance(10) for kind in "abprs"],
    "np" + "m_" + chance(36),
    "py" + "pi-" + chance(80),
    *[f"{kind}k_live_" + chance(20) for kind in "sr"],
    ".".join(["ey" + "J" + chance(20), chance(40), chance(30)]),
    chance(40, seed=8),
]


def whole(text: bytes, size: int) -> bytes:
    return b"".join(scrubbed(iter([text[at : at + size] for at in range(0, len(text), size)])))


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(("before", "after"), [("", ""), ("login with ", " failed"), ('<failure message="', '">')])
def test_a_known_shape_becomes_asterisks_of_its_length(secret: str, before: str, after: str) -> None:
    assert scrub(f"{before}{secret}{after}".encode()) == f"{before}{'*' * len(secret)}{after}".encode()


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("DB_PASSWORD=hunter2-hunter3", "hunter2-hunter3"),
        ('"api_key": "a1b2c3d4e5f6"', "a1b2c3d4e5f6"),  # pragma: allowlist secret
        ("Client-Secret: Zx81spectrum48k", "Zx81spectrum48k"),
        ("token=&quot;q1w2e3r4t5&quot;", "q1w2e3r4t5"),
        ("passwd \t: 'hunter2-hunter3'", "hunter2-hunter3"),
        ("AWS_ACCESS_KEY=a1b2c3d4e5f6", "a1b2c3d4e5f6"),  # pragma: allowlist secret
        ("accesskey:&quot;a1b2c3d4e5f6", "a1b2c3d4e5f6"),  # pragma: allowlist secret
        ("apikey&quot;=a1b2c3d4e5f6", "a1b2c3d4e5f6"),  # pragma: allowlist secret
        ("redis://:s3cr3t@cache", "s3cr3t"),  # pragma: allowlist secret
        ("Authorization: Bearer abcdefghijklmnop.qrst", "abcdefghijklmnop.qrst"),
        ("clone https://ci:s3cr3t@git.example.org/x", "s3cr3t"),  # pragma: allowlist secret
        ("-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END", "MIIEow\nIBAAKC"),
    ],
)
def test_what_is_given_as_a_secret_is_taken_out(text: str, secret: str) -> None:
    clean = scrub(text.encode())
    assert secret.encode() not in clean
    assert len(clean) == len(text)


@pytest.mark.parametrize(
    "text",
    [
        '<testcase classname="org.example.http2.TokenParserTest" name="token=missing" time="0.01"/>',
        "com.example.integration.ShouldHandle3rdPartyRequestsWhenTheConfigurationOfTheGatewayIsMissing",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709 of 2026-03-01T10:00:00Z",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",  # pragma: allowlist secret
        "/home/runner/work/shop/target/test-dir/Cluster-3aac9efd-e594-4f12-b1c2-0123456789ab/log_0",
        "see https://example.org:8080/a@b and ssh://git@example.org/x",
        "test_keys[password:asterisks]",
    ],
)
def test_names_hashes_and_paths_stay(text: str) -> None:
    assert scrub(text.encode()) == text.encode()


@pytest.mark.parametrize("rest", ["</failure><testcase name='b'/>", '","name":"b"', ",failed,0.5"])
def test_a_private_key_ends_with_the_field_that_holds_it(rest: str) -> None:
    head = "-----BEGIN " + "PRIVATE KEY-----"
    text = f"{head}\nMIIEow\n{rest}".encode()
    assert scrub(text) == b"*" * (len(text) - len(rest)) + rest.encode()


@given(st.integers(0, 300), st.integers(1, 300), st.sampled_from(SECRETS))
def test_a_secret_is_found_wherever_a_chunk_ends(place: int, size: int, secret: str) -> None:
    lines = b"a line of output\n" * 1_200
    text = lines + b"." * place + b" " + secret.encode() + b" " + b"." * 300 + b"\n" + lines
    assert whole(text, LONGEST + size) == text.replace(secret.encode(), b"*" * len(secret))


def test_a_secret_across_large_chunks_is_found() -> None:
    lines = b"." * 99 + b"\n"
    text = lines * 170 + SECRETS[0].encode() + b"\n" + lines * 500
    assert whole(text, LONGEST + 1_000) == text.replace(SECRETS[0].encode(), b"*" * len(SECRETS[0]))


@given(st.binary(max_size=400))
def test_any_bytes_keep_their_length_and_scrubbing_twice_changes_nothing_more(text: bytes) -> None:
    clean = scrub(text)
    assert len(clean) == len(text)
    assert scrub(clean) == clean


def test_what_lands_holds_no_secret_and_a_binary_file_is_left_alone(tmp_path: Path) -> None:
    text = f"password={SECRETS[0]}".encode()
    (tmp_path / "report.xml").write_bytes(text)
    payloads = [Payload("a.xml", "a.xml", tmp_path / "report.xml"), Payload("b.bin", "b.bin", text, is_text=False)]
    batch = land(Shelf(tmp_path / "landing", "junit", "shop"), payloads, {})
    landed = Path(batch.folder) / "payloads"
    assert (landed / "a.xml").read_bytes() == b"password=" + b"*" * len(SECRETS[0])
    assert (landed / "b.bin").read_bytes() == text
