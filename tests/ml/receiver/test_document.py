"""Requests made up from the OpenAPI document: whatever comes, the service answers as the document says."""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounded
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from ml.receiver.rate import Rate
from ml.settings import Settings
from tests.ml.receiver.serving import in_thread, new_token

pytestmark = [pytest.mark.integration, pytest.mark.slow]
EXAMPLES = 60
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
    for path, method in (("/api/v1/runs", "POST"), ("/api/v1/health", "GET")):

        @given(case=schema[path][method].as_strategy())
        @bounded(
            max_examples=EXAMPLES,
            deadline=None,
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
