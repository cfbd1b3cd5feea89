"""Requests made up from the OpenAPI document: whatever comes, the service answers as the document says."""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from ml.receiver.rate import Rate
from ml.settings import Settings
from ml.sources import Limits, find_batch, read_batch
from ml.sources.manifest import KEPT
from tests.ml.receiver.serving import REPORT, in_thread, manifest, new_token, parts, push, raw_body

pytestmark = [pytest.mark.integration, pytest.mark.slow]
EXAMPLES = 60
schemathesis.serializer.alias("application/partial-upload", "application/octet-stream")
UPLOAD = "/api/v1/uploads/{upload_id}"
PATHS = (
    ("/api/v1/runs", "POST"),
    ("/api/v1/health", "GET"),
    ("/api/v1/uploads", "POST"),
    (UPLOAD, "HEAD"),
    (UPLOAD, "PATCH"),
)
CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance]


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with in_thread(settings, Rate(burst=1_000_000)) as served:
        yield served


@pytest.mark.parametrize("is_known", [True, False])
def test_no_request_of_the_document_ends_in_an_error_of_the_server(
    settings: Settings, url: str, is_known: bool
) -> None:
    token = new_token(settings) if is_known else "fgp_unknown"
    document = httpx.get(f"{url}/api/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = url
    seen = set()
    for path, method in PATHS:

        @given(case=schema[path][method].as_strategy())
        @bounded(
            max_examples=EXAMPLES,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: schemathesis.Case) -> None:
            response = case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)
            seen.add(response.status_code)

        ask()
    assert 200 in seen
    assert seen & ({400, 422} if is_known else {401})


def test_whatever_is_sent_in_pieces_is_no_error_of_the_server(settings: Settings, url: str) -> None:
    token = {"Authorization": f"Bearer {new_token(settings)}"}
    content_type, body = raw_body(b"linux/report.xml")
    seen = set()

    @given(
        length=st.integers(-1, 2 * len(body)),
        cuts=st.lists(st.integers(-1, len(body) + 1), max_size=4),
        end=st.binary(),
    )
    # first, while there is room for uploads: most of the others are told to wait
    @example(length=len(body), cuts=[-1, 0], end=b"")
    @bounded(max_examples=EXAMPLES, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
    def ask(length: int, cuts: list[int], end: bytes) -> None:
        headers = {**token, "Content-Type": content_type, "Upload-Length": str(length)}
        begun = httpx.post(f"{url}/api/v1/uploads", headers=headers)
        seen.add(begun.status_code)
        place = url + begun.headers.get("location", "/api/v1/uploads/none")
        for cut in cuts:
            piece = httpx.patch(
                place, headers={**token, "Upload-Offset": str(cut)}, content=(body + end)[max(cut, 0) :]
            )
            looked = httpx.head(place, headers=token)
            seen.update((piece.status_code, looked.status_code))

    ask()
    assert seen <= {200, 201, 204, 400, 404, 409, 429}
    assert {201, 204, 400, 404, 409} <= seen


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["a.xml", "../a.xml", "/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from([*KEPT, "author"]), ANY, max_size=3)
LISTED = st.fixed_dictionaries({"reports": st.lists(st.fixed_dictionaries({"path": ANY, "variant": ANY}), max_size=3)})
NAMES = st.lists(st.text(st.characters(exclude_characters='\r\n"\\', codec="utf-8"), max_size=30), max_size=3)


def test_whatever_manifests_and_names_say_is_no_error_of_the_server(settings: Settings, url: str) -> None:
    token = new_token(settings)
    seen = set()

    @given(fields=FIELDS | LISTED, names=NAMES)
    @bounded(
        max_examples=3 * EXAMPLES,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
    )
    def ask(fields: dict[str, object], names: list[str]) -> None:
        sent = parts(manifest(**fields), reports={})
        answer = push(url, token, [*sent, *(("report", (name, REPORT)) for name in names)])
        seen.add(answer.status_code)
        assert answer.status_code in (200, 201, 400, 403, 413, 422), answer.text
        if answer.status_code in (200, 201):
            read_batch(find_batch(settings.home / "landing", answer.json()["batch_id"]), Limits(1_000_000, "fourgate"))

    ask()
    assert {201, 422} <= seen
