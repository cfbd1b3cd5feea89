"""From a feature frame to a chosen, calibrated candidate with its measures. Values in, values out."""

from ml.training.baselines import baseline_scores
from ml.training.choosing import choose
from ml.training.cost import by_cost
from ml.training.evaluation import Yardstick, evaluate, period_block
from ml.training.fitting import FitOptions, Fitted, Plan, fit_candidates, predict, refit
from ml.training.heads import TwoHeads
from ml.training.leaning import Heuristic, Level
from ml.training.occlusion import Occluder, occluder
from ml.training.periods import fresh_period, period_rows, runs_of, split_by_time
from ml.training.ranker import Ranker
from ml.training.reporting import (
    decision_threshold,
    importance,
    importance_figure,
    judged_measures,
    records,
    threshold,
    validated_measures,
    with_threshold,
)
from ml.training.tuning import Tuned, tune

__all__ = [
    "FitOptions",
    "Fitted",
    "Heuristic",
    "Level",
    "Occluder",
    "Plan",
    "Ranker",
    "Tuned",
    "TwoHeads",
    "Yardstick",
    "baseline_scores",
    "by_cost",
    "choose",
    "decision_threshold",
    "evaluate",
    "fit_candidates",
    "fresh_period",
    "importance",
    "importance_figure",
    "judged_measures",
    "occluder",
    "period_block",
    "period_rows",
    "predict",
    "records",
    "refit",
    "runs_of",
    "split_by_time",
    "threshold",
    "tune",
    "validated_measures",
    "with_threshold",
]
