"""The candidate against its rivals: one metric per run, on the same runs and the same resamples."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ml.errors import NotEnoughData, SettingsError
from ml.gates.checks import finite
from ml.gates.evidence import (
    ANCHOR,
    CANDIDATE,
    CHAMPION,
    RankingEvidence,
    columns_of,
    probability_column,
    score_column,
)
from ml.gates.thresholds import StatisticalLimits
from ml.metrics import MEASURES, Floats, Ints, block_length, block_resamples, interval, measures_by_run
from ml.spec import Measure, Objective


@dataclass(frozen=True, slots=True)
class Contest:
    """Time-ordered runs that count, with a value per run for each name; attributes other than `values`:

    `change_recall` of the candidate per run, NaN where nothing failed; `failing_count` runs with a failure; `missing`
    maps a name without values to the reason; `resamples` (count, n) are shared by every comparison; `block_length` in
    runs.
    """

    run_ids: tuple[str, ...]
    values: Mapping[str, Floats]
    change_recall: Floats
    failing_count: int
    missing: Mapping[str, str]
    resamples: Ints
    block_length: int
    confidence: float

    @property
    def run_count(self) -> int:
        """Runs on which the candidate has a value."""
        return int(np.isfinite(self.of(CANDIDATE)).sum()) if CANDIDATE in self.values else 0

    def of(self, name: str) -> Floats:
        """Values per run.

        Raises:
            NotEnoughData: there are none, with the reason.
        """
        if name not in self.values:
            raise NotEnoughData(self.missing.get(name, f"column {score_column(name)!r} was not given"))
        return self.values[name]

    def mean(self, name: str) -> Measure:
        """Mean over runs with its interval."""
        return self._interval(self.of(name))

    def lead(self, rival: str) -> Measure:
        """Mean over runs of candidate minus rival with its interval: the paired block bootstrap."""
        return self._interval(self.of(CANDIDATE) - self.of(rival))

    def _interval(self, values: Floats) -> Measure:
        """The bootstrap's interval, widened as if its blocks were the sample.

        Few blocks make a percentile interval too narrow (at an autocorrelation of 0.4 and 20 runs, equal models
        pass 10 % of the time at a nominal 2.5 %). The factor is that of batch means: Student's t with one degree of
        freedom less than there are blocks, over the normal quantile (Schmeiser, Operations Research 30, 1982).
        """
        plain = interval(values, self.resamples, self.confidence)
        tail = (1 + self.confidence) / 2
        blocks = self.resamples.shape[1] / self.block_length
        factor = float(stats.t.ppf(tail, blocks - 1) / stats.norm.ppf(tail))
        low, high = ((end - plain.value) * factor + plain.value for end in (plain.low, plain.high))
        return Measure(plain.value, low, high)


def hold_contest(evidence: RankingEvidence, limits: StatisticalLimits, extra: Iterable[str] = ()) -> Contest:
    """Measure the candidate, its champion, anchor and baselines, and the names in `extra`, run by run.

    The resamples are empty, of shape (0, 0), when no run counts.

    Raises:
        SettingsError: the metric of the thresholds is not one of the model's objective.
    """
    known = MEASURES[evidence.objective]
    if limits.metric not in known:
        raise SettingsError(
            f"statistical.metric = {limits.metric!r} does not measure a {evidence.objective}; right: {', '.join(known)}"
        )
    names = [*rivals(evidence), *extra]
    frames, missing = _ranked(evidence.rows, [CANDIDATE, *names], evidence, limits)
    values = {name: frame[limits.metric].to_numpy(np.float64) for name, frame in frames.items()}
    first = frames.get(CANDIDATE)
    count = 0 if first is None else len(first)
    length = choose_block_length(_earlier_leads(evidence, limits), count, limits)
    none = np.empty((0, 0), dtype=np.int64)
    return Contest(
        run_ids=() if first is None else tuple(first["run_id"]),
        values=values,
        change_recall=np.empty(0) if first is None else first["change_recall"].to_numpy(np.float64),
        failing_count=0 if first is None else int((first["failure_count"] > 0).sum()),
        missing=missing,
        resamples=block_resamples(count, length, limits.resamples, evidence.seed) if count else none,
        block_length=length,
        confidence=limits.confidence,
    )


def rivals(evidence: RankingEvidence) -> list[str]:
    """Names that the candidate is held against; the anchor only where its scores were given."""
    names = [CHAMPION] if evidence.has_champion else []
    if evidence.has_champion and score_column(ANCHOR) in evidence.rows.columns:
        names.append(ANCHOR)
    return [*names, *evidence.baselines]


def choose_block_length(leads: Iterable[Floats], run_count: int, limits: StatisticalLimits) -> int:
    """Longest of the lengths that earlier per-run differences ask for, so that one set of resamples serves all.

    Too few earlier runs give the default; a floor stands against dependence that a short series hides, and at least
    `min_blocks` blocks must fit into the judged runs.
    """
    lengths = [
        block_length(lead) if len(lead) >= limits.min_failing_runs else limits.default_block_length for lead in leads
    ]
    longest = max([limits.min_block_length, *lengths])
    return max(1, min(longest, run_count // limits.min_blocks))


def strongest_baseline(evidence: RankingEvidence, limits: StatisticalLimits, contest: Contest) -> str:
    """The baseline with the highest mean on earlier rows; on the judged rows when earlier ones do not count.

    Raises:
        NotEnoughData: no baseline could be measured.
    """
    frames, _ = _ranked(evidence.earlier, evidence.baselines, evidence, limits)
    means = {name: float(frame[limits.metric].mean()) for name, frame in frames.items() if len(frame)}
    if not means:
        means = {name: float(np.nanmean(contest.values[name])) for name in evidence.baselines if name in contest.values}
    if not means:
        raise NotEnoughData("no baseline has scores to compare with")
    return max(means, key=lambda name: (means[name], name))


def usable_scores(rows: pd.DataFrame, name: str, evidence: RankingEvidence) -> Floats:
    """The probabilities, or the scores to rank by.

    A baseline of a ranking may leave a test without a score (it never ran before), which then goes last.

    Raises:
        NotEnoughData: the column is missing, a model left a score out, or a baseline left out all.
    """
    if evidence.objective is Objective.PROBABILITY:
        return finite(rows, probability_column(name))
    column = score_column(name)
    if name not in evidence.baselines or column not in rows.columns or not rows[column].notna().any():
        return finite(rows, column)
    return rows[column].to_numpy(dtype=np.float64, na_value=np.nan)


def _earlier_leads(evidence: RankingEvidence, limits: StatisticalLimits) -> list[Floats]:
    names = rivals(evidence)
    frames, _ = _ranked(evidence.earlier, [CANDIDATE, *names], evidence, limits)
    measured = {name: frame[limits.metric].to_numpy(np.float64) for name, frame in frames.items()}
    if CANDIDATE not in measured:
        return [np.empty(0)]
    leads = [measured[CANDIDATE] - measured[name] if name in measured else np.empty(0) for name in names]
    return [lead[np.isfinite(lead)] for lead in leads]


def _ranked(
    rows: pd.DataFrame, names: Iterable[str], evidence: RankingEvidence, limits: StatisticalLimits
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Per-run measures of each name, and the reason for each name that has none."""
    frames: dict[str, pd.DataFrame] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            usable_scores(rows, name, evidence)
            frames[name] = measures_by_run(
                evidence.objective, rows, columns_of(name), limits.view, budget=evidence.budget
            )
        except NotEnoughData as reason:
            missing[name] = str(reason)
    return frames, missing
