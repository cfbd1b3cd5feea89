"""A believable CI world with known truth, deterministic by seed: the history that needs no network.

`simulate` is a pure function of a `World`; `write_history` puts what it returned on disk as JUnit XML reports and
run manifests. What is modelled, and why a model can beat simple rankings here, is told in ``docs/simulator.md``.
"""

from ml.sources.simulator.history import History, simulate
from ml.sources.simulator.reports import seed_of, write_history
from ml.sources.simulator.world import Flakiness, World

__all__ = ["Flakiness", "History", "World", "seed_of", "simulate", "write_history"]
