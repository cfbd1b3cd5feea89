"""Two heads, one score: what breaks a test and what makes it flake are learned apart, and put together as chances."""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from ml.training.leaning import Odds


class TwoHeads(Odds):
    """The chance that a test fails for a reason in the code or for none, each by a classifier of its own.

    A test fails if either happens: P = 1 - (1 - P(broken)) (1 - P(flaky)), the noisy-or (Pearl, Probabilistic Reasoning
    in Intelligent Systems, 1988). What raises a head raises the score. A failure that is not known to be flaky counts
    as broken. Without failures of both kinds there is one head, of all failures.

    Args:
        head: an unfitted classifier with log-odds as its decision function; each head is a clone.
    """

    def __init__(self, head: Any) -> None:
        self.head = head

    def fit(
        self,
        rows: pd.DataFrame,
        failed: ArrayLike,
        sample_weight: ArrayLike | None = None,
        is_flaky: ArrayLike | None = None,
    ) -> Self:
        """Fit each head against everything that did not fail for its reason.

        Args:
            rows: features, as the head takes them.
            failed: whether the test failed, row by row.
            sample_weight: how many results a row stands for.
            is_flaky: whether a failure is known to be flaky, row by row; without it none is.
        """
        fails = np.asarray(failed, bool)
        flaky = fails & (np.zeros(len(fails), bool) if is_flaky is None else np.asarray(is_flaky, bool))
        reasons = [reason for reason in (fails & ~flaky, flaky) if reason.any()] or [fails]
        self.heads_ = [clone(self.head).fit(rows, reason, sample_weight=sample_weight) for reason in reasons]
        self.classes_ = np.array([False, True])
        self.feature_names_in_ = np.array(rows.columns, dtype=object)
        self.n_features_in_ = rows.shape[1]
        return self

    def decision_function(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Log-odds of a failure, row by row."""
        odds = [head.decision_function(rows) for head in self.heads_]
        if len(odds) == 1:
            return np.asarray(odds[0], np.float64)
        # The odds of the noisy-or are a + b + ab, where a and b are those of the heads.
        either: NDArray[np.float64] = np.logaddexp(np.logaddexp(*odds), np.add(*odds))
        return either
