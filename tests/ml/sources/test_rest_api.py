"""What is no answer of a REST API becomes an error that says what would be right; GitLab and Jenkins are asked so."""

import pytest

from ml.errors import SourceError
from ml.sources.rest_api import RestApi, checked_secret
from tests.ml.sources.replay_server import Answer, patient, serving


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, b"<html>Sign in</html>"), "is no JSON; right would be the root"),
        (Answer(200, b"[" * 100_000), "is no JSON"),
        (Answer(200, b"\xff\xfe\x00"), "is no JSON"),
        (Answer(200, []), "is no JSON object"),
        (Answer(302, headers={"Location": "https://sso.example.org/?token=s1gned"}), "leads elsewhere, to a login"),
        (Answer(200, b"{}", is_cut=True), r"was not answered in 5 attempts \(RemoteProtocolError\)"),
        (Answer(403), "403: ask for more rights"),
        (Answer(418), "418: expected 200"),
    ],
)
def test_what_is_no_answer_is_an_error_that_holds_no_query(answer: Answer, message: str) -> None:
    with (
        serving(lambda _: answer) as server,
        RestApi(server.url, {403: "ask for more rights"}, transport=patient()) as api,
    ):
        with pytest.raises(SourceError, match=message) as refused:
            api.find("x", {"key": "s1gned"})
        assert "127.0.0.1: /x" in str(refused.value)
        assert "s1gned" not in str(refused.value)


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_nothing(status: int) -> None:
    with serving(lambda _: Answer(status)) as server, RestApi(server.url, {}, transport=patient()) as api:
        assert api.find("x") is None


@pytest.mark.parametrize("secret", ["two\nlines", "tökën", "nul\x00"])
def test_a_secret_that_no_header_holds_is_refused_unquoted(secret: str) -> None:
    with pytest.raises(SourceError, match="characters that no token holds") as refused:
        checked_secret(secret)
    assert secret not in str(refused.value)
