"""When a state changed, from typed looks."""

from datetime import UTC, datetime

import pandas as pd

from ml.flakiness import changes
from tests.ml.flakiness.flakiness_builders import history


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def states(*looks: str) -> list[tuple[int, str | None, str]]:
    """(day, state before, state) of each change of a test whose outcomes were known like this, one look a day."""
    found = changes((day(number), *history(outcomes)) for number, outcomes in enumerate(looks, start=1))
    return [(change["at"].day, change["was"], change["state"]) for change in found]


def test_a_state_is_told_when_it_is_new_and_not_again() -> None:
    assert states("pppp", "ppppff", "ppppffp", "ppppffpf") == [(1, None, "healthy"), (2, "healthy", "flaky")]


def test_a_broken_test_that_turns_out_flaky_changes_with_its_labels() -> None:
    assert states("pprr", "ppff") == [(1, None, "broken"), (2, "broken", "flaky")]


def test_a_flaky_test_that_is_quiet_for_long_is_fixed() -> None:
    assert states("pf" * 4, "pf" * 4 + "p" * 30) == [
        (1, None, "flaky"),
        (2, "flaky", "fixed"),
    ]


def test_looks_before_the_first_execution_say_nothing() -> None:
    nothing, no_labels = history("")
    empty = nothing.reindex(columns=["run_id", "variant", "test_id", "failed"])
    assert [change["at"].day for change in changes([(day(1), empty, no_labels), (day(2), *history("p"))])] == [2]


def test_a_change_names_the_newest_failure_and_what_it_is_held_for() -> None:
    (first, second) = changes([(day(1), *history("pp")), (day(2), *history("pprr"))])
    assert (first["failed_in"], first["held_for"], first["evidence"]) == (None, None, None)
    assert (second["failed_in"], second["held_for"], second["evidence"]) == ("r3", "regression", "typed")
    assert second["reason"] == "failed 2 times in a row, not held for flaky"
    assert second["executions"] == 4


def test_variants_have_histories_of_their_own_in_order() -> None:
    looks = []
    for number, (linux, mac) in enumerate([("rp", "rp"), ("rprr", "rppp"), ("rprr", "rppprr")], start=1):
        both = [history(linux, variant="linux"), history(mac, variant="mac")]
        looks.append((day(number), *(pd.concat(frames) for frames in zip(*both, strict=True))))
    found = [(change["variant"], change["at"].day, change["state"]) for change in changes(looks)]
    assert found == [("linux", 1, "healthy"), ("linux", 2, "broken"), ("mac", 1, "healthy"), ("mac", 3, "broken")]
