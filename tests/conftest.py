"""Fixtures that several test folders share, the environment that no test may leave, and what kind each test is of."""

import os

import hypothesis
import pytest

hypothesis.settings.register_profile("fourgate", deadline=None)  # a busy machine must not fail a test
hypothesis.settings.load_profile("fourgate")
pytest_plugins = ["tests.postgres", "tests.mlflow_server", "tests.services", "tests.e2e.stack"]
SERVERS = {"postgres_server", "mlflow_uri"}


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_machine() -> None:
    """A developer's own FOURGATE_ variables must not decide what a test sees."""
    for name in [name for name in os.environ if name.startswith("FOURGATE_") and name != "FOURGATE_REAL_DATA"]:
        del os.environ[name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with a server is an integration test, also where nobody marked it."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if used & SERVERS:
            item.add_marker(pytest.mark.integration)
