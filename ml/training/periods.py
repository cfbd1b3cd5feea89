"""Which runs a model is fitted, calibrated, chosen and judged on: four periods in time order."""

import math
from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd

from ml.errors import NotEnoughData
from ml.spec import Interval, Split

Period = Literal["fit", "calibrate", "validate", "test"]

FIT_SHARE = 0.65
CALIBRATE_SHARE = 0.15
# Below these an estimator, two calibration parameters or a choice between candidates would rest on chance.
MIN_FAILING_RUNS: dict[Period, int] = {"fit": 20, "calibrate": 5, "validate": 10, "test": 1}


def runs_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs of a feature frame: run_id, started_at, known_at, is_failing (any test failed), by (started_at, run_id)."""
    first = frame.drop_duplicates("run_id")[["run_id", "started_at", "known_at"]]
    failing = frame.loc[frame["failed"].to_numpy(bool), "run_id"].unique()
    runs = first.assign(is_failing=first["run_id"].isin(failing))
    return runs.sort_values(["started_at", "run_id"], ignore_index=True)


def split_by_time(runs: pd.DataFrame, test: Interval | float) -> Split:
    """Four periods in time order: never at random, since a later run knows the fate of an earlier one.

    Of the runs before the test period, 65 % go to fit, 15 % to calibrate and 20 % to validate.

    Args:
        runs: run_id, started_at, known_at, is_failing (bool); one row per run, as `runs_of` makes it.
        test: the period to judge on, or the share (0..1) of the runs, the latest ones, that form it.

    Raises:
        NotEnoughData: a period has too few failing runs; names the period, what it has and what it needs.
    """
    ordered = runs.sort_values(["started_at", "run_id"], ignore_index=True)
    period = test if isinstance(test, Interval) else _last(ordered, test)
    before = ordered if period.start is None else ordered.loc[ordered["started_at"] < period.start]
    if period.start is None or len(before) < 3:
        raise NotEnoughData(f"splitting by time: {len(before)} runs lie before the test period; at least 3 are needed")
    starts = before["started_at"].reset_index(drop=True)
    calibrate = starts.iloc[math.floor(len(starts) * FIT_SHARE)]
    validate = starts.iloc[math.floor(len(starts) * (FIT_SHARE + CALIBRATE_SHARE))]
    split = Split(
        fit=Interval(None, _moment(calibrate)),
        calibrate=Interval(_moment(calibrate), _moment(validate)),
        validate=Interval(_moment(validate), period.start),
        test=period,
    )
    _require_failing_runs(ordered, split)
    return split


def period_rows(frame: pd.DataFrame, split: Split, period: Period) -> pd.DataFrame:
    """Rows of the runs in a period whose results were known before the next one began.

    A run that was still going on at the border is left out of the earlier period: when the later period began,
    nobody could have learned from it.

    Args:
        frame: rows with started_at and known_at (UTC).
        split: the four periods.
        period: which of them.
    """
    span: Interval = getattr(split, period)
    until = span.end if period != "test" else None
    started, known = frame["started_at"], frame["known_at"]
    inside = np.ones(len(frame), dtype=bool)
    if span.start is not None:
        inside &= (started >= span.start).to_numpy()
    if span.end is not None:
        inside &= (started < span.end).to_numpy()
    if until is not None:
        inside &= (known < until).to_numpy()
    return frame.loc[inside]


def _last(ordered: pd.DataFrame, share: float) -> Interval:
    at = math.ceil(len(ordered) * (1 - share) - 1e-9)
    if at >= len(ordered):
        raise NotEnoughData(f"splitting by time: {len(ordered)} runs leave none for a test share of {share}")
    return Interval(_moment(ordered["started_at"].iloc[at]), None)


def _moment(value: pd.Timestamp) -> datetime:
    return value.to_pydatetime(warn=False)


def _require_failing_runs(runs: pd.DataFrame, split: Split) -> None:
    found = {name: int(period_rows(runs, split, name)["is_failing"].sum()) for name in _PERIODS}
    lacking = [
        f"{name} has {found[name]} failing runs and needs {needed}"
        for name, needed in MIN_FAILING_RUNS.items()
        if found[name] < needed
    ]
    if lacking:
        raise NotEnoughData(f"splitting {len(runs)} runs by time: {'; '.join(lacking)}")


_PERIODS: tuple[Period, ...] = ("fit", "calibrate", "validate", "test")
