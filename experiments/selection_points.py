"""Points of the selection curve: how much has to run so that so many failures, or faulty runs, are caught.

Every run may execute the first tests of its order, up to one share of its tests, or of its duration, that is the same
for all runs. A point is the smallest such share with which a recall is reached, as a mean over runs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from experiments.rows import Row, block_within, figures
from ml import metrics
from ml.spec import MERGED_RESULT, Measure

TARGETS = (0.9, 0.95, 0.99, 0.999)
RECALLS = ("test_recall", "change_recall")
CURVE_SHARES = tuple(round(share, 2) for share in np.linspace(0, 1, 51))
RESAMPLES = 500


def places(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Rows in rank order, with the share of their run's tests, and of its duration, that is over when each is done.

    Tests with equal scores stand in a fixed order that has nothing to do with their names' order.
    """
    lot = pd.util.hash_pandas_object(rows[MERGED_RESULT], index=False).to_numpy()
    value = rows[score].fillna(-np.inf).to_numpy(np.float64)
    run = pd.factorize(rows["run_id"], sort=True)[0]
    order = np.lexsort((lot, -value, run))
    ordered, of = rows.iloc[order], run[order]
    count = np.bincount(of)
    rank = np.arange(1, len(of) + 1) - (np.cumsum(count) - count)[of]
    costs = ordered["duration_s"].fillna(rows["duration_s"].median()).fillna(1.0)
    spent = costs.groupby(of, sort=False)
    total = spent.transform("sum")
    return ordered.assign(
        rank=rank,
        tests=rank / count[of],
        duration=(spent.cumsum() / total.where(total > 0)).fillna(1.0),
    )


def counted(table: pd.DataFrame, view: metrics.View) -> pd.DataFrame:
    """Rows of a view in the runs that count."""
    runs = metrics.ranking_by_run(table.assign(score=0.0), "score", view)["run_id"]
    kept = table if view == "all" else table.loc[~table["previous_failed"].to_numpy(bool)]
    return kept.loc[kept["run_id"].isin(runs)]


def selection_points(table: pd.DataFrame, methods: Sequence[str], view: metrics.View, block: int) -> Iterator[Row]:
    """Rows ``<tests|duration>_at_<recall>_<target>_<view>`` of each method, with intervals over blocks of runs."""
    rows = counted(table, view)
    order = rows.drop_duplicates("run_id").sort_values(["started_at", "run_id"])["run_id"].tolist()
    if not order:
        return
    resamples = metrics.block_resamples(len(order), block_within(block, len(order)), RESAMPLES, seed=len(order))
    draws = np.stack([np.bincount(drawn, minlength=len(order)) for drawn in resamples])
    for method in methods:
        seen = rows[[*MERGED_RESULT, "failed", "duration_s", method]]
        failures = places(seen, method).loc[lambda found: found["failed"].astype(bool)]
        run = pd.Categorical(failures["run_id"], categories=order).codes
        for share in ("tests", "duration"):
            for recall in RECALLS:
                needed, of, weight = _demand(failures[share].to_numpy(np.float64), run, recall)
                for target in TARGETS:
                    found = _reached(needed, weight, target, draws[:, of])
                    name = f"{share}_at_{recall}_{100 * target:g}_{view}"
                    yield {"method": method, "measure": name, "runs": len(order), **figures(found, len(order))}


def _demand(
    share: metrics.Floats, run: metrics.Ints, recall: str
) -> tuple[metrics.Floats, metrics.Ints, metrics.Floats]:
    """Share that catches a failure, its run and what it weighs; of change recall, each run's first failure only."""
    order = np.argsort(share, kind="stable")
    share, run = share[order], run[order]
    if recall == "change_recall":
        first = np.unique(run, return_index=True)[1]
        first.sort()
        return share[first], run[first], np.ones(len(first))
    return share, run, 1 / np.bincount(run)[run]


def _reached(needed: metrics.Floats, weight: metrics.Floats, target: float, draws: metrics.Ints) -> Measure:
    """Smallest share that reaches the target, with the spread over resamples; `needed` ascends."""
    spread = [_quantile(needed, weight * count, target) for count in draws]
    low, high = np.quantile(spread, [0.025, 0.975])
    return Measure(_quantile(needed, weight, target), float(low), float(high))


def _quantile(needed: metrics.Floats, weight: metrics.Floats, target: float) -> float:
    reached = np.cumsum(weight)
    return float(needed[np.searchsorted(reached, target * reached[-1] - 1e-9)])
