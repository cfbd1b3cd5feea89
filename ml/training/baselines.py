"""Trivial baselines beside the candidates: what they rank by, and for probabilities the curve that calibrates them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ml.spec import ModelSpec, Objective, Split
from ml.training.periods import period_rows


def baseline_scores(
    spec: ModelSpec, frame: pd.DataFrame, split: Split, rows: pd.DataFrame
) -> Mapping[str, pd.DataFrame]:
    """What each baseline gives to some rows.

    A baseline of a probability model names one or more columns. They become a probability by logistic regression on
    the fit and calibrate periods: judged by a proper score, a baseline that was not calibrated would lose for its
    scale alone. A value that is missing counts as the median, with a mark of its own.

    Args:
        spec: the model.
        frame: feature frame that holds the periods.
        split: periods.
        rows: rows to score.

    Returns:
        name -> score, and probability unless the model ranks; with the index of `rows`.
    """
    if spec.objective is Objective.RANKING:
        return {name: pd.DataFrame({"score": rank(rows)}) for name, rank in spec.baselines.items()}
    earlier = pd.concat([period_rows(frame, split, "fit"), period_rows(frame, split, "calibrate")])
    found = {}
    for name, columns_of in spec.baselines.items():
        probability = _calibrated(
            pd.DataFrame(columns_of(earlier)), earlier["failed"].to_numpy(bool), pd.DataFrame(columns_of(rows))
        )
        found[name] = pd.DataFrame({"score": probability, "probability": probability}, index=rows.index)
    return found


def _calibrated(known: pd.DataFrame, failed: np.ndarray, asked: pd.DataFrame) -> np.ndarray:
    if len(asked) == 0:
        return np.empty(0)
    curve = Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
            ("scale", StandardScaler()),
            ("model", LogisticRegression(max_iter=1_000)),
        ]
    )
    curve.fit(known.to_numpy(np.float64), failed)
    probability: np.ndarray = curve.predict_proba(asked.to_numpy(np.float64))[:, 1]
    return probability
