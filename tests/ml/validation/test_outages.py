import pandas as pd
import pytest

from ml.validation import outages


def results(*rows: tuple[str, int, str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["run_id", "attempt", "test_id", "outcome"])
    return frame.assign(variant="linux")


HALF = [("r1", 1, "a", "failed"), ("r1", 1, "b", "passed")]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (HALF, []),
        ([*HALF, ("r1", 1, "c", "error")], ["r1"]),
        ([*HALF, ("r1", 101, "b", "failed")], ["r1"]),
        ([*HALF, ("r1", 1, "c", "failed"), ("r1", 1, "d", "skipped")], ["r1"]),
        ([("r2", 1, "a", "failed"), ("r1", 1, "a", "failed"), ("r3", 1, "a", "passed")], ["r1", "r2"]),
        ([("r1", 1, "a", "skipped")], []),
        ([], []),
    ],
    ids=["half is no more than half", "two of three", "failed when run again", "skipped", "by run", "none ran", "none"],
)
def test_a_run_with_more_failed_tests_than_the_share_is_an_outage(
    rows: list[tuple[str, int, str, str]], expected: list[str]
) -> None:
    assert outages(results(*rows), 0.5) == expected


def test_an_attempt_that_repeats_what_failed_is_no_outage() -> None:
    again = [("r1", 2, "a", "failed"), ("r1", 2, "b", "failed")]
    assert outages(results(*again), 0.5) == []
    passed = [("r1", 1, test, "passed") for test in "cde"]
    assert outages(results(*again, *HALF, *passed), 0.5) == []
