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

from ml.training.calibration import LogOdds
from ml.training.fitting import raw_scores
from ml.training.leaning import Pool, pooled

COLUMNWISE = (QuantileTransformer, StandardScaler)


@dataclass(frozen=True, slots=True)
class _Part:
    """A classifier that sees `names`; `owner` is, of each prepared column, the place in `names`.

    `steps` prepare the columns (None where rows are scored as they are), `model` scores them.
    """

    names: tuple[str, ...]
    owner: NDArray[np.int64]
    steps: Any
    model: Any

    def prepare(self, features: pd.DataFrame) -> NDArray[np.float64]:
        seen = features[list(self.names)]
        return np.asarray(seen if self.steps is None else self.steps.transform(seen), dtype=np.float64)

    def score(self, prepared: NDArray[np.float64]) -> NDArray[np.float64]:
        given = pd.DataFrame(prepared, columns=list(self.names)) if self.steps is None else prepared
        return raw_scores(self.model, given)


@dataclass(frozen=True, slots=True)
class Occluder:
    """Scores rows whose columns were prepared; see `occluder`.

    Attributes:
        names: features that the estimator sees, in its order.
        owner: of each prepared column, the place in `names` of the feature that alone decides it.
        parts: classifiers of which each has some of the prepared columns, in order.
        weights: of the parts, in the score.
        threads: of boosting, which scores each row alone; linear algebra keeps to one, as in `fitting.predict`.
    """

    names: tuple[str, ...]
    owner: NDArray[np.int64]
    parts: tuple[_Part, ...]
    weights: tuple[float, ...]
    threads: int

    def prepare(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """The rows of a frame with `names` (one that is missing counts as NaN), shape (n, len(owner))."""
        features = frame.reindex(columns=list(self.names))
        if features.empty:
            return np.empty((0, len(self.owner)))
        with threadpool_limits(1):
            return np.asfortranarray(np.hstack([part.prepare(features) for part in self.parts]))

    def score(self, prepared: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score of each prepared row, shape (n,), as `fitting.predict` gives it."""
        ends = np.cumsum([len(part.owner) for part in self.parts])
        with threadpool_limits({"blas": 1, "openmp": self.threads}):
            scores = [
                part.score(columns)
                for part, columns in zip(self.parts, np.split(prepared, ends[:-1], axis=1), strict=True)
            ]
        return scores[0] if len(scores) == 1 else pooled(scores, self.weights)


def occluder(estimator: Any, threads: int) -> Occluder:
    """Take an estimator of a `Fitted` apart; what has steps that mix columns, or none, is left whole."""
    base = estimator.calibrated_classifiers_[0].estimator.estimator
    names = tuple(map(str, estimator.feature_names_in_))
    if isinstance(base, Pool):
        parts = tuple(map(_part, base.parts))
        weights = tuple(base.weights)
    else:
        parts, weights = (_part(base),), (1.0,)
    places = {name: at for at, name in enumerate(names)}
    owner = np.concatenate([np.array([places[name] for name in part.names])[part.owner] for part in parts])
    return Occluder(names, owner, parts, weights, threads)


def _part(classifier: Any) -> _Part:
    names = tuple(map(str, classifier.feature_names_in_))
    pipeline = classifier.estimator if isinstance(classifier, LogOdds) else classifier
    if isinstance(pipeline, Pipeline) and len(pipeline) > 1:
        first, *others = (step for _, step in pipeline.steps[:-1])
        if isinstance(first, SimpleImputer) and all(isinstance(step, COLUMNWISE) for step in others):
            owner = _owners(first, names)
            if owner is not None:
                last = pipeline.steps[-1][1]
                return _Part(names, owner, pipeline[:-1], LogOdds(last) if pipeline is not classifier else last)
    return _Part(names, np.arange(len(names)), None, classifier)


def _owners(imputer: SimpleImputer, names: tuple[str, ...]) -> NDArray[np.int64] | None:
    """Features of the imputer's columns: each one, and the marks of those that were missing at times."""
    marks = imputer.indicator_.features_ if imputer.add_indicator else np.empty(0, dtype=np.int64)
    owner = np.concatenate([np.arange(len(names)), marks])
    return owner if len(owner) == len(imputer.get_feature_names_out()) else None
