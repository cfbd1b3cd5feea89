"""Which tests are flaky, how sure that is, and what it costs: from the labels of failures, per (variant, test).

The rate at which a test fails for no reason of the code gets a Beta posterior (beta-binomial, e.g. Gelman et al.,
*Bayesian Data Analysis*, 3rd ed., 2.4). Failures count by the probability that they are flaky; failures held for a
regression or for infrastructure are no trials: a broken test is not a flaky one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ml.errors import NotEnoughData
from ml.spec import MERGED_RESULT, FailureState

COUNTS = ("executions", "flaky_failures", "other_failures", "failures_in_a_row", "executions_since_flaky")
Floats = npt.NDArray[np.float64]


class TestState(StrEnum):
    """What a team should think of a test."""

    __test__ = False  # not a test case, whatever its name

    HEALTHY = "healthy"
    FLAKY = "flaky"
    BROKEN = "broken"
    QUARANTINE = "quarantine candidate"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Limits:
    """Choices behind a state.

    Attributes:
        prior_failures: Flaky failures that the prior is worth, before any execution.
        prior_executions: Executions that it is worth; together they say that one execution in 400 fails for nothing.
        least_rate: A test whose rate of flaky failures (0..1) is higher counts as flaky.
        sure: Probability (0..1) from which a test is called flaky.
        quarantine_rate: Rate (0..1) from which a flaky test costs more than it tells.
        broken_after: Failures in a row, not held for flaky, that make a test broken.
        fixed_at: Chance (0..1) of so many passes in a row for a test that is still flaky, below which it is fixed.
        most_reruns: Reruns to suggest at most; where more would be needed, reruns settle nothing.
    """

    prior_failures: float = 0.05
    prior_executions: float = 20.0
    least_rate: float = 0.005
    sure: float = 0.95
    quarantine_rate: float = 0.05
    broken_after: int = 2
    fixed_at: float = 0.01
    most_reruns: int = 10


def assess(history: pd.DataFrame, limits: Limits | None = None) -> pd.DataFrame:
    """Assess tests by what is known about their executions.

    Args:
        history: One row per (variant, test_id) with `COUNTS`: executions (attempts merged, skipped ones left out);
            flaky_failures, the sum over failures of the probability (0..1) of being flaky; other_failures, the
            failures held for a regression or for infrastructure; failures_in_a_row, not held for flaky, at the end
            of the history; executions_since_flaky, NaN where no failure was held for flaky.
        limits: Choices behind a state.

    Returns:
        The index of `history` with probability (0..1, that the rate is above `Limits.least_rate`), rate (posterior
        mean), rate_low and rate_high (95 % interval), state (a `TestState`), reason (one line) and reruns: of so many
        executions after a failure, one passes with 95 % if the test is flaky at rate_high, which settles it; NaN where
        more than `Limits.most_reruns` would be needed.

    Raises:
        NotEnoughData: there is no execution at all.
    """
    if not history["executions"].sum():
        raise NotEnoughData("0 executions, at least 1 is needed: collect test results before tests are assessed")
    limits = limits or Limits()
    counts = {name: history[name].to_numpy(np.float64) for name in COUNTS}
    posterior = _posterior(counts, limits)
    probability = posterior.sf(limits.least_rate)
    low, high = posterior.ppf(0.025), posterior.ppf(0.975)
    found = pd.DataFrame(
        {"probability": probability, "rate": posterior.mean(), "rate_low": low, "rate_high": high}, index=history.index
    )
    states = _states(counts, found, limits)
    return found.assign(
        state=[state.value for state in states],
        reason=[
            _reason(state, {name: values[at] for name, values in counts.items()}, probability[at])
            for at, state in enumerate(states)
        ],
        reruns=_reruns(high, limits),
    )


def _posterior(counts: Mapping[str, Floats], limits: Limits) -> stats.distributions.rv_frozen:
    trials = np.maximum(counts["executions"] - counts["other_failures"], counts["flaky_failures"])
    failures = limits.prior_failures + counts["flaky_failures"]
    return stats.beta(failures, limits.prior_executions + trials - failures)


def _states(counts: Mapping[str, Floats], found: pd.DataFrame, limits: Limits) -> list[TestState]:
    is_flaky = found["probability"].to_numpy() >= limits.sure
    quiet = np.nan_to_num(counts["executions_since_flaky"])
    # the rate while it was flaky: the quiet time afterwards must not argue for itself
    noisy = np.maximum(counts["executions"] - counts["other_failures"] - quiet, 1)
    is_fixed = is_flaky & ((1 - np.minimum(counts["flaky_failures"] / noisy, 1)) ** quiet < limits.fixed_at)
    conditions = [
        (TestState.BROKEN, counts["failures_in_a_row"] >= limits.broken_after),
        (TestState.FIXED, is_fixed),
        (TestState.QUARANTINE, is_flaky & (found["rate_low"].to_numpy() >= limits.quarantine_rate)),
        (TestState.FLAKY, is_flaky),
    ]
    return [next((state for state, holds in conditions if holds[at]), TestState.HEALTHY) for at in range(len(is_flaky))]


def _reruns(rate_high: Floats, limits: Limits) -> Floats:
    """Least number of reruns of which one passes with 95 %, if the failure is flaky at the highest credible rate."""
    rate = np.clip(rate_high, 1e-9, 1 - 1e-9)
    needed: Floats = np.maximum(np.ceil(np.log(0.05) / np.log(rate)), 1)
    return np.where(needed <= limits.most_reruns, needed, np.nan)


def _reason(state: TestState, counts: Mapping[str, float], probability: float) -> str:
    told = f"{counts['flaky_failures']:.1f} flaky failures in {counts['executions']:.0f} executions"
    if state is TestState.BROKEN:
        return f"failed {counts['failures_in_a_row']:.0f} times in a row, not held for flaky"
    if state is TestState.FIXED:
        return f"{told}, none in the last {counts['executions_since_flaky']:.0f}"
    return f"{told}: flaky with probability {probability:.2f}"


def count(executions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Count what `assess` needs.

    Args:
        executions: run_id, variant, test_id, failed; attempts merged, in the order of time.
        labels: run_id, variant, test_id, state, probability of the failures among them, as of the same moment.
            A failure without a label counts as unknown.

    Returns:
        One row per (variant, test_id), the index, with `COUNTS`.
    """
    rows = executions.merge(labels[[*MERGED_RESULT, "state", "probability"]], on=MERGED_RESULT, how="left", sort=False)
    chance = _flaky_chance(rows)
    is_other = rows["failed"] & rows["state"].isin([FailureState.REGRESSION, FailureState.INFRASTRUCTURE])
    is_flaky = rows["failed"] & (rows["state"] == FailureState.FLAKY)
    # an outage says nothing about the test: it neither continues a streak nor ends one
    tells = rows["state"] != FailureState.INFRASTRUCTURE
    series = [rows["variant"], rows["test_id"]]
    ends = (tells & (~rows["failed"] | is_flaky)).astype(int)
    after_end = ends[::-1].groupby(series, sort=False).cumsum()[::-1] == 0
    after_flaky = is_flaky[::-1].astype(int).groupby(series, sort=False).cumsum()[::-1]
    counted = pd.DataFrame(
        {
            "executions": 1.0,
            "flaky_failures": chance,
            "other_failures": is_other.astype(float),
            "failures_in_a_row": (after_end & tells & rows["failed"]).astype(float),
            "executions_since_flaky": ((after_flaky == 0) & ~is_other).astype(float),
        }
    )
    totals: pd.DataFrame = counted.groupby(series).sum()
    never = ~is_flaky.groupby(series).any().to_numpy(bool)
    totals.loc[never, "executions_since_flaky"] = np.nan
    return totals


def _flaky_chance(rows: pd.DataFrame) -> "pd.Series[float]":
    """Probability that a failure is flaky: of its label; what a label of another state leaves is too little to count.

    A failure that nobody can tell is worth one half.
    """
    told = rows["probability"].where(rows["state"] == FailureState.FLAKY, 0.0)
    unknown = rows["failed"] & (rows["state"].isna() | (rows["state"] == FailureState.UNKNOWN))
    return told.mask(unknown, 0.5).where(rows["failed"], 0.0)
