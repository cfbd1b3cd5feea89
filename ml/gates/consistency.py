"""Does it behave like itself and like the rules?"""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ml.errors import NotEnoughData
from ml.gates.checks import at_least, at_most, conclude, finite, reported
from ml.gates.evidence import (
    CANDIDATE,
    CHAMPION,
    ConsistencyEvidence,
    RuleOutcome,
    columns_of,
    probability_column,
    score_column,
)
from ml.gates.thresholds import ConsistencyLimits
from ml.metrics import MIN_RESULTS, Bools, Floats, chosen_rows
from ml.spec import MERGED_RESULT, Check, Objective, RuleKind, Verdict

GATE = "consistency"
BREACH = {
    RuleKind.SAME: "changed though it must stay the same",
    RuleKind.NOT_LOWER: "fell though it must not",
    RuleKind.NOT_HIGHER: "rose though it must not",
}


def judge_consistency(evidence: ConsistencyEvidence, limits: ConsistencyLimits) -> Verdict:
    """Hold repeated scores, ranges, rule cases and the distance to the champion against their limits."""
    checks = [
        _same("repeat_difference", evidence, evidence.again, limits.same_score_tolerance),
        _same("reload_difference", evidence, evidence.reloaded, limits.same_score_tolerance),
        _served(evidence, limits.same_score_tolerance),
        *_range_checks(evidence, limits),
        *_rule_checks(evidence, limits),
        *_champion_checks(evidence, limits),
    ]
    return conclude(GATE, checks)


def _same(name: str, evidence: ConsistencyEvidence, other: ArrayLike, limit: float) -> Check:
    return at_most(
        name,
        lambda: _largest_difference(finite(evidence.rows, score_column(CANDIDATE)), other),
        limit,
        f"largest difference over {len(evidence.rows)} rows",
    )


def _served(evidence: ConsistencyEvidence, limit: float) -> Check:
    """Training and serving build their features by different queries; a skew between them shows here."""
    both = evidence.rows.merge(evidence.served, on=MERGED_RESULT, validate="one_to_one")
    detail = (
        f"largest difference over {len(both)} rows of {both['run_id'].nunique()} runs, scored as they are published"
    )
    return at_most(
        "serve_difference",
        lambda: _largest_difference(finite(both, score_column(CANDIDATE)), both["score"]),
        limit,
        detail,
    )


def _largest_difference(one: Floats, other: ArrayLike) -> float:
    two = np.asarray(other, dtype=np.float64)
    if two.shape != one.shape:
        raise NotEnoughData(f"{two.size} scores to compare with {one.size}: the same rows must be scored")
    return float(np.abs(one - two).max()) if np.isfinite(two).all() else math.nan


def _range_checks(evidence: ConsistencyEvidence, limits: ConsistencyLimits) -> Iterator[Check]:
    rows = evidence.rows
    score = _column(rows, score_column(CANDIDATE))
    probability = _column(rows, probability_column(CANDIDATE))
    of = f"of {len(rows)} rows"
    bad = None if score is None else int((~np.isfinite(score)).sum())
    yield at_most("nonfinite_scores", bad, limits.max_nonfinite_scores, of)
    off = None if probability is None else int((~((probability >= 0) & (probability <= 1))).sum())
    yield at_most("probability_violations", off, limits.max_probability_violations, f"{of} outside 0..1 or without one")
    broken = evidence.contract_violations
    yield at_most("contract_violations", broken, limits.max_contract_violations, "prediction rows")


def _column(rows: pd.DataFrame, name: str) -> Floats | None:
    return rows[name].to_numpy(np.float64, na_value=np.nan) if len(rows) and name in rows.columns else None


def _rule_checks(evidence: ConsistencyEvidence, limits: ConsistencyLimits) -> Iterator[Check]:
    if not evidence.rules:
        yield at_most("rules", None, limits.max_directional_share, "the model names no rule case to hold it against")
    for name, outcome in evidence.rules.items():
        kind = RuleKind(outcome.kind)
        limit = limits.max_invariance_share if kind is RuleKind.SAME else limits.max_directional_share
        detail = f"share of {np.size(outcome.before)} cases where the score {BREACH[kind]}"
        measured = partial(_broken_share, outcome, limits.same_score_tolerance)
        yield at_most(f"rule:{name}", measured, limit, detail)


def _broken_share(outcome: RuleOutcome, tolerance: float) -> float:
    before, after = np.asarray(outcome.before, np.float64), np.asarray(outcome.after, np.float64)
    if before.shape != after.shape:
        raise NotEnoughData(f"{after.size} scores after the change for {before.size} before it")
    if not before.size or not np.isfinite(before).all() or not np.isfinite(after).all():
        raise NotEnoughData(f"{before.size} cases, of which some or all have no score")
    rise = after - before
    broken = {
        RuleKind.SAME: np.abs(rise) > tolerance,
        RuleKind.NOT_LOWER: rise < -tolerance,
        RuleKind.NOT_HIGHER: rise > tolerance,
    }
    return float(broken[RuleKind(outcome.kind)].mean())


def _champion_checks(evidence: ConsistencyEvidence, limits: ConsistencyLimits) -> Iterator[Check]:
    if not evidence.has_champion:
        yield reported("champions_compared", 0, "there is no champion: rank correlation, PSI and decisions not judged")
        return
    rows, budget = evidence.rows, evidence.budget
    is_ranking = evidence.objective is Objective.RANKING
    # Probabilities are compared over all rows: one row of a run has no order.
    compared, over = (rows, "median over runs") if is_ranking else (rows.assign(run_id="all"), "over all rows")
    yield at_least(
        "rank_correlation", lambda: rank_correlation(compared), limits.min_rank_correlation, f"Spearman, {over}"
    )
    yield at_most("psi", lambda: _shift(rows, limits), limits.max_psi, "shift of probabilities against the champion")
    if is_ranking:
        detail = f"share of tests that only one of the two selects within {budget:.0%}"
        yield at_most("flipped_share", lambda: flipped_share(rows, budget), limits.max_flipped_share, detail)
    else:
        detail = "share of rows that only one of the two calls risky, each at its own threshold"
        yield at_most("flipped_share", lambda: flipped_choices(rows), limits.max_flipped_share, detail)


def rank_correlation(rows: pd.DataFrame) -> float:
    """Median over runs of Spearman's rank correlation between candidate and champion scores, ties averaged.

    Runs with fewer than `MIN_RESULTS` tests, or where a model gives every test one score, have none.

    Raises:
        NotEnoughData: a score is missing, or no run has a correlation.
    """
    run = pd.factorize(rows["run_id"])[0]
    ranks = pd.DataFrame({"run": run, "a": _scores(rows, CANDIDATE), "b": _scores(rows, CHAMPION)})
    ranks[["a", "b"]] = ranks.groupby("run")[["a", "b"]].rank()
    ranks[["a", "b"]] -= ranks.groupby("run")[["a", "b"]].transform("mean")
    parts = ranks.assign(ab=ranks["a"] * ranks["b"], aa=ranks["a"] ** 2, bb=ranks["b"] ** 2, n=1)
    sums = parts.groupby("run")[["ab", "aa", "bb", "n"]].sum()
    known = sums[(sums["aa"] > 0) & (sums["bb"] > 0) & (sums["n"] >= MIN_RESULTS)]
    if known.empty:
        raise NotEnoughData(f"no run of {MIN_RESULTS} tests where both models tell the tests apart")
    return float((known["ab"] / np.sqrt(known["aa"] * known["bb"])).median())


def population_stability(one: ArrayLike, two: ArrayLike, edges: ArrayLike, floor: float) -> float:
    """Population stability index ``sum (p - q) ln(p / q)`` over the bins that `edges` cut; 0 when alike.

    Siddiqi, "Credit Risk Scorecards", 2006. A share below `floor` counts as `floor`.
    """
    cuts = np.asarray(edges, np.float64)
    p, q = (_shares(np.asarray(values, np.float64), cuts, floor) for values in (one, two))
    return float(((p - q) * np.log(p / q)).sum())


def _shares(values: Floats, cuts: Floats, floor: float) -> Floats:
    counts = np.bincount(np.searchsorted(cuts, values, side="right"), minlength=len(cuts) + 1)
    return np.maximum(counts / len(values), floor)


def flipped_share(rows: pd.DataFrame, budget: float) -> float:
    """Share of rows that exactly one of candidate and champion selects when each run may run `budget` of its tests.

    Raises:
        NotEnoughData: a score is missing.
    """
    return float((_selected(rows, CANDIDATE, budget) != _selected(rows, CHAMPION, budget)).mean())


def flipped_choices(rows: pd.DataFrame) -> float:
    """Share of rows that exactly one of candidate and champion chose.

    Raises:
        NotEnoughData: a choice is missing.
    """
    one, other = (finite(rows, columns_of(name).chosen) for name in (CANDIDATE, CHAMPION))
    return float((one != other).mean())


def _selected(rows: pd.DataFrame, name: str, budget: float) -> Bools:
    _scores(rows, name)
    return chosen_rows(Objective.RANKING, rows, columns_of(name), budget)


def _scores(rows: pd.DataFrame, name: str) -> Floats:
    return finite(rows, score_column(name))


def _shift(rows: pd.DataFrame, limits: ConsistencyLimits) -> float:
    ours, theirs = (finite(rows, probability_column(name)) for name in (CANDIDATE, CHAMPION))
    return population_stability(ours, theirs, limits.psi_edges, limits.psi_floor)
