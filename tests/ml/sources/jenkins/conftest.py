"""Fixtures of these tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from ml.sources.jenkins.server import Jenkins, Options
from tests.ml.sources.jenkins.collecting import START, Open
from tests.ml.sources.jenkins.server import (
    TOKEN,
    USER,
    Controller,
    build,
    small,
)
from tests.ml.sources.replay_server import ReplayServer, patient, serving


@pytest.fixture
def controller() -> Controller:
    return small()


@pytest.fixture
def single(controller: Controller) -> Controller:
    """One job that is no multibranch job, with one build and no report."""
    controller.jobs = {"job/shop": {"_class": "hudson.model.FreeStyleProject", "name": "shop"}}
    controller.builds = {"job/shop": [build(1, START)]}
    return controller


@pytest.fixture
def server(controller: Controller) -> Iterator[ReplayServer]:
    with serving(controller) as server:
        yield server


@pytest.fixture
def opened(server: ReplayServer) -> Iterator[Open]:
    """Opens the job with these options; closes what it opened."""
    servers: list[Jenkins] = []

    def open_it(secret: str = TOKEN, **options: Any) -> Jenkins:
        given = {"project": "shop", "url": server.url, "job": "acme/shop", "user": USER, **options}
        servers.append(Jenkins(Options.model_validate(given), secret, patient()))
        return servers[-1]

    yield open_it
    for one in servers:
        with one:
            pass
