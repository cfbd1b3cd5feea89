"""What the declarations of the models share: a scaled pipeline, a random order, rules that hold for every model."""

from collections.abc import Sequence

import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer

from ml.spec import Range, Rule, RuleKind


def scaled(model: ClassifierMixin, seed: int, quantiles: int) -> Pipeline:
    """A classifier behind imputation and ranks mapped to a normal.

    Counts, seconds and lines have long tails: ranks keep one old test or one huge change from ruling a linear part.
    """
    return Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
            ("scale", QuantileTransformer(n_quantiles=quantiles, output_distribution="normal", random_state=seed)),
            ("model", model),
        ]
    )


def boosted(rate: str, leaves: str, rows: str, penalty: str) -> dict[str, Range]:
    """What tuning may make of boosted trees, by the names that these parameters have in a library."""
    return {rate: Range(0.02, 0.3), leaves: Range(3, 31), rows: Range(10, 300), penalty: Range(1.0, 100.0)}


def random_order(frame: pd.DataFrame, key: Sequence[str]) -> pd.Series:
    """A number in 0..1 per row, the same for the same key: a generator would give a run another order each time."""
    return pd.util.hash_pandas_object(frame[list(key)], index=False) / 2.0**64


def _other_row_order(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.iloc[::-1]


def _other_run_id(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(run_id="renamed-" + rows["run_id"].astype(str))


INVARIANCES = (
    Rule("row_order", RuleKind.SAME, _other_row_order),
    Rule("renamed_run", RuleKind.SAME, _other_run_id),
)
