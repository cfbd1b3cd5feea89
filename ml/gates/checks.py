"""How a number becomes a check, and checks become a verdict."""

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ml.errors import NotEnoughData
from ml.metrics import Floats
from ml.spec import Check, Status, Verdict

FAILING_RUNS = "failing_runs"
UNKNOWN = "not measured"
LOWER_BOUND = "lower bound"
# A number, None when it is missing, or how to get it: a NotEnoughData then becomes the reason why it is missing.
Measured = float | None | Callable[[], float]


def at_least(name: str, measured: Measured, limit: float, detail: str = "") -> Check:
    """Passes when ``measured >= limit``; a missing number never passes."""
    return _hold(Check(name, None, float(limit), True, False, detail), measured, operator.ge)


def at_most(name: str, measured: Measured, limit: float, detail: str = "") -> Check:
    """Passes when ``measured <= limit``; a missing number never passes."""
    return _hold(Check(name, None, float(limit), False, False, detail), measured, operator.le)


def above(name: str, measured: Measured, limit: float, detail: str = "") -> Check:
    """Passes when ``measured > limit``: for lower bounds, where equality is no evidence of a difference."""
    return _hold(Check(name, None, float(limit), True, False, detail), measured, operator.gt)


def _hold(check: Check, measured: Measured, passes: Callable[[Any, Any], bool]) -> Check:
    try:
        value = measured() if callable(measured) else measured
    except NotEnoughData as reason:
        return replace(check, detail=str(reason))
    if value is None or not math.isfinite(value):
        return replace(check, detail=check.detail or UNKNOWN)
    return replace(check, measured=float(value), passed=bool(passes(value, check.threshold)))


def reported(name: str, measured: float, detail: str) -> Check:
    """A number that is recorded but not judged: its threshold is None and its detail starts with "reported only"."""
    return Check(name, float(measured), None, True, True, f"reported only, {detail}")


def unjudged(checks: Iterable[Check]) -> list[Check]:
    """The measured ones of `checks` as reported only, with the threshold kept in words."""
    return [
        reported(check.name, check.measured, f"against {check.threshold:g}; {check.detail}")
        for check in checks
        if check.measured is not None and check.threshold is not None
    ]


def finite(rows: pd.DataFrame, column: str) -> Floats:
    """The values of a column.

    Raises:
        NotEnoughData: the frame is empty, the column is missing, or a value is null or not finite.
    """
    if column not in rows.columns:
        raise NotEnoughData(f"column {column!r} is missing from the judged rows")
    if rows.empty:
        raise NotEnoughData("there are no rows to judge on")
    values = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise NotEnoughData(f"{bad} of {len(values)} values of {column!r} are missing or not finite")
    return values


def conclude(gate: str, checks: Iterable[Check]) -> Verdict:
    """`error` when a judged number is missing or the failing runs are too few; else `fail` when a check failed.

    No judged check at all is an error too.
    """
    kept = tuple(checks)
    judged = [check for check in kept if check.threshold is not None]
    undecided = [
        check for check in judged if check.measured is None or (check.name == FAILING_RUNS and not check.passed)
    ]
    if undecided or not judged:
        return Verdict(gate, Status.ERROR, kept)
    return Verdict(gate, Status.PASS if all(check.passed for check in judged) else Status.FAIL, kept)
