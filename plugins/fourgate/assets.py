"""The assets that connect the DAGs: an event means that something new is there."""

from airflow.sdk import Asset

ci_history = Asset("ci_history", uri="fourgate://ci_history", group="fourgate")
# Emitted by `fourgate receive`, over Airflow's REST API, when CI jobs pushed runs: collect them.
pushed_runs = Asset("pushed_runs", uri="fourgate://pushed_runs", group="fourgate")


def drift(model: str) -> Asset:
    """Emitted when the data of a model drifted: retrain it."""
    return Asset(f"drift_{model}", uri=f"fourgate://drift/{model}", group="fourgate")


def champion(model: str) -> Asset:
    """Emitted when a model has a new champion: publish its predictions."""
    return Asset(f"champion_{model}", uri=f"fourgate://champion/{model}", group="fourgate")


def predictions(model: str) -> Asset:
    """Emitted when predictions of a model were published."""
    return Asset(f"predictions_{model}", uri=f"fourgate://predictions/{model}", group="fourgate")
