"""The order of tests when time is what counts."""

from typing import Any

import pandas as pd

from ml.spec import ModelSpec
from ml.training.fitting import chance

# Both were chosen on validation periods.
COST_EXPONENT = 0.75
MIN_COST_S = 0.1


def by_cost(spec: ModelSpec, estimator: Any, rows: pd.DataFrame, usual_s: float | None = None) -> pd.DataFrame:
    """How long each row is expected to take, and its score in the order by cost.

    Args:
        spec: the model; one without a cost has no such order.
        estimator: of a `Fitted`, or the same loaded from its file.
        rows: features.
        usual_s: as for `score_by_cost`.

    Returns:
        expected_duration_s (s, NaN where unknown) and score_by_cost, with the index of `rows`; no column for a model
        without a cost.
    """
    if not spec.cost:
        return pd.DataFrame(index=rows.index)
    expected = rows[spec.cost]
    score = score_by_cost(chance(estimator, rows), expected, usual_s)
    return pd.DataFrame({"expected_duration_s": expected, "score_by_cost": score})


def score_by_cost(chance: pd.Series, cost_s: pd.Series, usual_s: float | None = None) -> pd.Series:
    """What to order tests by when time is what counts: chance of a failure per (second ^ `COST_EXPONENT`).

    With certain knowledge chance / cost minimises the expected time to failures (Smith, "Various optimizers for
    single-stage production", 1956). Chances of rare failures are estimated, and a full division would put too many
    quick tests first.

    Args:
        chance: 0..1, uncalibrated (`fitting.chance`): a calibration that is flat leaves the cost to decide alone.
        cost_s: expected duration in seconds; none counts as less than `MIN_COST_S`.
        usual_s: what an unknown duration counts as; None for the median of the known ones. Where that is unknown too
            (NaN), it is 1 s.

    Returns:
        The score, highest first, with the index of `chance`.
    """
    if usual_s is None and cost_s.notna().any():
        usual_s = cost_s.median()
    filled = cost_s.fillna(1.0 if pd.isna(usual_s) else usual_s)
    return chance / filled.clip(lower=MIN_COST_S) ** COST_EXPONENT
