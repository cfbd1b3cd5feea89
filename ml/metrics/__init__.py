"""Measures of a ranking and of a probability, and their intervals. Pure functions of arrays and frames."""

from ml.metrics.catalogue import CATALOGUE, Described
from ml.metrics.intervals import block_bootstrap, block_length, block_resamples, holm, interval, paired_difference
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
from ml.metrics.runs import MIN_RESULTS, RANKING_COLUMNS, Bools, Floats, Ints, ranking_by_run
from ml.metrics.selection import SHARES, TARGETS, OperatingPoint, operating_points, selection_curve
from ml.metrics.views import VIEWS, View, of_view, views_of
from ml.metrics.weights import failure_rate, weights_of

__all__ = [
    "CATALOGUE",
    "MEASURES",
    "MIN_RESULTS",
    "PROBABILITY_COLUMNS",
    "RANKING_COLUMNS",
    "SHARES",
    "TARGETS",
    "VIEWS",
    "Bools",
    "Columns",
    "Described",
    "Floats",
    "Ints",
    "OperatingPoint",
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
    "failure_rate",
    "holm",
    "interval",
    "measures_by_run",
    "napfd",
    "of_view",
    "operating_points",
    "paired_difference",
    "pr_auc",
    "probability_by_run",
    "ranking_by_run",
    "selection_curve",
    "selection_rate",
    "test_recall",
    "views_of",
    "weights_of",
]
