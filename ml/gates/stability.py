"""Is it steady over time, seeds and slices, and as well calibrated?"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ml.errors import NotEnoughData
from ml.gates.checks import at_least, at_most, conclude, finite
from ml.gates.contest import Contest, hold_contest, strongest_baseline
from ml.gates.evidence import CANDIDATE, CHAMPION, RankingEvidence, StabilityEvidence, probability_column
from ml.gates.slices import slice_checks, slice_leads
from ml.gates.statistical import enough_runs
from ml.gates.thresholds import StabilityLimits, StatisticalLimits
from ml.metrics import Bools, Floats, brier, ece, failure_rate, weights_of
from ml.spec import Check, Verdict

GATE = "stability"
CalibrationMeasure = Callable[[Bools, Floats, Floats], float]


def judge_stability(evidence: StabilityEvidence, limits: StabilityLimits, ranking: StatisticalLimits) -> Verdict:
    """Hold the spread over time and refits, the slices and the calibration against their limits.

    `ranking` says which metric and view the statistical gate judges: this gate looks at the same numbers.
    """
    contest = hold_contest(evidence.ranking, ranking, evidence.refits)
    enough = enough_runs(contest, ranking)
    checks = [enough, *_calibration_checks(evidence.ranking, limits)]
    if enough.passed:
        checks.append(_window_check(contest, limits))
        checks.append(_refit_check(evidence, contest, limits))
        checks += _slice_checks(evidence.ranking, contest, limits, ranking)
    return conclude(GATE, checks)


def _window_check(contest: Contest, limits: StabilityLimits) -> Check:
    detail = f"worst mean of {limits.window_runs} runs in a row, relative to the mean of all {contest.run_count}"
    return at_least(
        "worst_window_ratio",
        lambda: worst_window_ratio(contest.of(CANDIDATE), limits.window_runs),
        limits.min_worst_window_ratio,
        detail,
    )


def worst_window_ratio(values: Floats, window: int) -> float:
    """Lowest mean over `window` consecutive runs divided by the mean over all; 1 when perfectly steady.

    Raises:
        NotEnoughData: there are not two windows' worth of runs, or the mean is zero.
    """
    known = values[np.isfinite(values)]
    if len(known) < 2 * window or known.mean() == 0:
        raise NotEnoughData(f"needs {2 * window} runs and a mean above zero, has {len(known)} runs")
    return float(np.convolve(known, np.ones(window) / window, mode="valid").min() / known.mean())


def _refit_check(evidence: StabilityEvidence, contest: Contest, limits: StabilityLimits) -> Check:
    detail = f"highest minus lowest mean over the candidate and {len(evidence.refits)} refits with other seeds"
    measured = partial(_refit_spread, evidence.refits, contest, limits)
    return at_most("refit_spread", measured, limits.max_refit_spread, detail)


def _refit_spread(refits: tuple[str, ...], contest: Contest, limits: StabilityLimits) -> float:
    if len(refits) < limits.min_refits:
        raise NotEnoughData(f"needs {limits.min_refits} refits with other seeds, has {len(refits)}")
    return float(np.ptp([contest.mean(name).value for name in (CANDIDATE, *refits)]))


def _slice_checks(
    evidence: RankingEvidence, contest: Contest, limits: StabilityLimits, ranking: StatisticalLimits
) -> list[Check]:
    """Against the champion; with none, against the baseline that was strongest on earlier rows."""
    try:
        rival = CHAMPION if evidence.has_champion else strongest_baseline(evidence, ranking, contest)
        leads = slice_leads(evidence, rival, contest, limits, ranking.view)
        return slice_checks(leads, rival, contest, limits)
    except NotEnoughData as reason:
        return [at_least("slices", None, limits.slice_alpha, str(reason))]


def _calibration_checks(evidence: RankingEvidence, limits: StabilityLimits) -> Iterator[Check]:
    ours = partial(_calibration, evidence, CANDIDATE)
    always = "times the score of always answering the period's failure rate"
    yield at_most("brier", lambda: ours(brier), limits.max_brier, "mean squared error of the probability")
    yield at_most("brier_ratio", lambda: ours(brier) / _always(evidence), limits.max_brier_ratio, always)
    yield at_most("ece", lambda: ours(ece), limits.max_ece, "expected calibration error")
    if evidence.has_champion:
        rise = partial(_increase, evidence)
        yield at_most("brier_increase", lambda: rise(brier), limits.max_brier_increase, "over the champion's")
        yield at_most("ece_increase", lambda: rise(ece), limits.max_ece_increase, "over the champion's")


def _calibration(evidence: RankingEvidence, name: str, measure: CalibrationMeasure) -> float:
    rows = evidence.rows
    return measure(rows["failed"].to_numpy(bool), finite(rows, probability_column(name)), weights_of(rows))


def _increase(evidence: RankingEvidence, measure: CalibrationMeasure) -> float:
    return _calibration(evidence, CANDIDATE, measure) - _calibration(evidence, CHAMPION, measure)


def _always(evidence: RankingEvidence) -> float:
    """Brier score of always answering the failure rate of the judged rows."""
    rate = failure_rate(evidence.rows)
    if rate in {0.0, 1.0}:
        raise NotEnoughData("the judged rows hold no failure, or nothing else")
    return rate * (1 - rate)
