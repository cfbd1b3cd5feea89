"""How far the newest rows lie from the rows that a model was judged on. The only file that knows Evidently.

A column drifts when the largest gap between its two distributions (Kolmogorov-Smirnov D: the share of rows that would
have to move, 0..1) is both material and more than chance:

    D >= max(min_effect, critical value at alpha / number of columns)

Rows of one run are alike (a change's size is the same in all of them), so the critical value counts effective rows:
n / (1 + (rows per run - 1) * intraclass correlation of the ranks), the design effect of Kish, "Survey Sampling", 1965.
Without it any fifty runs would look like drift. The correction for many columns is Bonferroni's, because each column
then has one threshold that a reader of the page can hold its D against.

Counts and ages that only grow (`schemas.GROWING_FEATURES`) differ between any two periods: leave them out of `columns`.
"""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import kolmogi
from scipy.stats import ks_2samp

from ml.spec import DriftReport, Interval

METHOD = "ks_moved_share"
_SEED = 20_260_101
_LARGEST = 1e12  # a histogram of the page cannot be drawn around an infinite value


@dataclass(frozen=True, slots=True)
class Subject:
    """What is compared: a model's rows of two periods, by start of their runs."""

    model: str
    project: str
    reference: Interval
    current: Interval


@dataclass(frozen=True, slots=True)
class DriftRule:
    """When a column, and when a model, counts as drifted.

    min_effect: smallest D (0..1) that matters. alpha: chance of one false alarm among all columns.
    share: share of columns (0..1) from which the model has drifted. min_rows, max_rows: rows per period, below which
    nothing is measured and above which a fixed sample is.
    """

    share: float = 0.3
    min_effect: float = 0.1
    alpha: float = 0.05
    min_rows: int = 200
    max_rows: int = 20_000


def measure_drift(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    columns: Sequence[str],
    subject: Subject,
    rule: DriftRule | None = None,
) -> DriftReport:
    """Compare features, and scores if they are among the columns, of two periods.

    Args:
        reference: rows the model was judged on; `columns` (numbers, NaN allowed) and run_id, if rows come in runs.
        current: newer rows, likewise.
        columns: names to compare. A missing value counts as a value of its own, below all others.
        subject: model, project and the two periods, for the report.
        rule: limits; the defaults of `DriftRule` if not given.

    Returns:
        Report with status ``drift``, ``no_drift`` or ``not_enough_data`` (then share_drifted is NaN and nothing was
        measured), D per column, and the HTML page if it is drift.
    """
    rule = rule or DriftRule()
    report = partial(
        DriftReport,
        model=subject.model,
        project=subject.project,
        threshold=rule.share,
        reference=subject.reference,
        current=subject.current,
    )
    if min(len(reference), len(current)) < rule.min_rows or not columns:
        return report(status="not_enough_data", share_drifted=math.nan, columns={}, drifted=())
    old, new = _sample(reference, rule), _sample(current, rule)
    thresholds = {name: _threshold(old, new, name, rule, len(columns)) for name in columns}
    snapshot = _evidently(old, new, thresholds, rule)
    distances = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot.dict()["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift")
    }
    drifted = tuple(name for name in columns if distances[name] >= thresholds[name])
    share = len(drifted) / len(columns)
    status, html = ("drift", _page(snapshot)) if share >= rule.share else ("no_drift", "")
    return report(status=status, share_drifted=share, columns=distances, drifted=drifted, html=html)


def _sample(frame: pd.DataFrame, rule: DriftRule) -> pd.DataFrame:
    return frame if len(frame) <= rule.max_rows else frame.sample(rule.max_rows, random_state=_SEED)


def _threshold(old: pd.DataFrame, new: pd.DataFrame, name: str, rule: DriftRule, tests: int) -> float:
    """Smallest D of a column that counts: the material one, or the least that is more than chance."""
    rows = [_effective_rows(frame, name) for frame in (old, new)]
    critical = kolmogi(rule.alpha / tests) * math.sqrt(1 / rows[0] + 1 / rows[1])
    return max(rule.min_effect, float(critical))


def _effective_rows(frame: pd.DataFrame, name: str) -> float:
    """How many independent rows the rows of a column are worth, given that rows of one run resemble each other."""
    if "run_id" not in frame:
        return float(len(frame))
    rank = frame[name].astype(np.float64).rank(na_option="top").to_numpy()
    run = pd.factorize(frame["run_id"])[0]
    size = np.bincount(run)
    runs, rows = len(size), len(rank)
    if runs in (1, rows):
        return float(runs)
    mean = np.bincount(run, weights=rank) / size
    between = float((size * (mean - rank.mean()) ** 2).sum()) / (runs - 1)
    within = float(((rank - mean[run]) ** 2).sum()) / (rows - runs)
    typical = (rows - float((size**2).sum()) / rows) / (runs - 1)
    total = between + (typical - 1) * within
    correlation = min(1.0, max(0.0, (between - within) / total)) if total > 0 else 1.0
    return rows / (1 + (rows / runs - 1) * correlation)


def _evidently(old: pd.DataFrame, new: pd.DataFrame, thresholds: Mapping[str, float], rule: DriftRule) -> Any:
    """Evidently's comparison of the columns that `thresholds` names."""
    os.environ.setdefault("DO_NOT_TRACK", "true")  # read by Evidently on import; it has no other switch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's own: deprecated numpy names, divisions by empty counts
        # The import takes 9 s, which only a command that measures drift should pay.
        from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415 - see above
        from evidently.metrics import DriftedColumnsCount, ValueDrift  # noqa: PLC0415 - see above

        _register_method()
        definition = DataDefinition(numerical_columns=list(thresholds))
        earlier, later = _filled(old, new, list(thresholds))
        count = DriftedColumnsCount(
            columns=list(thresholds),
            drift_share=rule.share,
            per_column_method=dict.fromkeys(thresholds, METHOD),
            per_column_threshold=dict(thresholds),
        )
        values = [ValueDrift(column=name, method=METHOD, threshold=limit) for name, limit in thresholds.items()]
        return Report([count, *values]).run(
            Dataset.from_pandas(later, data_definition=definition),
            Dataset.from_pandas(earlier, data_definition=definition),
        )


def _page(snapshot: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        page: str = snapshot.get_html_str(as_iframe=False)
        return page


def _register_method() -> None:
    """Teach Evidently D itself: its own Kolmogorov-Smirnov test reports only a p-value, of independent rows."""
    from evidently.legacy.calculations.stattests import StatTest  # noqa: PLC0415 - as slow as Evidently
    from evidently.legacy.calculations.stattests.registry import register_stattest  # noqa: PLC0415 - as slow as Evidently
    from evidently.legacy.core import ColumnType  # noqa: PLC0415 - as slow as Evidently

    method = StatTest(METHOD, "Kolmogorov-Smirnov D, share of rows that moved", [ColumnType.Numerical])
    register_stattest(method, _moved_share)


def _moved_share(reference: pd.Series, current: pd.Series, _kind: Any, threshold: float) -> tuple[float, bool]:
    distance = float(ks_2samp(reference, current, method="asymp").statistic)
    return distance, distance >= threshold


def _filled(old: pd.DataFrame, new: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both frames as finite numbers. Missing becomes a value just below all others: D looks at the order only."""
    frames = [frame[list(columns)].astype(np.float64).clip(-_LARGEST, _LARGEST) for frame in (old, new)]
    lows, highs = (pd.concat([getattr(frame, end)() for frame in frames], axis=1) for end in ("min", "max"))
    below = (lows.min(axis=1) - (highs.max(axis=1) - lows.min(axis=1)).clip(lower=1.0) / 20).fillna(0.0)
    return frames[0].fillna(below), frames[1].fillna(below)
