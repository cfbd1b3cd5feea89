"""Is it better than the champion, and than the trivial baselines, by more than chance?

Differences are taken run by run on the same rows. Their intervals come from one circular moving-block bootstrap over
time-ordered runs (Politis and Romano 1992; Kuensch 1989), because neighbouring runs share their faults.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from ml.errors import NotEnoughData
from ml.gates.checks import FAILING_RUNS, LOWER_BOUND, above, at_least, at_most, conclude, finite, reported, unjudged
from ml.gates.contest import Contest, hold_contest
from ml.gates.evidence import ANCHOR, CANDIDATE, CHAMPION, RankingEvidence, probability_column
from ml.gates.thresholds import StatisticalLimits
from ml.metrics import Bools, failure_rate, pr_auc, weights_of
from ml.spec import Check, Interval, Measure, Objective, Verdict

GATE = "statistical"
ROUTE = "route"


class Route(StrEnum):
    """Why a candidate may replace what is there."""

    FIRST = "first"
    BETTER = "better"
    REFRESH = "refresh"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean of one metric over the test runs for each contestant, and the candidate's lead over each rival."""

    metric: str
    run_count: int
    means: dict[str, Measure]
    leads: dict[str, Measure]


def judge_statistical(evidence: RankingEvidence, limits: StatisticalLimits) -> Verdict:
    """Hold the paired differences against the champion and every baseline, and the floors."""
    contest = hold_contest(evidence, limits)
    checks = [*_period_checks(evidence, limits), enough_runs(contest, limits)]
    if checks[-1].passed:
        checks += _baseline_checks(evidence, contest, limits)
        checks += _route_checks(evidence, contest, limits)
        checks += _floor_checks(evidence, contest, limits)
    return conclude(GATE, checks)


def compare(evidence: RankingEvidence, limits: StatisticalLimits) -> Comparison:
    """The numbers behind the verdict, on the same resamples; contestants without scores are left out."""
    contest = hold_contest(evidence, limits)
    if not contest.run_count:
        return Comparison(limits.metric, 0, {}, {})
    leads = {name: contest.lead(name) for name in contest.values if name != CANDIDATE}
    return Comparison(limits.metric, contest.run_count, {name: contest.mean(name) for name in contest.values}, leads)


def route(verdict: Verdict) -> str:
    """The route that a statistical verdict took: one of `Route`; `none` also when it was not reached."""
    return next((check.detail for check in verdict.checks if check.name == ROUTE), Route.NONE.value)


def enough_runs(contest: Contest, limits: StatisticalLimits) -> Check:
    """Whether enough runs with failures count; says how many are needed and there are, or why there are none."""
    needed, has = limits.min_failing_runs, contest.failing_count
    reason = f" ({contest.missing[CANDIDATE]})" if CANDIDATE in contest.missing else ""
    measured = None if reason else has
    return at_least(FAILING_RUNS, measured, needed, f"needs {needed} runs with failures, has {has}{reason}")


def _period_checks(evidence: RankingEvidence, limits: StatisticalLimits) -> Iterator[Check]:
    test = evidence.split.test
    used = [_spell(period) for period in evidence.used_periods if _overlap(test, period)]
    reason = f"has promoted before: {'; '.join(used)}" if used else "has promoted no version yet"
    yield at_most("test_period_reuse", len(used), limits.max_period_reuse, f"test period {_spell(test)} {reason}")
    outside = _outside(evidence.rows["started_at"], test)
    yield at_most("rows_outside_test_period", outside, limits.max_rows_outside_period, f"of {len(evidence.rows)} rows")


def _outside(started_at: pd.Series, period: Interval) -> int:
    before = 0 if period.start is None else int((started_at < period.start).sum())
    return before + (0 if period.end is None else int((started_at >= period.end).sum()))


def _overlap(one: Interval, two: Interval) -> bool:
    return (one.end is None or two.start is None or two.start < one.end) and (
        two.end is None or one.start is None or one.start < two.end
    )


def _spell(period: Interval) -> str:
    start = "the beginning" if period.start is None else f"{period.start:%Y-%m-%d %H:%M}"
    end = "open" if period.end is None else f"{period.end:%Y-%m-%d %H:%M}"
    return f"{start} to {end}"


def _lead_check(name: str, contest: Contest, rival: str, limit: float) -> Check:
    """Passes when the lower bound of the lead over `rival` lies above `limit`."""
    try:
        lead = contest.lead(rival)
    except NotEnoughData as reason:
        return above(name, None, limit, str(reason))
    bounds = f"lead {lead.value:+.4f} [{lead.low:+.4f}, {lead.high:+.4f}] over {contest.run_count} runs"
    return above(name, lead.low, limit, f"{LOWER_BOUND}; {bounds}, blocks of {contest.block_length}")


def _baseline_checks(evidence: RankingEvidence, contest: Contest, limits: StatisticalLimits) -> list[Check]:
    """Every baseline must be beaten, so the best one is, whichever it is on these rows."""
    limit = limits.min_baseline_lift
    if not evidence.baselines:
        return [above("lead_over_baselines", None, limit, "no baseline was given to compare with")]
    return [_lead_check(f"lead_over_baseline:{name}", contest, name, limit) for name in evidence.baselines]


def _route_checks(evidence: RankingEvidence, contest: Contest, limits: StatisticalLimits) -> list[Check]:
    if not evidence.has_champion:
        return [_taken(Route.FIRST)]
    better = _lead_check("better:lead_over_champion", contest, CHAMPION, limits.min_improvement)
    refusal = _refresh_refusal(evidence, limits)
    refresh = _refresh_checks(contest, limits)
    if better.passed:
        return [better, *unjudged([] if refusal else refresh), _taken(Route.BETTER)]
    if refusal:
        return [better, refusal, _taken(Route.NONE)]
    if all(check.passed for check in refresh):
        return [*unjudged([better]), *refresh, _taken(Route.REFRESH)]
    return [better, *refresh, _taken(Route.NONE)]


def _refresh_refusal(evidence: RankingEvidence, limits: StatisticalLimits) -> Check | None:
    """None when the champion is old or the data drifted: then a refresh may be asked for."""
    age, limit = evidence.champion_age_days, limits.max_champion_age_days
    if evidence.is_shared:
        return reported("refresh:own_champions", 0, "the shared model is no champion of the project: only better wins")
    if evidence.has_drift or (age is not None and age > limit):
        return None
    if age is None:
        return above("refresh:champion_age_days", None, limit, "the age of the champion is unknown")
    return reported("refresh:champion_age_days", age, f"a refresh needs drift or a champion older than {limit:g} days")


def _refresh_checks(contest: Contest, limits: StatisticalLimits) -> list[Check]:
    return [
        _lead_check("refresh:lead_over_champion", contest, CHAMPION, -limits.refresh_margin),
        _lead_check("refresh:lead_over_anchor", contest, ANCHOR, -limits.anchor_margin),
    ]


def _taken(taken: Route) -> Check:
    """The route as a check: how many routes are open, of which one is enough; the detail is the route's name alone."""
    return at_least(ROUTE, float(taken is not Route.NONE), 1, taken.value)


def _floor_checks(evidence: RankingEvidence, contest: Contest, limits: StatisticalLimits) -> Iterator[Check]:
    rows = evidence.rows
    failed = rows["failed"].to_numpy(bool)
    rate = failure_rate(rows)
    detail = f"times the failure rate of {rate:.4f}"
    yield at_least("pr_auc_lift", lambda: _lift(evidence, failed, rate), limits.min_pr_auc_lift, detail)
    is_ranking = evidence.objective is Objective.RANKING
    how = f"seen within {evidence.budget:.0%} of the tests" if is_ranking else "called risky"
    detail = f"share of {contest.failing_count} faulty runs {how}"
    known = contest.change_recall[np.isfinite(contest.change_recall)]
    yield at_least("change_recall", float(known.mean()) if len(known) else None, limits.min_change_recall, detail)


def _lift(evidence: RankingEvidence, failed: Bools, rate: float) -> float:
    probability = finite(evidence.rows, probability_column(CANDIDATE))
    return pr_auc(failed, probability, weights_of(evidence.rows)) / rate
