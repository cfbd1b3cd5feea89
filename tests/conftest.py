"""Fixtures that several test folders share, and the environment that no test may leave."""

import os

import pytest

pytest_plugins = ["tests.postgres", "tests.mlflow_server", "tests.services", "tests.e2e.stack"]


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_machine() -> None:
    """A developer's own FOURGATE_ variables must not decide what a test sees."""
    for name in [name for name in os.environ if name.startswith("FOURGATE_") and name != "FOURGATE_REAL_DATA"]:
        del os.environ[name]
