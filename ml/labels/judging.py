"""From evidence to a state with a probability: additive weights of evidence and a softmax over the states.

Each piece of evidence either holds or not; those that hold add their weight to each state (I. J. Good, *Probability
and the Weighing of Evidence*, 1950; fitted together as one multinomial logistic regression, so that evidence that
repeats itself does not count twice). The weights are in ``weights.toml``, which says what they were fitted on.
"""

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.errors import SettingsError
from ml.labels.evidence import COLUMNS
from ml.spec import FailureState

WEIGHTS = Path(__file__).with_name("weights.toml")
STATES = (FailureState.REGRESSION, FailureState.FLAKY, FailureState.INFRASTRUCTURE)
MOST_REASONS = 5
# Few results or executions make no rate: a share of fewer results is no crowd, a rate counts at least so many.
LEAST_RESULTS = 10
LEAST_EXECUTIONS = 20

Values = Mapping[str, npt.NDArray[np.float64]]


def _rate(values: Values, count: str) -> npt.NDArray[np.float64]:
    return values[count] / np.maximum(values["executions"], LEAST_EXECUTIONS)


def _share(values: Values) -> npt.NDArray[np.float64]:
    return np.where(values["results_of_run"] >= LEAST_RESULTS, values["share_of_run"], 0.0)


def _fails_around(values: Values) -> npt.NDArray[np.float64]:
    return values["previous_anywhere"] + values["next_anywhere"]


# What is unknown (NaN) never holds.
EVIDENCE: Mapping[str, Callable[[Values], npt.NDArray[np.bool_]]] = {
    "passed_on_same_code": lambda v: v["same_code_passes"] > 0,
    "failed_again_on_same_code": lambda v: (v["same_code_passes"] == 0) & (v["same_code_fails"] >= 2),
    "failed_often_on_same_code": lambda v: (v["same_code_passes"] == 0) & (v["same_code_fails"] >= 4),
    "passes_next_on_line": lambda v: v["next_on_line"] == 0,
    "fails_next_on_line": lambda v: v["next_on_line"] == 1,
    "passed_before_on_line": lambda v: v["previous_on_line"] == 0,
    "failed_before_on_line": lambda v: v["previous_on_line"] == 1,
    "fails_many_runs_on_line": lambda v: v["line_streak"] >= 4,
    "passes_before_and_after": lambda v: _fails_around(v) == 0,
    "fails_before_or_after": lambda v: _fails_around(v) == 1,
    "fails_before_and_after": lambda v: _fails_around(v) == 2,
    "fails_often_nearby": lambda v: v["fails_nearby"] >= 0.5,
    "never_failed_before": lambda v: (v["executions_before"] == 0) | (v["failure_rate_before"] == 0),
    "never_passed_before": lambda v: v["failure_rate_before"] == 1,
    "some_lone_failures": lambda v: (_rate(v, "lone_failures_elsewhere") > 0) & ~EVIDENCE["many_lone_failures"](v),
    "many_lone_failures": lambda v: _rate(v, "lone_failures_elsewhere") > 0.01,
    "very_many_lone_failures": lambda v: _rate(v, "lone_failures_elsewhere") > 0.04,
    "some_flips_on_other_code": lambda v: (_rate(v, "flips_elsewhere") > 0) & ~EVIDENCE["many_flips_on_other_code"](v),
    "many_flips_on_other_code": lambda v: _rate(v, "flips_elsewhere") > 0.01,
    "most_tests_fail": lambda v: _share(v) > 0.5,
    "many_tests_fail": lambda v: (_share(v) > 0.2) & (_share(v) <= 0.5),
    "many_new_failures": lambda v: v["new_failures_of_run"] >= 10,
    "many_places_fail": lambda v: v["containers_of_run"] >= 10,
    "only_failure_of_run": lambda v: (v["new_failures_of_run"] <= 1) & (v["containers_of_run"] <= 1),
    "neighbours_fail": lambda v: v["fails_in_container"] >= 1,
    "other_variants_fail": lambda v: v["other_variants_failed"] > 0,
    "other_variants_pass": lambda v: v["other_variants_failed"] == 0,
    "change_names_test": lambda v: v["is_related"] == 1,
    "change_far_from_test": lambda v: v["is_related"] == 0,
    "change_passes_untouched": lambda v: v["change_passes_untouched"] == 1,
    "change_passes_after_more_work": lambda v: v["change_passes_untouched"] == 0,
    "stays_until_related_change": lambda v: (v["line_streak"] >= 2) & (v["line_passes_touched"] == 1),
    "line_passes_after_related_change": lambda v: v["line_passes_touched"] == 1,
    "line_passes_after_unrelated_change": lambda v: v["line_passes_unrelated"] == 1,
}


def holds(evidence: pd.DataFrame) -> pd.DataFrame:
    """Which pieces of evidence hold for each failure: a column of booleans for each name in `EVIDENCE`."""
    values = {name: evidence[name].to_numpy(np.float64) for name in COLUMNS}
    return pd.DataFrame({name: test(values) for name, test in EVIDENCE.items()}, index=evidence.index)


def judge(evidence: pd.DataFrame) -> pd.DataFrame:
    """Judge each failure by the evidence about it.

    Args:
        evidence: As `ml.labels.evidence.collect` returns it.

    Returns:
        A frame with the index of `evidence`: state (a `FailureState`; unknown where no state is probable enough),
        probability (0..1, of the most probable state, rounded to 4 digits) and evidence (names of the pieces that
        speak for that state, strongest first, joined by ``;``).
    """
    weights = load_weights()
    held = holds(evidence)
    scores = held.to_numpy(np.float64) @ weights.of_evidence + weights.intercept
    likely = np.exp(scores - scores.max(axis=1, keepdims=True)) if len(held) else scores
    chances = likely / likely.sum(axis=1, keepdims=True)
    best = chances.argmax(axis=1)
    probability = chances.max(axis=1) if len(held) else np.empty(0)
    states = np.array([state.value for state in STATES], dtype=object)[best]
    return pd.DataFrame(
        {
            "state": np.where(probability >= weights.least_probability, states, FailureState.UNKNOWN.value),
            "probability": probability.round(4),
            "evidence": _reasons(held, weights.of_evidence, best),
        },
        index=evidence.index,
    )


def _reasons(held: pd.DataFrame, weights: npt.NDArray[np.float64], best: npt.NDArray[np.intp]) -> list[str]:
    """Equal evidence gives equal reasons, so each combination is put into words once."""
    names = list(held.columns)
    speaks = weights - weights.mean(axis=1, keepdims=True)

    @cache
    def words(pattern: bytes, state: int) -> str:
        present = np.flatnonzero(np.frombuffer(pattern, dtype=bool))
        strongest = sorted((at for at in present if speaks[at, state] > 0), key=lambda at: -speaks[at, state])
        return ";".join(names[at] for at in strongest[:MOST_REASONS])

    rows = held.to_numpy(bool)
    return [words(row.tobytes(), int(state)) for row, state in zip(rows, best, strict=True)]


class Weights:
    """The file of weights: `of_evidence` (pieces x states), `intercept` (states), `least_probability` (0..1)."""

    def __init__(self, content: Mapping[str, Mapping[str, Mapping[str, float]]], least_probability: float) -> None:
        given = content["weights"]
        missing, unheard = sorted(set(EVIDENCE) - set(given)), sorted(set(given) - set(EVIDENCE) - {"intercept"})
        if missing or unheard or "intercept" not in given:
            raise SettingsError(
                f"{WEIGHTS.name}: it must weigh the intercept and exactly the evidence of ml/labels/judging.py; "
                f"missing: {missing or 'none'}, not known: {unheard or 'none'}"
            )
        self.of_evidence = np.array([[given[name][state] for state in STATES] for name in EVIDENCE])
        self.intercept = np.array([given["intercept"][state] for state in STATES])
        self.least_probability = least_probability


@cache
def load_weights() -> Weights:
    """The weights of ``weights.toml``.

    Raises:
        SettingsError: the file does not weigh exactly the known evidence.
    """
    content = tomllib.loads(WEIGHTS.read_text(encoding="utf-8"))
    return Weights(content, float(content["least_probability"]))
