"""The models by name. A model's module is imported when it is asked for: it brings scikit-learn with it."""

from importlib import import_module

from ml.errors import SettingsError
from ml.spec import ModelSpec

MODULES = {
    "test_selection": "ml.models.test_selection",
    "build_risk": "ml.models.build_risk",
    "flaky_tests": "ml.models.flaky_tests",
}


def load_model(name: str) -> ModelSpec:
    """The declaration of a model.

    Raises:
        SettingsError: there is no such model; names those that there are.
    """
    if name not in MODULES:
        raise SettingsError(f"{name!r} is not a model of Fourgate; the models are {', '.join(MODULES)}")
    spec: ModelSpec = import_module(MODULES[name]).SPEC
    return spec
