"""What each gate judges: frozen values that a stage makes from frames.

The frames hold one project, or for the shared model all of them; a run id then names its project too. Columns of judged
rows, one row per (run_id, variant, test_id) without skipped results:

- project, run_id, variant, test_id (str), started_at (UTC), failed (bool), previous_failed (bool),
  duration_s (s, may be NaN), optionally test_age_days (days since the test was first seen, may be NaN)
- ``score:<name>`` (higher runs first) and ``probability:<name>`` (0..1), where a name is `candidate`, `champion`,
  `anchor`, a baseline or a refit; `score_column` and `probability_column` spell them. A null is refused, except in
  the score of a baseline of a ranking: a test that never ran before goes last. For a model of probabilities the
  baselines have a probability too, and ``chosen:<name>`` (bool) says what the candidate and the champion advised
- optionally failed_before (bool) and failure_state (label of a failure, null without one): they are reported on only
- ``slice:<dimension>`` (str): the slice that a row belongs to, for each dimension that the model names
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.metrics import Columns
from ml.spec import Interval, Objective, RuleKind, Split

CANDIDATE = "candidate"
CHAMPION = "champion"
ANCHOR = "anchor"
SUITE = "suite"
SLICE = "slice:"
TEST_AGE_DAYS = "test_age_days"


def score_column(name: str) -> str:
    """Column that holds the ranking score of a candidate, champion, anchor, baseline or refit."""
    return f"score:{name}"


def probability_column(name: str) -> str:
    """Column that holds the calibrated probability of failure of a candidate or champion."""
    return f"probability:{name}"


def columns_of(name: str) -> Columns:
    """Columns of a contestant."""
    return Columns(score_column(name), probability_column(name), f"chosen:{name}")


@dataclass(frozen=True, slots=True)
class QualityEvidence:
    """What the candidate was trained and tested on.

    Attributes:
        batches: one row per batch of the snapshot: score (0..1), result_count (accepted rows), rejected_count.
        train_rows: rows of the fit period; train_failures: failed rows among them.
        test_rows: rows of the test period; test_failing_runs: its failing runs that count.
        null_rates: share of nulls (0..1) per feature over the training frame.
        contract_violations: rows of the feature frame that break its contract; None when it was not checked.
        clock: ``wall`` or ``history``, as in the settings; only by the wall clock can data be stale.
        freshness_h: hours from the newest result to now; None in a replay.
        split: the candidate's periods; champion_split: the champion's, None without a champion.
        labels_known_at: latest known_at of the rows of `fit`, `calibrate` and `validate`, by these names.
    """

    batches: pd.DataFrame
    train_rows: int | None
    train_failures: int | None
    test_rows: int | None
    test_failing_runs: int | None
    null_rates: Mapping[str, float]
    contract_violations: int | None
    clock: Literal["history", "wall"]
    freshness_h: float | None
    split: Split
    labels_known_at: Mapping[str, datetime | None]
    champion_split: Split | None = None


@dataclass(frozen=True, slots=True)
class RankingEvidence:
    """Scores of the candidate and its rivals on the same later rows.

    Attributes:
        rows: judged rows of the test period; score and probability of the candidate, of the champion if there is
            one, score of each baseline, and score of the anchor where a refresh may be asked for.
        earlier: the same columns for the validation period; only the block length and, without a champion, the
            rival of the slices are chosen on it. May be empty.
        baselines: names of the trivial baselines.
        split: the candidate's periods; `rows` lie in its test period.
        used_periods: test periods that promoted a version of this model and project before.
        seed: of the resampling.
        budget: share of tests (0..1) that a selection may run.
        has_champion: whether there is one; champion_age_days: days since its promotion, None without.
        is_shared: the champion is that of all projects, whom a project's first own model takes over from.
        has_drift: whether a drift report asked for this training.
        objective: what the model is for; it says how a run is measured.
    """

    rows: pd.DataFrame
    earlier: pd.DataFrame
    baselines: tuple[str, ...]
    split: Split
    used_periods: tuple[Interval, ...]
    seed: int
    budget: float
    has_champion: bool = False
    is_shared: bool = False
    champion_age_days: float | None = None
    has_drift: bool = False
    objective: Objective = Objective.RANKING


@dataclass(frozen=True, slots=True)
class StabilityEvidence:
    """The rows of the statistical gate, and refits of the candidate with other seeds.

    `refits` are names: ``score:<refit>`` is a column of `ranking.rows`.
    """

    ranking: RankingEvidence
    refits: tuple[str, ...]


class RuleOutcome(NamedTuple):
    """Scores of the same rows before and after a rule's change; both of shape (n,)."""

    kind: RuleKind
    before: NDArray[np.float64]
    after: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ConsistencyEvidence:
    """How the candidate answers when it is asked again, elsewhere, or otherwise.

    Attributes:
        rows: judged rows with score and probability of the candidate, and of the champion if there is one.
        again: candidate scores of the same rows, scored a second time, in the order of `rows`.
        reloaded: scores by the model as loaded back from where it was stored, in the order of `rows`.
        served: run_id, variant, test_id, score of some judged runs, scored the way publishing does.
        rules: outcome of each rule case by its name.
        contract_violations: rows that the contract of predictions would refuse; None when it was not checked.
        budget: share of tests (0..1) that a selection may run.
        objective: what the model is for; it says which rows are compared and what is advised.
    """

    rows: pd.DataFrame
    again: NDArray[np.float64]
    reloaded: NDArray[np.float64]
    served: pd.DataFrame
    rules: Mapping[str, RuleOutcome]
    contract_violations: int | None
    budget: float
    has_champion: bool = False
    objective: Objective = Objective.RANKING


Evidence = QualityEvidence | RankingEvidence | StabilityEvidence | ConsistencyEvidence
