"""Was it trained and tested on data that keeps its contracts, fresh and complete enough?"""

import math
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import numpy as np

from ml.gates.checks import FAILING_RUNS, at_least, at_most, conclude, reported
from ml.gates.evidence import QualityEvidence
from ml.gates.thresholds import DataQualityLimits
from ml.spec import Check, Interval, Split, Verdict

GATE = "data_quality"
PERIODS = ("fit", "calibrate", "validate", "test")


def judge_data_quality(evidence: QualityEvidence, limits: DataQualityLimits) -> Verdict:
    """Hold the snapshot, the counts, the nulls and the periods against their limits."""
    checks = [
        *_batch_checks(evidence, limits),
        at_most("contract_violations", evidence.contract_violations, limits.max_contract_violations, "feature rows"),
        *_count_checks(evidence, limits),
        *_null_checks(evidence, limits),
        _freshness(evidence, limits),
        *_period_checks(evidence, limits),
    ]
    return conclude(GATE, checks)


def _batch_checks(evidence: QualityEvidence, limits: DataQualityLimits) -> Iterator[Check]:
    batches = evidence.batches
    score = batches["score"].to_numpy(np.float64, na_value=np.nan)
    accepted = batches["result_count"].to_numpy(np.float64, na_value=np.nan)
    rejected = batches["rejected_count"].to_numpy(np.float64, na_value=np.nan)
    size = accepted + rejected
    # A batch that brought no row still has a score; it counts as one row rather than not at all.
    weight = np.maximum(size, 1)
    mean = float((score * weight).sum() / weight.sum()) if len(batches) else None
    low = None if not len(batches) or np.isnan(score).any() else float((score < limits.low_batch_score).mean())
    rate = float(rejected.sum() / size.sum()) if size.sum() else None
    counted = f"{len(batches)} batches"
    yield at_least("batch_score", mean, limits.min_batch_score, f"mean by rows over {counted}")
    yield at_most("low_batch_share", low, limits.max_low_batch_share, f"{counted}, below {limits.low_batch_score:g}")
    yield at_most("rejected_rate", rate, limits.max_rejected_rate, f"of {np.nansum(size):.0f} rows in {counted}")


def _count_checks(evidence: QualityEvidence, limits: DataQualityLimits) -> Iterator[Check]:
    for name, measured, needed in (
        ("train_rows", evidence.train_rows, limits.min_train_rows),
        ("train_failures", evidence.train_failures, limits.min_train_failures),
        ("test_rows", evidence.test_rows, limits.min_test_rows),
        (FAILING_RUNS, evidence.test_failing_runs, limits.min_test_failing_runs),
    ):
        has = "an unknown number" if measured is None else str(measured)
        yield at_least(name, measured, needed, f"needs {needed}, has {has}")


def _null_checks(evidence: QualityEvidence, limits: DataQualityLimits) -> Iterator[Check]:
    names = list(evidence.null_rates)
    rates = np.array([evidence.null_rates[name] for name in names], dtype=np.float64)
    unknown = [name for name, rate in zip(names, rates, strict=True) if math.isnan(rate)]
    mean, share, listed = None, None, "no features given"
    if names:
        listed = f"no rate for {', '.join(unknown)}"
    if names and not unknown:
        empty = [name for name, rate in zip(names, rates, strict=True) if rate >= limits.empty_null_rate]
        mean, share = float(rates.mean()), len(empty) / len(names)
        listed = f"{len(empty)} of {len(names)} features empty: {', '.join(empty) or 'none'}"
    yield at_most("mean_null_rate", mean, limits.max_mean_null_rate, f"over {len(names)} features")
    yield at_most("empty_feature_share", share, limits.max_empty_feature_share, listed)


def _freshness(evidence: QualityEvidence, limits: DataQualityLimits) -> Check:
    """By the history's own clock data cannot be stale: that is said, with the number of clocks judged by (none)."""
    if evidence.clock == "history":
        return reported("freshness_clocks", 0, "a replay runs by the history's own clock, so freshness is not judged")
    return at_most("freshness_h", evidence.freshness_h, limits.max_freshness_h, "hours since the newest result")


def _period_checks(evidence: QualityEvidence, limits: DataQualityLimits) -> Iterator[Check]:
    periods = [(name, getattr(evidence.split, name)) for name in PERIODS]
    crossed = [f"{a} reaches into {b}" for (a, one), (b, two) in pairwise(periods) if not _precedes(one, two)]
    yield at_most("period_overlaps", len(crossed), limits.max_period_overlaps, "; ".join(crossed) or "in time order")
    yield _late_labels(evidence, limits)
    if evidence.champion_split is not None:
        seen = _reaching(evidence.champion_split, evidence.split.test)
        detail = f"the champion saw the test period: {', '.join(seen)}" if seen else "the champion saw none of it"
        yield at_most("champion_overlaps", len(seen), limits.max_period_overlaps, detail)


def _reaching(split: Split, test: Interval) -> list[str]:
    return [name for name in PERIODS[:-1] if not _precedes(getattr(split, name), test)]


def _precedes(one: Interval, two: Interval) -> bool:
    return one.end is not None and two.start is not None and one.end <= two.start


def _late_labels(evidence: QualityEvidence, limits: DataQualityLimits) -> Check:
    """Count the periods with a label that was learnt when the test period had begun."""
    start = evidence.split.test.start
    known = {name: evidence.labels_known_at.get(name) for name in PERIODS[:-1]}
    unknown = [name for name, moment in known.items() if moment is None]
    if unknown or start is None:
        what = f"no known_at for {', '.join(unknown)}" if unknown else "the test period has no start"
        return at_most("late_label_periods", None, limits.max_late_label_periods, what)
    late = [f"{name} at {moment:%Y-%m-%d %H:%M}" for name, moment in known.items() if _is_late(moment, start)]
    detail = f"known after the test began at {start:%Y-%m-%d %H:%M}: {'; '.join(late)}" if late else "all known before"
    return at_most("late_label_periods", len(late), limits.max_late_label_periods, detail)


def _is_late(moment: datetime | None, start: datetime) -> bool:
    return moment is None or moment >= start
