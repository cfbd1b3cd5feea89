"""Texts of failures typed by hand, with the answers worked out by hand."""

import math

import pandas as pd
import pytest

from ml.engine import open_engine
from ml.features import Context, Queries, build_failures
from tests.feature_builders import History, features_of, history, result, run
from tests.label_builders import register

PAST = ["repeated_failure_rate", "environment_failure_rate", "last_failure_alike_count"]
OWN = ["same_failures_count", "same_failure_recovery_rate", "alike_failures_count", "is_environment_failure"]


def told(texts: str, others: dict[int, str] | None = None) -> History:
    """Test t in a run per letter; `others` maps a run's number to the letters of u, v, ... in it.

    p passed, f failed without a text, A, B, ... failed with that text; a, b, ... the same, of surroundings.
    """
    runs = [run(f"r{number}", 10 * number, 10 * number + 5) for number in range(len(texts))]
    results = []
    for number, letter in enumerate(texts):
        letters = letter + (others or {}).get(number, "") + "ppp"
        results += [_result(f"r{number}", name, said) for name, said in zip("tuvwxyz", letters, strict=False)]
    return history(runs, results)


def _result(run_id: str, test_id: str, letter: str) -> dict[str, object]:
    if letter in "pf":
        return result(run_id, test_id, {"p": "passed", "f": "failed"}[letter])
    kind = "network" if letter.islower() else "assertion"
    return result(run_id, test_id, "failed", failure_kind=kind, failure_fingerprint=letter.upper())


def past(frames: History, run_id: str, test_id: str = "t") -> list[float]:
    found = features_of(frames).set_index(["run_id", "test_id"])
    return [float(value) for value in found.loc[(run_id, test_id), PAST]]


def own(frames: History) -> pd.DataFrame:
    with open_engine("duckdb", threads=1) as engine:
        register(engine, frames)
        found = build_failures(engine, Queries.training("p"), Context())
    return found[found["test_id"] == "t"].set_index("run_id")[OWN]


def test_failures_that_read_like_an_earlier_one_are_counted_from_the_moment_they_are_known() -> None:
    frames = told("pAABcp")
    assert past(frames, "r2") == [0, 0, 0]
    assert past(frames, "r3") == [1 / 2, 0, 0]
    assert past(frames, "r4") == [1 / 3, 0, 0]
    assert past(frames, "r5") == [1 / 4, 1 / 4, 0]


def test_the_last_failure_with_a_text_tells_in_how_many_other_tests_it_was_seen() -> None:
    frames = told("AppBp", {0: "AAB", 3: "Ap"})
    assert past(frames, "r1")[2] == 2
    assert past(frames, "r3")[2] == 2
    assert past(frames, "r4")[2] == 0


def test_without_texts_nothing_is_told() -> None:
    assert all(math.isnan(value) for value in past(told("pffp"), "r3"))
    assert all(math.isnan(value) for value in past(told("pfAp"), "r2"))
    assert own(told("pff")).isna().all(axis=None)
    assert past(told("pfAp"), "r3") == [0, 0, 0]


def test_a_failure_is_held_against_those_of_its_test_that_read_like_it() -> None:
    found = own(told("ApAABpa", {6: "ABA"}))
    assert found.loc["r0", OWN].tolist()[0::2] == [0, 0]
    assert math.isnan(found.loc["r0", "same_failure_recovery_rate"])
    # r0 passed next; of r2 it is not known yet when r2 is over
    assert found.loc["r2", OWN].tolist() == [1, 1, 0, 0]
    # r3 is itself what came after r2, and not known before itself
    assert found.loc["r3", OWN].tolist() == [2, 1, 0, 0]
    assert found.loc["r4", "same_failures_count"] == 0
    # after r0 passed, after r2 and r3 failed
    assert found.loc["r6", OWN].tolist() == [3, pytest.approx(1 / 3), 2, 1]


def test_other_variants_of_the_test_are_no_other_tests() -> None:
    frames = told("AA")
    more = [{**one, "variant": "mac"} for one in frames["test_results"].to_dict("records")]
    both = {**frames, "test_results": pd.concat([frames["test_results"], pd.DataFrame(more)])}
    found = features_of(both).set_index(["run_id", "variant", "test_id"])
    assert found.loc[("r1", "v", "t"), "last_failure_alike_count"] == 0
    assert own(both)["alike_failures_count"].tolist() == [0] * 4
