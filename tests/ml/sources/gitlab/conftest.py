"""Fixtures of these tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from ml.sources.gitlab.server import GitLab, Options
from tests.ml.sources.gitlab.collecting import Open
from tests.ml.sources.gitlab.server import TOKEN, Project, small
from tests.ml.sources.replay_server import ReplayServer, patient, serving


@pytest.fixture
def project() -> Project:
    return small()


@pytest.fixture
def server(project: Project) -> Iterator[ReplayServer]:
    with serving(project) as server:
        yield server


@pytest.fixture
def opened(server: ReplayServer) -> Iterator[Open]:
    """Opens the project with these options; closes what it opened."""
    servers: list[GitLab] = []

    def open_it(secret: str = TOKEN, **options: Any) -> GitLab:
        known = Options.model_validate({"project": "shop", "url": server.url, "path": "acme/shop", **options})
        servers.append(GitLab(known, secret, patient()))
        return servers[-1]

    yield open_it
    for one in servers:
        with one:
            pass
