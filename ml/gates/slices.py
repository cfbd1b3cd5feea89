"""No project, suite, variant, test age or other slice may lose what the whole gains.

A failing result's position in its run, ``1 - (rank - 1/2) / n``, is its own share of APFD (the mean over a run's
failing results is APFD). A slice is measured by the positions of its failing results in the whole run's ranking, so
that a slice too small to be ranked on its own still counts. For a model of probabilities every row counts, with its
quadratic score ``1 - (p - failed)^2``.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ml.gates.checks import at_least, reported
from ml.gates.contest import Contest
from ml.gates.evidence import (
    CANDIDATE,
    SLICE,
    SUITE,
    TEST_AGE_DAYS,
    RankingEvidence,
    probability_column,
    score_column,
)
from ml.gates.thresholds import StabilityLimits
from ml.metrics import Floats, Ints, View, holm
from ml.spec import MERGED_RESULT, Check, Objective

SEPARATORS = re.compile(r"[./\\:#]+")


@dataclass(frozen=True, slots=True)
class SliceTest:
    """One slice: mean lead per run over the rival (0..1), runs, and the p-value of "it lost"."""

    name: str
    run_count: int
    lead: float
    p_value: float


def slice_checks(leads: Mapping[str, Floats], rival: str, contest: Contest, limits: StabilityLimits) -> list[Check]:
    """One check per slice with enough runs, Holm-corrected together; smaller slices are reported, not judged."""
    counts = {name: int(np.isfinite(lead).sum()) for name, lead in leads.items()}
    enough = {name: lead for name, lead in leads.items() if counts[name] >= limits.min_slice_runs}
    tests = loss_tests(enough, contest.resamples, limits.slice_margin)
    corrected = holm([test.p_value for test in tests])
    judged = [_judged(test, p, rival, limits) for test, p in zip(tests, corrected, strict=True)]
    return [*judged, *_too_small(leads, counts, limits)]


def suites(test_ids: pd.Series) -> pd.Series:
    """Suite of each test: the first segment of its path or package after those that all tests share.

    A test that has no segment of its own left stays in the last shared one.
    """
    known = {name: SEPARATORS.split(str(name)) for name in test_ids.unique()}
    if not known:
        return test_ids.astype(object)
    # The shortest and the longest in dictionary order differ first where any two differ.
    first, last = min(known.values()), max(known.values())
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return test_ids.map({name: parts[min(shared, max(len(parts) - 2, 0))] for name, parts in known.items()})


def loss_tests(leads: Mapping[str, Floats], resamples: Ints, margin: float) -> list[SliceTest]:
    """One-sided test per slice of "the lead is at least -margin" against "it is lower".

    Args:
        leads: slice -> lead per run (n,), NaN in runs where the slice has no failure.
        resamples: (count, n) block resamples of the runs, shared with all other checks.
        margin: position (0..1) that may be lost.

    Returns:
        p-values from Student's t of (lead + margin) over its block-bootstrap standard error: they resolve far below
        1 / count, which Holm's correction over many slices needs.
    """
    if not leads:
        return []
    values = np.array(list(leads.values()))
    known = np.isfinite(values)
    times = np.apply_along_axis(np.bincount, 1, resamples, minlength=values.shape[1]).astype(np.float64)
    seen = times @ known.T.astype(np.float64)
    totals = times @ np.where(known, values, 0.0).T
    means = np.divide(totals, seen, out=np.full_like(totals, np.nan), where=seen > 0)
    errors = np.nanstd(means, axis=0, ddof=1)
    return [
        _loss_test(name, lead[np.isfinite(lead)], float(error), margin)
        for (name, lead), error in zip(leads.items(), errors, strict=True)
    ]


def _loss_test(name: str, lead: Floats, error: float, margin: float) -> SliceTest:
    mean = float(lead.mean())
    # Equal leads differ by rounding alone, and so do their resampled means.
    if math.isclose(error, 0.0, abs_tol=1e-12):
        return SliceTest(name, len(lead), mean, 1.0 if mean >= -margin else 0.0)
    return SliceTest(name, len(lead), mean, float(stats.t.cdf((mean + margin) / error, df=len(lead) - 1)))


def slice_leads(
    evidence: RankingEvidence, rival: str, contest: Contest, limits: StabilityLimits, view: View
) -> dict[str, Floats]:
    """Slice -> the candidate's mean lead over a rival in each run of the contest, NaN where the slice has no row.

    Raises:
        NotEnoughData: candidate or rival have no scores, with the reason.
    """
    for name in (CANDIDATE, rival):
        contest.of(name)
    rows, run_ids = evidence.rows, contest.run_ids
    kept = rows.loc[~rows["previous_failed"].to_numpy(bool)] if view == "new" else rows
    kept = kept[kept["run_id"].isin(run_ids)].reset_index(drop=True)
    is_ranking = evidence.objective is Objective.RANKING
    value = _positions if is_ranking else _quadratic_scores
    lead = value(kept, CANDIDATE) - value(kept, rival)
    failing = kept["failed"].to_numpy(bool) if is_ranking else np.ones(len(kept), dtype=bool)
    leads: dict[str, Floats] = {}
    for dimension, labels in _dimensions(kept, limits):
        table = lead[failing].groupby([labels[failing], kept.loc[failing, "run_id"]]).mean().unstack()
        # A dimension with one label says what the whole says already.
        if labels.nunique() > 1:
            leads |= {f"{dimension}={label}": row for label, row in _rows(table.reindex(columns=list(run_ids)))}
    return leads


def _rows(table: pd.DataFrame) -> Iterator[tuple[str, Floats]]:
    yield from zip((str(label) for label in table.index), table.to_numpy(np.float64), strict=True)


def _dimensions(rows: pd.DataFrame, limits: StabilityLimits) -> Iterator[tuple[str, pd.Series]]:
    yield "project", rows["project"]
    yield "variant", rows["variant"]
    yield SUITE, suites(rows["test_id"])
    if TEST_AGE_DAYS in rows.columns:
        age = rows[TEST_AGE_DAYS]
        labels = np.where(age.isna(), "unknown", np.where(age < limits.new_test_age_days, "new", "old"))
        yield "test_age", pd.Series(labels, index=rows.index)
    for column in rows.columns[rows.columns.str.startswith(SLICE)]:
        yield str(column).removeprefix(SLICE), rows[column]


def _positions(rows: pd.DataFrame, name: str) -> pd.Series:
    """Position of each row in its run's ranking, in 0..1, the first near 1; ties and nulls go as in `ml.metrics`."""
    keys = rows[MERGED_RESULT].assign(score=rows[score_column(name)])
    ordered = keys.sort_values(["score", "variant", "test_id"], ascending=[False, True, True], kind="stable")
    rank = ordered.groupby("run_id").cumcount().reindex(rows.index) + 1
    return 1 - (rank - 0.5) / rows.groupby("run_id")["test_id"].transform("size")


def _quadratic_scores(rows: pd.DataFrame, name: str) -> pd.Series:
    return 1 - (rows[probability_column(name)] - rows["failed"].astype(np.float64)) ** 2


def _judged(test: SliceTest, p_value: float, rival: str, limits: StabilityLimits) -> Check:
    detail = f"Holm-corrected p that it lost more than {limits.slice_margin:g} against {rival}; "
    return at_least(
        f"slice:{test.name}", p_value, limits.slice_alpha, f"{detail}lead {test.lead:+.4f} over n={test.run_count} runs"
    )


def _too_small(leads: Mapping[str, Floats], counts: Mapping[str, int], limits: StabilityLimits) -> Iterator[Check]:
    small = sorted((-counts[name], name) for name in leads if 0 < counts[name] < limits.min_slice_runs)
    for negative, name in small[: limits.max_reported_slices]:
        n = f"n={-negative} of the {limits.min_slice_runs} runs needed to judge it"
        yield reported(f"slice:{name}", float(np.nanmean(leads[name])), f"{n}; the number is the mean lead")
    rest = len(small) - limits.max_reported_slices
    if rest > 0:
        yield reported("slices_not_listed", rest, f"more slices have fewer than {limits.min_slice_runs} runs")
