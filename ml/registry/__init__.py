"""The model registry: the only package that knows MLflow."""

from ml.registry.naming import registered_name
from ml.registry.registry import Registry

__all__ = ["Registry", "registered_name"]
