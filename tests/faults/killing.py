"""Killing one stage again and again, with a look at the invariants after each time."""

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ml.settings import Settings
from ml.stages import verification
from tests.faults.builders import broken
from tests.faults.processes import KILLED, Act, run

JITTER_S = 0.02
Step = tuple[Callable[..., None], tuple[Any, ...]]


def kill_at(settings: Settings, chance: random.Random, points: list[int], what: tuple[str, Step]) -> Counter[str]:
    """Perform a stage until it is done, killed near each point that it reaches, in that order; where the kills hit."""
    name, (step, arguments) = what
    hits = Counter[str]()
    for point in points:
        act = Act(step, *arguments)
        if act.wait_for(point):
            time.sleep(chance.uniform(0, JITTER_S))
        code = act.kill()
        if code != KILLED:  # it was done before
            assert code == 0, act.told
            break
        hits[f"{name} at {act.seen[-1]}"] += 1
        found = broken(settings)
        # A row of PostgreSQL and an alias of MLflow cannot change at once; one command brings them together.
        assert set(found) <= ({"aliases_agree"} if name == "promote" else set()), found
        if found and chance.random() < 0.5:
            assert all(one.status == "pass" for one in verification.verify(settings, mend=True))
    run(step, *arguments)
    assert broken(settings) == {}
    return hits
