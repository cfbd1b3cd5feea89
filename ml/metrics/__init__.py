"""Measures of a ranking and of a probability, and their intervals. Pure functions of arrays and frames."""

from ml.metrics.catalogue import CATALOGUE, Described
from ml.metrics.intervals import block_bootstrap, block_length, block_resamples, interval, paired_difference
from ml.metrics.objectives import (
    MEASURES,
    PROBABILITY_COLUMNS,
    Columns,
    chosen_rows,
    measures_by_run,
    probability_by_run,
)
from ml.metrics.probability import Sample, auc, best_threshold, brier, ece, f1, pr_auc
from ml.metrics.ranking import (
    affordable_count,
    apfd,
    apfdc,
    budget_count,
    change_recall,
    napfd,
    selection_rate,
    test_recall,
)
from ml.metrics.runs import MIN_RESULTS, RANKING_COLUMNS, Bools, Floats, Ints, View, ranking_by_run, selection_curve

__all__ = [
    "CATALOGUE",
    "MEASURES",
    "MIN_RESULTS",
    "PROBABILITY_COLUMNS",
    "RANKING_COLUMNS",
    "Bools",
    "Columns",
    "Described",
    "Floats",
    "Ints",
    "Sample",
    "View",
    "affordable_count",
    "apfd",
    "apfdc",
    "auc",
    "best_threshold",
    "block_bootstrap",
    "block_length",
    "block_resamples",
    "brier",
    "budget_count",
    "change_recall",
    "chosen_rows",
    "ece",
    "f1",
    "interval",
    "measures_by_run",
    "napfd",
    "paired_difference",
    "pr_auc",
    "probability_by_run",
    "ranking_by_run",
    "selection_curve",
    "selection_rate",
    "test_recall",
]
