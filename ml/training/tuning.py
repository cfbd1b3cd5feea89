"""Parameters of candidates, tuned under a budget of trials on time-ordered folds before the validation period."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ml.errors import NotEnoughData
from ml.spec import Interval, ModelSpec, Range, Split
from ml.training.evaluation import primary_by_run
from ml.training.fitting import FitOptions, fit_candidates, odds
from ml.training.periods import period_rows, runs_of

# Shares of the runs before the validation period at which the runs of a fold begin; the last fold ends with them.
FOLDS = (0.5, 0.65, 0.8)
_Values = Mapping[str, float | int]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found for a candidate: the best parameters, empty where the declared ones are, and each trial.

    `trials` are pairs of parameters and their mean primary measure over the folds; the first one is the declared.
    """

    parameters: _Values
    trials: tuple[tuple[_Values, float], ...]

    def params(self) -> dict[str, str | float | int]:
        """The trials as MLflow keeps them beside a candidate's parameters."""
        told = {
            f"trial_{number:03d}": f"{value:.4f} " + " ".join(f"{name}={one:.4g}" for name, one in values.items())
            for number, (values, value) in enumerate(self.trials)
        }
        return {"tuning_trials": len(self.trials), **told}


def tune(
    spec: ModelSpec,
    frame: pd.DataFrame,
    split: Split,
    options: FitOptions,
    on_progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Tuned]:
    """Try parameters of every tunable candidate of a ranking, the declared ones first.

    Parzen estimators propose them (Bergstra et al., "Algorithms for hyper-parameter optimization", 2011). Each fold
    learns from the runs before it. The budget is a number of trials and no time, so that the same trials follow from
    the same seed on any machine.

    Args:
        spec: the model, with `tunable`.
        frame: feature frame with outcomes.
        split: periods; only fit and calibrate are looked at.
        options: seed and limits of each fit, and the budget in `trials`.
        on_progress: called with a line after each trial.

    Returns:
        by candidate; without those that no fold can be fitted for.
    """
    if options.trials == 0:
        return {}
    folds = list(_folds(frame, split))
    found = {}
    for name, space in spec.tunable.items():
        one = replace(spec, candidates={name: spec.candidates[name]})
        declared = one.candidates[name](options.seed).get_params()
        study = _study(options.seed)
        study.enqueue_trial({parameter: declared[parameter] for parameter in space})
        tried: list[tuple[_Values, float]] = []
        for number in range(options.trials):
            trial = study.ask()
            values = {parameter: _suggested(trial, parameter, span) for parameter, span in space.items()}
            value = _value(one, values, folds, options)
            if math.isnan(value):
                break
            study.tell(trial, value)
            tried.append((values, value))
            on_progress(f"{name}: trial {number + 1} of {options.trials}: {value:.4f}")
        if tried:
            best = max(range(len(tried)), key=lambda number: tried[number][1])
            found[name] = Tuned(tried[best][0] if best else {}, tuple(tried))
    return found


def _study(seed: int) -> Any:
    import optuna  # noqa: PLC0415 -- takes a second, and most trainings tune nothing

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))


def _suggested(trial: Any, name: str, span: Range) -> float | int:
    if isinstance(span.low, int) and isinstance(span.high, int):
        return int(trial.suggest_int(name, span.low, span.high, log=True))
    return float(trial.suggest_float(name, span.low, span.high, log=True))


def _folds(frame: pd.DataFrame, split: Split) -> Iterator[tuple[pd.DataFrame, Split]]:
    """Frames with splits whose calibrate period is the fold, and whose fit period all runs before it."""
    known = pd.concat([period_rows(frame, split, "fit"), period_rows(frame, split, "calibrate")])
    starts = runs_of(known)["started_at"]
    cuts = [starts.iloc[int(share * len(starts))].to_pydatetime(warn=False) for share in FOLDS]
    for start, end in pairwise([*cuts, split.validate.start]):
        nothing = Interval(split.validate.start, split.validate.start)
        yield known, Split(Interval(None, start), Interval(start, end), nothing, nothing)


def _value(spec: ModelSpec, values: _Values, folds: list[tuple[pd.DataFrame, Split]], options: FitOptions) -> float:
    """Mean primary measure over the folds that can be fitted; NaN without one."""
    [name] = spec.candidates
    found = []
    for frame, fold in folds:
        try:
            [one] = fit_candidates(spec, frame, fold, replace(options, parameters={name: values}))
        except NotEnoughData:
            continue
        rows = period_rows(frame, fold, "calibrate")
        found.append(float(primary_by_run(spec, rows.assign(score=odds(one, rows))).mean()))
    return float(np.nanmean(found)) if not np.isnan(found).all() else math.nan
