"""Writes the simulated history that runs without a network."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ml.settings import Settings
from ml.sources.simulator import World, seed_of, simulate, write_history

# Long enough that each model has failures to fit on, to choose on and to be judged on, and over before anyone reads it:
# rows of the future are refused. docs/simulator.md says where the two shares come from.
WORLD = World(run_count=1200, start=datetime(2025, 1, 6, 8, tzinfo=UTC), regression_rate=0.25, flaky_share=0.16)


def simulated_folder(settings: Settings) -> Path:
    """Where the simulated history lies."""
    return settings.home.absolute() / "simulated"


def write_simulation(settings: Settings) -> Path:
    """Write the history of the configured seed; one of that seed that is already there is left as it is.

    An earlier release may have written it, with other parameters, and its runs may have been collected.

    Raises:
        SourceError: the folder holds something else.
    """
    folder = simulated_folder(settings)
    if seed_of(folder) != settings.seed:
        write_history(simulate(replace(WORLD, seed=settings.seed)), folder)
    return folder
