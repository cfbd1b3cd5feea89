"""Judged rows for the gate tests: runs of ten tests of which one fails, ranked where the test wants it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

import ml.gates
from ml.gates import RankingEvidence, StabilityEvidence, Thresholds, load_thresholds
from ml.spec import Interval, Split

SHIPPED = Path(ml.gates.__file__).parent / "thresholds.toml"
TESTS = 10
T0 = datetime(2026, 1, 1, tzinfo=UTC)
TEST_START = datetime(2026, 6, 1, tzinfo=UTC)
TEST_END = datetime(2026, 7, 1, tzinfo=UTC)
SPLIT = Split(
    fit=Interval(T0, datetime(2026, 4, 1, tzinfo=UTC)),
    calibrate=Interval(datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)),
    validate=Interval(datetime(2026, 5, 1, tzinfo=UTC), TEST_START),
    test=Interval(TEST_START, TEST_END),
)


def thresholds() -> Thresholds:
    return load_thresholds(SHIPPED, "test_selection")


def ranked_rows(ranks: Mapping[str, Sequence[int]], start: datetime = TEST_START) -> pd.DataFrame:
    """Runs an hour apart. `ranks` maps a contestant to the rank (1 to 10) of the failing test in each run.

    The failing test of run r is number r % 10. Probabilities are 0.7 for the test ranked first and 0.03 for the rest.
    """
    runs = len(next(iter(ranks.values())))
    run = np.repeat(np.arange(runs), TESTS)
    number = np.tile(np.arange(TESTS), runs)
    failing = run % TESTS
    frame = pd.DataFrame(
        {
            "project": "ozone",
            "run_id": [f"run-{i:04d}" for i in run],
            "variant": np.where(number < 5, "linux", "windows"),
            "test_id": [f"org.acme.{'core' if i % 2 else 'web'}.Test{i}" for i in number],
            "started_at": pd.to_datetime([start + timedelta(hours=int(i)) for i in run]).as_unit("us"),
            "failed": number == failing,
            "previous_failed": False,
            "duration_s": 1.0,
        }
    )
    for name, given in ranks.items():
        # The failing test takes the rank asked for; the others keep their order around it.
        after = (number - failing) % TESTS
        rank = np.repeat(np.asarray(given), TESTS)
        place = np.where(after == 0, rank, np.where(after < rank, after, after + 1))
        frame[f"score:{name}"] = (TESTS - place) / TESTS
        frame[f"probability:{name}"] = np.where(place == 1, 0.7, 0.03)
    return frame


def varied(mean: int, runs: int = 40, seed: int = 1) -> list[int]:
    """Ranks around `mean`, one up or down, by a fixed seed."""
    steps = np.random.default_rng(seed).integers(-1, 2, size=runs)
    return [int(rank) for rank in np.clip(mean + steps, 1, TESTS)]


def ranking(ranks: Mapping[str, Sequence[int]], **changes: object) -> RankingEvidence:
    """Evidence whose baseline is `decay`; there is a champion if `ranks` names one."""
    given: dict[str, object] = {
        "rows": ranked_rows(ranks),
        "earlier": ranked_rows(ranks, start=datetime(2026, 5, 2, tzinfo=UTC)),
        "baselines": ("decay",),
        "split": SPLIT,
        "used_periods": (),
        "seed": 7,
        "budget": 0.3,
        "has_champion": "champion" in ranks,
        "champion_age_days": 3.0 if "champion" in ranks else None,
    }
    return RankingEvidence(**{**given, **changes})


def stability(ranks: Mapping[str, Sequence[int]], refits: tuple[str, ...], **changes: object) -> StabilityEvidence:
    return StabilityEvidence(ranking(ranks, **changes), refits)
