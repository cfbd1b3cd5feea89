"""A small CI history as a feature frame, with a model that can learn it: `rate` decides, `noise` does not."""

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from ml.spec import Decision, ModelSpec, Objective

START = pd.Timestamp("2026-01-01", tz="UTC").as_unit("us")


def frame_of(runs=200, tests=12, seed=1, minutes=30):
    """One run per hour, `minutes` long. A test with rate r fails with probability r; every tenth rate is null."""
    generator = np.random.default_rng(seed)
    run = np.repeat(np.arange(runs), tests)
    test = np.tile(np.arange(tests), runs)
    rate = np.where(generator.random(len(run)) < 0.2, 0.6, 0.02)
    failed = generator.random(len(run)) < rate
    started = START + pd.to_timedelta(run, unit="h")
    return pd.DataFrame(
        {
            "project": "p",
            "run_id": [f"run-{number:04d}" for number in run],
            "variant": "",
            "test_id": [f"test-{number:02d}" for number in test],
            "started_at": started,
            "known_at": started + pd.Timedelta(minutes=minutes),
            "failed": failed,
            "previous_failed": generator.random(len(run)) < 0.1,
            "duration_s": 1.0 + test,
            "rate": np.where(np.arange(len(run)) % 10 == 0, np.nan, rate),
            "noise": generator.random(len(run)),
        }
    )


def small_spec(**changes):
    candidates = {
        "linear": lambda seed: Pipeline(
            [("impute", SimpleImputer()), ("model", LogisticRegression(random_state=seed))]
        ),
        "forest": lambda seed: RandomForestClassifier(20, min_samples_leaf=5, random_state=seed),
        "boosting": lambda seed: HistGradientBoostingClassifier(max_iter=20, random_state=seed),
    }
    fields = {
        "name": "small",
        "objective": Objective.RANKING,
        "decisions": (Decision.SELECT, Decision.SKIP),
        "contract": object,
        "build": frame_of,
        "outcomes": frame_of,
        "features": ("rate", "noise"),
        "candidates": candidates,
        "baselines": {"by_rate": lambda frame: frame["rate"], "by_noise": lambda frame: frame["noise"]},
        "rules": (),
        "primary_metric": "apfd_all",
    }
    return ModelSpec(**(fields | changes))
