"""A certificate of an authority of one's own is believed where `ca_file` names it, and no other is."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from ml.errors import SettingsError, SourceError
from ml.sources import Limits, Surroundings, configured
from ml.sources.http import download, patient_transport
from tests.ml.sources.certificates import Authority
from tests.ml.sources.gitlab.server import small
from tests.ml.sources.replay_server import Answer, ReplayServer

TOKEN = "glpat-s3cret"  # pragma: allowlist secret
UNBELIEVED = r"its certificate is not believed \(.*\); right would be .* that is in the PEM file of ca_file"
SOURCES: dict[str, dict[str, Any]] = {
    "gitlab": {"path": "acme/shop"},
    "jenkins": {"job": "acme/shop"},
    "github_actions": {"repository": "acme/shop"},
}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def server(authority: Authority) -> Iterator[ReplayServer]:
    with authority.serving(small()) as server:
        yield server


def told(kind: str, url: str, landing: Path, **options: Any) -> list[str]:
    """What the test of a source finds."""
    known = configured.options_of(kind).model_validate(
        {"kind": kind, "project": "shop", "url": url, **SOURCES[kind], **options}
    )
    source = configured.ConfiguredSource("shop", kind, known)
    with source.open(TOKEN, Surroundings(landing, Limits(10_000, "salt"))) as opened:
        return [finding.detail for finding in opened.test()]


def test_a_server_of_ones_own_authority_is_believed(authority: Authority, server: ReplayServer, tmp_path: Path) -> None:
    assert told("gitlab", server.url, tmp_path, ca_file=str(authority.pem))[0] == "acme/shop can be read"


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_server_believes_the_authority_and_says_ca_file_without_it(
    kind: str, authority: Authority, server: ReplayServer, tmp_path: Path
) -> None:
    refused = told(kind, server.url, tmp_path)
    assert server.asked == []
    assert any("its certificate is not believed" in detail and "ca_file" in detail for detail in refused)
    believed = told(kind, server.url, tmp_path, ca_file=str(authority.pem))
    assert server.asked != []
    assert not any("certificate" in detail for detail in believed)


def test_another_authority_is_not_enough(server: ReplayServer, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    (detail,) = told("gitlab", server.url, tmp_path, ca_file=str(other.pem))
    assert "its certificate is not believed" in detail
    assert server.asked == []


@pytest.mark.parametrize(("fields", "why"), [({"host": "127.0.0.2"}, "mismatch"), ({"days": -1}, "expired")])
def test_a_certificate_of_another_name_or_time_is_not_believed(
    fields: dict[str, Any], why: str, tmp_path: Path
) -> None:
    wrong = Authority(tmp_path / "wrong", **fields)
    with wrong.serving(small()) as server:
        (detail,) = told("gitlab", server.url, tmp_path, ca_file=str(wrong.pem))
    assert why in detail
    assert server.asked == []


def test_a_file_adds_to_the_authorities_of_this_machine(authority: Authority) -> None:
    from ml.sources.trust import trusting

    context, usual = trusting(authority.pem), httpx.create_ssl_context()
    assert not isinstance(context, bool)
    assert context.cert_store_stats()["x509_ca"] > usual.cert_store_stats()["x509_ca"] > 0


def test_a_download_of_a_server_that_is_not_believed_is_not_tried_again(server: ReplayServer, tmp_path: Path) -> None:
    transport = patient_transport(None)
    with httpx.Client(transport=transport) as client, pytest.raises(SourceError, match=UNBELIEVED):
        download(client, f"{server.url}/x", tmp_path / "x", 100)


def test_believing_anybody_cannot_be_asked_for() -> None:
    for option in ({"verify": False}, {"ca_file": False}, {"ca_file": ""}, {"insecure": True}):
        with pytest.raises(ValidationError):
            configured.options_of("gitlab").model_validate({"project": "p", "path": "a", **option})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "is no file"),
        (b"", "holds no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", "holds no certificate in PEM"),
        (b"\x30\x82\x01\x0a\x00\xff", "holds no certificate in PEM"),
        (b"\xff" * 1_000_001, "is larger than 1000000 bytes"),
    ],
)
def test_a_file_that_holds_no_certificate_is_told_with_its_line(
    content: bytes | None, why: str, tmp_path: Path
) -> None:
    pem = tmp_path / "ca.pem"
    if content is not None:
        pem.write_bytes(content)
    file = tmp_path / "fourgate.toml"
    file.write_text(f'[source.shop]\nkind = "gitlab"\nproject = "p"\npath = "a"\nca_file = "{pem}"\n')
    with pytest.raises(SettingsError) as refused:
        configured.load(file)
    assert f"{file}, line 5: ca_file: " in str(refused.value)
    assert f"{pem}" in str(refused.value)
    assert why in str(refused.value)
    assert "right would be a PEM file" in str(refused.value)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="is no file"):
        patient_transport(tmp_path / "pipe")


def test_comments_of_a_bundle_in_any_language_do_not_matter(authority: Authority, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes("# Haus-Zertifikat für Köln\n".encode() + authority.pem.read_bytes())
    with authority.serving(lambda _: Answer(200, {})) as server:
        transport = patient_transport(bundle)
        with httpx.Client(transport=transport) as client:
            assert client.get(server.url).json() == {}
