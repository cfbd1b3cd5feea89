"""How many results the rows of a frame stand for: more than themselves where it holds drawn runs only."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.spec import WEIGHT


def weights_of(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Weight of each row, shape (n,); 1 where the frame holds every run."""
    return rows[WEIGHT].to_numpy(np.float64) if WEIGHT in rows else np.ones(len(rows))


def failure_rate(rows: pd.DataFrame) -> float:
    """Share (0..1) of failed results among those that the rows stand for; NaN without rows."""
    weights = weights_of(rows)
    return float(weights[rows["failed"].to_numpy(bool)].sum() / weights.sum()) if len(rows) else np.nan
