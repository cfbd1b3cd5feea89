"""Writes the simulated history that runs without a network."""

from pathlib import Path

from ml.settings import Settings
from ml.sources.simulator import World, simulate, write_history


def simulated_folder(settings: Settings) -> Path:
    """Where the simulated history lies."""
    return settings.home.absolute() / "simulated"


def write_simulation(settings: Settings) -> Path:
    """Write the history of the configured seed; one that is already there is left as it is."""
    folder = simulated_folder(settings)
    write_history(simulate(World(seed=settings.seed)), folder)
    return folder
