import math

import pandas as pd
import pytest

from ml.errors import NotEnoughData, SettingsError
from ml.gates import judge
from ml.gates.checks import above, at_least, at_most, conclude, finite, reported, unjudged
from ml.spec import Check, Status
from tests.ml.gates.gates_builders import ranking, thresholds


def test_equality_passes_a_limit_but_not_a_lower_bound() -> None:
    assert at_least("a", 1.0, 1.0).passed
    assert at_most("a", 1.0, 1.0).passed
    assert not above("a", 1.0, 1.0).passed


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("hold", [at_least, at_most, above])
def test_a_missing_number_is_measured_none_and_not_passed(hold, missing) -> None:
    check = hold("a", missing, 1.0)
    assert (check.measured, check.passed, check.threshold) == (None, False, 1.0)


def test_the_reason_for_a_missing_number_becomes_the_detail() -> None:
    def compute() -> float:
        raise NotEnoughData("three runs are not twenty")

    assert at_least("a", compute, 1.0, "the usual detail").detail == "three runs are not twenty"


def test_statuses() -> None:
    good, bad, gone = at_least("a", 2.0, 1.0), at_least("b", 0.0, 1.0), at_least("c", None, 1.0)
    said = reported("d", 0.0, "n=3")
    assert conclude("g", [good, said]).status is Status.PASS
    assert conclude("g", [good, bad]).status is Status.FAIL
    assert conclude("g", [bad, gone]).status is Status.ERROR
    assert conclude("g", [at_least("failing_runs", 3, 20)]).status is Status.ERROR
    assert conclude("g", []).status is Status.ERROR
    assert conclude("g", [said]).status is Status.ERROR


def test_unjudging_keeps_the_number_and_the_limit_in_words_and_drops_missing_ones() -> None:
    assert unjudged([at_least("a", 0.5, 1.0, "why"), at_least("b", None, 1.0)]) == [
        Check("a", 0.5, None, True, True, "reported only, against 1; why")
    ]


def test_finite_names_the_column_and_counts_the_bad_values() -> None:
    rows = pd.DataFrame({"score": [0.1, None, math.inf]})
    with pytest.raises(NotEnoughData, match="2 of 3 values of 'score'"):
        finite(rows, "score")
    with pytest.raises(NotEnoughData, match="'other' is missing"):
        finite(rows, "other")
    with pytest.raises(NotEnoughData, match="no rows"):
        finite(rows.iloc[:0], "score")


def test_an_unknown_gate_and_foreign_evidence_are_refused() -> None:
    evidence = ranking({"candidate": [1], "decay": [3]})
    with pytest.raises(SettingsError, match="'speed' is not a gate"):
        judge("speed", evidence, thresholds())
    with pytest.raises(TypeError, match="gate stability judges StabilityEvidence, not RankingEvidence"):
        judge("stability", evidence, thresholds())
