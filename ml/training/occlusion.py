"""An estimator taken apart where that is safe, so that changing one feature of a row costs one column of work.

Imputation and scaling look at each column alone. They are done once per row; what is scored again with one feature
changed is a copy of the prepared row with the columns of that feature replaced.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from ml.training.fitting import raw_scores

COLUMNWISE = (QuantileTransformer, StandardScaler)


@dataclass(frozen=True, slots=True)
class Occluder:
    """Scores rows whose columns were prepared; see `occluder`.

    Attributes:
        names: features that the estimator sees, in its order.
        owner: of each prepared column, the place in `names` of the feature that alone decides it.
        steps: what prepares the columns; None where rows are scored as they are.
        model: what scores prepared rows.
        threads: of boosting, which scores each row alone; linear algebra keeps to one, as in `fitting.predict`.
    """

    names: tuple[str, ...]
    owner: NDArray[np.int64]
    steps: Any
    model: Any
    threads: int

    def prepare(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """The rows of a frame with `names` (one that is missing counts as NaN), shape (n, len(owner))."""
        features = frame.reindex(columns=list(self.names))
        with threadpool_limits(1):
            found = features if self.steps is None or features.empty else self.steps.transform(features)
        if features.empty:
            return np.empty((0, len(self.owner)))
        return np.asfortranarray(found, dtype=np.float64)

    def score(self, prepared: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score of each prepared row, shape (n,), as `fitting.predict` gives it."""
        given = pd.DataFrame(prepared, columns=list(self.names)) if self.steps is None else prepared
        with threadpool_limits({"blas": 1, "openmp": self.threads}):
            return raw_scores(self.model, given)


def occluder(estimator: Any, threads: int) -> Occluder:
    """Take an estimator of a `Fitted` apart; one with steps that mix columns, or without any, is left whole."""
    base = estimator.calibrated_classifiers_[0].estimator
    names = tuple(map(str, estimator.feature_names_in_))
    pipeline = getattr(base, "estimator", base)
    if isinstance(pipeline, Pipeline) and len(pipeline) > 1:
        first, *others = (step for _, step in pipeline.steps[:-1])
        if isinstance(first, SimpleImputer) and all(isinstance(step, COLUMNWISE) for step in others):
            owner = _owners(first, names)
            if owner is not None:
                return Occluder(names, owner, pipeline[:-1], pipeline.steps[-1][1], threads)
    return Occluder(names, np.arange(len(names)), None, base, threads)


def _owners(imputer: SimpleImputer, names: tuple[str, ...]) -> NDArray[np.int64] | None:
    """Features of the imputer's columns: each one, and the marks of those that were missing at times."""
    marks = imputer.indicator_.features_ if imputer.add_indicator else np.empty(0, dtype=np.int64)
    owner = np.concatenate([np.arange(len(names)), marks])
    return owner if len(owner) == len(imputer.get_feature_names_out()) else None
