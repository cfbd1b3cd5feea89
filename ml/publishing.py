"""From scored rows to rows of the results table: rank, decision, and the features that moved each score, in words.

Reasons come by occlusion, one feature at a time: the score less the score with that feature at its reference value
(Robnik-Sikonja and Kononenko, "Explaining classifications for individual instances", IEEE TKDE 20(5), 2008). That
holds for any model; features that only act together share their effect.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.metrics import Columns, chosen_rows
from ml.schemas import Predictions, columns
from ml.spec import Decision, Objective

REASONS = 3
# Bounds of memory at 100 prepared columns: 40 MB of rows, and 40 MB of their changed copies in one call.
_ROWS_AT_A_TIME = 50_000
_COPIES_PER_CALL = 50000


class Scorer(Protocol):
    """A model that scores in two steps, the first of which looks at each feature alone."""

    @property
    def names(self) -> Sequence[str]:
        """Features that it sees."""

    @property
    def owner(self) -> NDArray[np.int64]:
        """Of each prepared column, the place in `names` of the feature that alone decides it."""

    def prepare(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Rows of features as prepared columns, shape (n, len(owner))."""

    def score(self, prepared: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score of each prepared row, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How to explain a score.

    scorer: what the published scores came from.
    reference: feature -> ordinary value, such as the median; NaN for missing. Names the features that may be reasons.
    words: feature -> what it is, in words; a feature without any is called by its name.
    """

    scorer: Scorer
    reference: pd.Series
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where predictions come from.

    limit: share of tests (0..1) that may be selected; for a model of probabilities, the threshold (0..1) of its
    decisions. as_of: the latest moment. decisions: the word for a chosen row, and the one for the others.
    """

    model: str
    limit: float
    as_of: datetime
    objective: Objective = Objective.RANKING
    decisions: tuple[Decision, Decision] = (Decision.SELECT, Decision.SKIP)


def prediction_rows(
    rows: pd.DataFrame, predicted: pd.DataFrame, explanation: Explanation, origin: Origin
) -> pd.DataFrame:
    """Rank the rows of each change, decide within the budget or at the threshold, and give reasons.

    Args:
        rows: grain (project, run_id, variant, test_id), unique, with started_at and the features of `explanation`.
        predicted: score and probability, row by row as `rows`; and what `training.by_cost` says of them.
        explanation: how to find reasons.
        origin: model, how it decides, and moment.

    Returns:
        `schemas.Predictions`, by change in order of appearance and by rank. Rank 1 has the highest score; equal scores
        go by variant and test_id. rank_by_cost is the place by score_by_cost, equal ones by rank; it is null for a
        model without costs. Chosen are the first tests of a change up to the budget, at least one, or what
        reaches the threshold. `reasons` is a JSON list of at most three {feature, value, effect, words}; a positive
        effect raised the score; value is null where it is missing.
    """
    table = pd.DataFrame(
        {
            "model": origin.model,
            "project": rows["project"].to_numpy(object),
            "change_id": rows["run_id"].to_numpy(object),
            "variant": rows["variant"].to_numpy(object),
            "test_id": rows["test_id"].to_numpy(object),
            "score": predicted["score"].to_numpy(np.float64),
            "probability": predicted["probability"].to_numpy(np.float64),
            "as_of": _moments(rows["started_at"], origin.as_of),
            "expected_duration_s": np.nan,
        },
        index=range(len(rows)),
    )
    for name in predicted.columns.intersection(["expected_duration_s", "score_by_cost"]):
        table[name] = predicted[name].to_numpy(np.float64)
    table["reasons"] = _reasons(rows[list(explanation.reference.index)], explanation)
    change = ["project", "change_id"]
    table["appearance"] = table.groupby(change, sort=False).ngroup()
    chosen = chosen_rows(origin.objective, table.assign(run_id=table["appearance"]), Columns(), origin.limit)
    table["decision"] = np.where(chosen, *(decision.value for decision in origin.decisions)).astype(object)
    table = table.sort_values(
        ["appearance", "score", "variant", "test_id"], ascending=[True, False, True, True], ignore_index=True
    )
    table["rank"] = table.groupby("appearance").cumcount() + 1
    table["rank_by_cost"] = _ranks_by_cost(table)
    return table[columns(Predictions)]


def _ranks_by_cost(table: pd.DataFrame) -> "pd.Series[int]":
    """Place of each row within its change; null in all of them without an order by cost. `table` is in rank order."""
    if "score_by_cost" not in table:
        return pd.Series(pd.NA, index=table.index, dtype="Int64")
    ordered = table.sort_values(["appearance", "score_by_cost", "rank"], ascending=[True, False, True])
    return (ordered.groupby("appearance").cumcount() + 1).reindex(table.index).astype("Int64")


def _moments(started_at: pd.Series, as_of: datetime) -> pd.Series:
    """A run that started before `as_of` is scored as of its start: what became known later was not used."""
    latest = pd.Series(pd.Timestamp(as_of), index=started_at.index)
    moments: pd.Series = started_at.where(started_at <= latest, latest).astype("datetime64[us, UTC]")
    return moments.reset_index(drop=True)


def _reasons(features: pd.DataFrame, explanation: Explanation) -> list[str]:
    starts = range(0, len(features), _ROWS_AT_A_TIME)
    return [
        text for start in starts for text in _some_reasons(features.iloc[start : start + _ROWS_AT_A_TIME], explanation)
    ]


def _some_reasons(features: pd.DataFrame, explanation: Explanation) -> list[str]:
    values, effects = features.to_numpy(np.float64), _effects(features, explanation)
    strongest = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :REASONS]
    names = list(features.columns)
    ordinary_of = explanation.reference.to_numpy(np.float64)
    return [
        json.dumps(
            [
                _reason(names[at], values[row, at], effects[row, at])
                | {"words": _words(explanation.words.get(names[at], names[at]), values[row, at], ordinary_of[at])}
                for at in best
                if effects[row, at] != 0
            ]
        )
        for row, best in enumerate(strongest)
    ]


def _effects(features: pd.DataFrame, explanation: Explanation) -> NDArray[np.float64]:
    """Each score less the score with one feature at its reference, row by row and feature by feature."""
    scorer, reference = explanation.scorer, explanation.reference
    place = features.columns.get_indexer(pd.Index(scorer.names))[scorer.owner]
    prepared, usual = scorer.prepare(features), scorer.prepare(reference.to_frame().T)[0]
    # A value that is the reference has no effect: most values of most features, so most of the work falls away.
    is_moved = np.zeros(features.shape[::-1], dtype=bool)
    for at in np.flatnonzero(place >= 0).tolist():
        is_moved[place[at]] |= ~((prepared[:, at] == usual[at]) | (np.isnan(prepared[:, at]) & np.isnan(usual[at])))
    effects, score = np.zeros(features.shape), scorer.score(prepared)
    changed, rows = np.nonzero(is_moved)
    for start in range(0, len(rows), _COPIES_PER_CALL):
        row, feature = rows[start : start + _COPIES_PER_CALL], changed[start : start + _COPIES_PER_CALL]
        copies = np.empty((len(row), len(place)), order="F")  # trees read a column at a time
        for at, of in enumerate(place.tolist()):
            copies[:, at] = np.where(feature == of, usual[at], prepared[row, at])
        effects[row, feature] = score[row] - scorer.score(copies)
    return effects


def _reason(feature: str, value: float, effect: float) -> dict[str, str | float | None]:
    """One reason; JSON has no NaN and no infinity, so such a value is null."""
    return {
        "feature": feature,
        "value": float(f"{value:.6g}") if np.isfinite(value) else None,
        "effect": float(f"{effect:.6g}"),
    }


def _words(what: str, value: float, ordinary: float) -> str:
    found, usual = (f"{number:.4g}" if np.isfinite(number) else "unknown" for number in (value, ordinary))
    return f"{what}: {found}, ordinarily {usual}"
