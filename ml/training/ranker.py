"""Learning to rank: boosted trees that learn from pairs of tests of one run which of the two should come first."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from ml.errors import LibraryMissing
from ml.training.leaning import LEAST_SLOPE, Odds

# LightGBM takes no more rows of one group.
MAX_GROUP = 10_000
LATER_SHARE = 0.2
FEWEST_TREES, MOST_TREES = 50, 300
PATIENCE = 30

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Ranker(Odds):
    """LambdaMART with log-odds of a failure: Burges, "From RankNet to LambdaRank to LambdaMART", MSR-TR-2010-82.

    The number of trees is found on the later runs that it is given, whose order the earlier ones predict best with it
    (never on rows at random: a run would be in both parts); then all of them are learned from. Fitted, it holds the
    trees as text, and scores on one thread.

    Args:
        seed: of the features that each tree may look at.
        learning_rate: weight of a tree.
        leaves: of a tree.
        least_rows: of a leaf.
        features_share: share (0..1) of the features that a tree may look at.
        penalty: L2 penalty of a leaf.
    """

    def __init__(  # noqa: PLR0913 -- scikit-learn keeps each parameter of an estimator under its own name
        self,
        *,
        seed: int = 0,
        learning_rate: float = 0.05,
        leaves: int = 7,
        least_rows: int = 60,
        features_share: float = 0.3,
        penalty: float = 20.0,
    ) -> None:
        self.seed = seed
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.least_rows = least_rows
        self.features_share = features_share
        self.penalty = penalty

    def fit(
        self,
        rows: pd.DataFrame,
        failed: ArrayLike,
        sample_weight: ArrayLike | None = None,
        run: ArrayLike | None = None,
    ) -> Self:
        """Learn from the tests of runs.

        Args:
            rows: features; NaN is allowed.
            failed: whether the test failed, row by row; runs where all or none failed teach nothing and do no harm.
            sample_weight: how many results a row stands for.
            run: number of each row's run, in time order; without it all rows are of one run.
        """
        whole = _Part.of(rows, failed, sample_weight, run)
        self.classes_ = np.array([False, True])
        self.feature_names_in_ = np.array(rows.columns, dtype=object)
        self.n_features_in_ = rows.shape[1]
        earlier, later = whole.parted()
        self.trees_ = FEWEST_TREES
        if earlier.has_both and later.has_both:
            stopped = self._boost(earlier, MOST_TREES, later)
            self.trees_ = max(int(stopped.best_iteration), FEWEST_TREES)
        trees = self._boost(whole, self.trees_)
        scores = trees.predict(whole.values, num_threads=1)
        # Learned from pairs, scores have no zero of their own, and weights move it: a curve makes odds of them.
        curve = LogisticRegression().fit(scores[:, None], whole.failed, sample_weight=whole.weight)
        self.slope_ = max(float(curve.coef_[0, 0]), LEAST_SLOPE)
        self.intercept_ = float(curve.intercept_[0])
        self.model_ = trees.model_to_string(num_iteration=-1)
        return self

    def decision_function(self, rows: pd.DataFrame) -> Floats:
        """Log-odds of a failure, row by row."""
        trees = _lightgbm().Booster(model_str=self.model_)
        odds: Floats = self.intercept_ + self.slope_ * trees.predict(rows.to_numpy(np.float64), num_threads=1)
        return odds

    def _boost(self, part: "_Part", trees: int, later: "_Part | None" = None) -> Any:
        """LightGBM's booster; with later runs it stops when more trees order them no better."""
        library = _lightgbm()
        learned = part.data_set(library)
        stop = library.early_stopping(PATIENCE, verbose=False)
        return library.train(
            {
                "objective": "lambdarank",
                "metric": "ndcg",
                "eval_at": [MAX_GROUP],
                # A failure far down is worth moving up too: APFD looks at all places, the default at the first 30.
                "lambdarank_truncation_level": MAX_GROUP,
                "learning_rate": self.learning_rate,
                "num_leaves": self.leaves,
                "min_data_in_leaf": self.least_rows,
                "feature_fraction": self.features_share,
                "lambda_l2": self.penalty,
                "seed": self.seed,
                "deterministic": True,
                "force_row_wise": True,
                "num_threads": 1,
                "verbosity": -1,
            },
            learned,
            num_boost_round=trees,
            valid_sets=[later.data_set(library, learned)] if later else None,
            callbacks=[stop] if later else None,
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of runs in time order, run by run."""

    values: Floats
    failed: NDArray[np.bool_]
    weight: Floats
    run: Ints

    @classmethod
    def of(cls, rows: pd.DataFrame, failed: ArrayLike, weight: ArrayLike | None, run: ArrayLike | None) -> "_Part":
        count = len(rows)
        number = np.unique(np.zeros(count) if run is None else np.asarray(run), return_inverse=True)[1]
        order = np.argsort(number, kind="stable")
        weights = np.ones(count) if weight is None else np.asarray(weight, np.float64)
        known = np.asarray(failed, bool)
        return cls(rows.to_numpy(np.float64)[order], known[order], weights[order], number[order])

    @property
    def has_both(self) -> bool:
        """Whether there are a failure and a pass."""
        return bool(self.failed.any()) and not self.failed.all()

    def parted(self) -> "tuple[_Part, _Part]":
        """The earlier runs and the later ones."""
        later = self.run >= np.floor((self.run.max() + 1) * (1 - LATER_SHARE))
        earlier, rest = (
            _Part(self.values[at], self.failed[at], self.weight[at], self.run[at]) for at in (~later, later)
        )
        return earlier, rest

    def data_set(self, library: ModuleType, reference: Any = None) -> Any:
        """The same for LightGBM; runs that are too large for it in parts."""
        sizes = [piece for size in np.unique(self.run, return_counts=True)[1] for piece in _pieces(int(size))]
        return library.Dataset(
            self.values, self.failed.astype(np.int8), weight=self.weight, group=sizes, reference=reference
        )


def _pieces(size: int) -> list[int]:
    count = -(-size // MAX_GROUP)
    return [size // count + (at < size % count) for at in range(count)]


def _lightgbm() -> ModuleType:
    """LightGBM, imported when it is needed: whoever neither fits nor serves a ranker does without its library.

    Raises:
        LibraryMissing: it cannot be loaded.
    """
    try:
        return import_module("lightgbm")
    except OSError as error:
        raise LibraryMissing(
            f"LightGBM cannot be loaded: {error}; it needs the OpenMP library of the system, "
            "e.g. `apt-get install libgomp1` or `brew install libomp`"
        ) from error
