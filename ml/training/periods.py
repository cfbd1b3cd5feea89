"""Which runs a model is fitted, calibrated, chosen and judged on: four periods in time order."""

import math
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd

from ml.errors import NotEnoughData
from ml.spec import Interval, Split

Period = Literal["fit", "calibrate", "validate", "test"]

WINDOWS = 3
TICK = timedelta(microseconds=1)
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


def fresh_period(
    runs: pd.DataFrame, used: list[Interval], share: float, needed: int, learned: datetime | None = None
) -> Interval:
    """What the candidate is judged on: the latest share of the runs that promoted nobody yet.

    The rest of them is learned from. The share grows until it holds as many failing runs as the gates need, and the
    period ends just after its last run, so that it can be stored and be told from the next one.

    Args:
        runs: as `runs_of` makes them.
        used: periods that promoted a version.
        share: of the fresh runs, 0..1.
        needed: failing runs that the gates need, once there is a champion to be judged against.
        learned: where the shared champion stopped learning, if it is the one to be judged against: what it has seen of
            the project it cannot be judged on.

    Raises:
        NotEnoughData: nothing fresh, or too few failing runs; says since when, and how many are needed.
    """
    start = max((period.end for period in used if period.end is not None), default=learned)
    fresh = (runs if start is None else runs.loc[runs["started_at"] >= start]).reset_index(drop=True)
    failing = int(fresh["is_failing"].sum())
    if fresh.empty or (start is not None and failing < needed):
        border = "the shared champion stopped learning" if learned else "the period that promoted the champion ends"
        since = f" since {start:%Y-%m-%d %H:%M} UTC, where {border}" if start else ""
        left_out = "" if len(runs) else "; no run counts: outages and runs without an outcome are left out"
        raise NotEnoughData(f"{failing} runs failed{since}; {needed} are needed to judge a candidate{left_out}")
    first = min(int(len(fresh) * (1 - share)), len(fresh) - 1)
    if start is not None:
        enough = fresh.index[fresh["is_failing"][::-1].cumsum()[::-1] >= needed]
        first = min(first, int(enough[-1]))
    end = fresh["started_at"].iloc[-1].to_pydatetime() + TICK
    return Interval(fresh["started_at"].iloc[first].to_pydatetime(), end)


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


def windows(runs: pd.DataFrame, split: Split) -> list[Split]:
    """A split and what it would have been earlier: validate periods of as many runs, each ending where the next begins.

    Args:
        runs: as for `split_by_time`.
        split: as `split_by_time` makes it.

    Returns:
        at most `WINDOWS` splits, the given one first; where a period has too few failing runs, fewer.
    """
    ordered = runs.sort_values(["started_at", "run_id"], ignore_index=True)
    starts = ordered["started_at"]
    first, end = ((starts < border).sum() for border in (split.validate.start, split.validate.end))
    found = [split]
    for at in range(first - (end - first), 0, first - end)[: WINDOWS - 1]:
        calibrate = _moment(starts.iloc[math.floor(at * FIT_SHARE / (FIT_SHARE + CALIBRATE_SHARE))])
        validate = Interval(_moment(starts.iloc[at]), found[-1].validate.start)
        fit, calibration = Interval(None, calibrate), Interval(calibrate, validate.start)
        found.append(Split(fit, calibration, validate, split.test))
    return [split, *(one for one in found[1:] if not _lacking(ordered, one))]


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
    if lacking := _lacking(runs, split):
        raise NotEnoughData(f"splitting {len(runs)} runs by time: {'; '.join(lacking)}")


def _lacking(runs: pd.DataFrame, split: Split) -> list[str]:
    found = {name: int(period_rows(runs, split, name)["is_failing"].sum()) for name in _PERIODS}
    return [
        f"{name} has {found[name]} failing runs and needs {needed}"
        for name, needed in MIN_FAILING_RUNS.items()
        if found[name] < needed
    ]


_PERIODS: tuple[Period, ...] = ("fit", "calibrate", "validate", "test")
