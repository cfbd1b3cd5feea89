"""Tokens and keys: where they go, and where they never appear."""

import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ml.errors import SourceError
from tests.ml.sources.github.collecting import collect, downloaded, find, keys, shop
from tests.ml.sources.github.server import (
    REPOSITORY,
    SIGNATURE,
    TOKEN,
    Answer,
    GitHubServer,
    run_payload,
)

pytestmark = pytest.mark.slow


def test_the_token_goes_to_the_api_only_and_into_no_record_and_no_error(
    github: GitHubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop(github, 1)
    with caplog.at_level(logging.DEBUG):
        collect(github, tmp_path)
        github.faults = ["500", "cut", "429"]
        collect(github, tmp_path)
        github.special[f"/repos/{REPOSITORY}/actions/runs"] = Answer({"message": TOKEN}, 403)
        with pytest.raises(SourceError) as raised:
            find(github)
    sent = {asked.host: TOKEN in asked.headers.get("authorization", "") for asked in github.asked}
    assert sent == {github.url.removeprefix("http://"): True, github.store: False}
    chain: BaseException | None = raised.value
    while chain is not None:
        assert TOKEN not in repr(chain)
        chain = chain.__cause__
    assert TOKEN not in caplog.text
    assert SIGNATURE not in caplog.text
    assert TOKEN not in repr(vars(raised.value))


def test_an_answer_that_redirects_to_another_host_does_not_take_the_token_along(github: GitHubServer) -> None:
    github.stored[1] = b"{}"
    moved = Answer(None, 302, {"Location": f"http://{github.store}/store/1"})
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = moved
    with pytest.raises(SourceError, match="right would be an object with total_count"):
        find(github)
    assert [TOKEN in asked.headers.get("authorization", "") for asked in github.asked] == [True, False]


def test_a_repository_that_was_renamed_is_read_at_its_new_name(github: GitHubServer) -> None:
    listed = {"total_count": 1, "workflow_runs": [run_payload(1)]}
    github.special["/repositories/5/actions/runs"] = Answer(listed)
    moved = Answer(None, 301, {"Location": f"{github.url}/repositories/5/actions/runs"})
    github.special[f"/repos/{REPOSITORY}/actions/runs"] = moved
    assert keys(find(github)) == [("1", 1)]
    assert all(TOKEN in asked.headers["authorization"] for asked in github.asked)


def test_a_store_that_refuses_is_named_without_its_signature(github: GitHubServer, tmp_path: Path) -> None:
    shop(github, 1)
    github.special["/store/9000"] = Answer({}, 403)
    with pytest.raises(SourceError, match="answered 403 for /store/9000, where it keeps an artifact") as raised:
        downloaded(github, tmp_path)
    assert SIGNATURE not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("token", ["ghs_a b", "ghs_a\nb", "ghs_\N{SNOWMAN}"])
def test_a_token_that_can_be_none_is_refused_unsent(github: GitHubServer, token: str) -> None:
    with pytest.raises(SourceError, match="right would be one line of text") as raised:
        find(github, secret=token)
    assert token not in str(raised.value)
    assert github.asked == []


def test_line_ends_around_a_token_do_no_harm(github: GitHubServer) -> None:
    github.add(run_payload(1))
    assert keys(find(github, secret=f"{TOKEN}\n")) == [("1", 1)]


def test_without_a_token_nobody_signs_in(github: GitHubServer) -> None:
    github.add(run_payload(1))
    github.tokens = {""}
    assert keys(find(github, secret="")) == [("1", 1)]
    assert "authorization" not in github.asked[0].headers


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def test_an_app_signs_in_with_its_key_for_the_repositorys_installation(
    github: GitHubServer, tmp_path: Path, key: rsa.RSAPrivateKey
) -> None:
    shop(github, 2)
    github.app_key = key.public_key()
    github.faults = ["500", "", "500"]
    (first, second) = downloaded(github, tmp_path, secret=pem(key), app_id=12)
    assert [first.document["run_id"], second.document["run_id"]] == ["1", "2"]
    signed = [asked.path for asked in github.asked if asked.headers.get("authorization", "").startswith("Bearer")]
    assert signed == [f"/repos/{REPOSITORY}/installation"] * 2 + ["/app/installations/77/access_tokens"] * 2


def test_what_is_no_private_key_is_said_without_it(github: GitHubServer) -> None:
    with pytest.raises(SourceError, match="no private key of a GitHub App") as raised:
        find(github, secret="-----BEGIN nonsense", app_id=12)
    assert "nonsense" not in str(raised.value)


def test_an_app_whose_key_is_another_is_told_so(github: GitHubServer, key: rsa.RSAPrivateKey) -> None:
    path = f"/repos/{REPOSITORY}/installation"
    github.special[path] = Answer({"message": "A JSON web token could not be decoded"}, 401)
    github.app_key = key.public_key()
    with pytest.raises(SourceError, match="the key is not the App's"):
        find(github, secret=pem(key), app_id=12)


def test_an_app_that_gets_no_token_is_told_so(github: GitHubServer, key: rsa.RSAPrivateKey) -> None:
    github.app_key = key.public_key()
    github.special["/app/installations/77/access_tokens"] = Answer({"message": "suspended"}, 403)
    with pytest.raises(SourceError, match="answered 403 for /app/installations/77/access_tokens"):
        find(github, secret=pem(key), app_id=12)
