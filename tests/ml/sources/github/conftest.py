"""Fixtures of these tests."""

from collections.abc import Iterator

import pytest

from tests.ml.sources.github.server import (
    GitHubServer,
)


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with GitHubServer() as server:
        yield server
