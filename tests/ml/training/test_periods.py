"""Which period a candidate is judged on."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from ml.errors import NotEnoughData
from ml.spec import Interval, Split
from ml.training.periods import TICK, fresh_period, period_rows, runs_of, split_by_time, windows

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(hour: float) -> datetime:
    return START + timedelta(hours=hour)


def runs(failing: str, hours: list[float] | None = None) -> pd.DataFrame:
    """Two results per run, a run per hour (or at the given hours); ``x`` marks a run with a failed test."""
    starts = [at(hour) for hour in (hours or range(len(failing)))]
    rows = [
        (f"r{number}", start, start + timedelta(minutes=10), mark == "x" and test == "b")
        for number, (mark, start) in enumerate(zip(failing, starts, strict=True))
        for test in "ab"
    ]
    table = pd.DataFrame(rows, columns=["run_id", "started_at", "known_at", "failed"])
    moments = dict.fromkeys(("started_at", "known_at"), "datetime64[us, UTC]")
    return runs_of(table.astype({**moments, "failed": bool}))


def test_the_first_candidate_is_judged_on_the_latest_share_of_the_runs() -> None:
    assert fresh_period(runs("x.x.x.x.x."), [], 0.4, 3) == Interval(at(6), at(9) + TICK)


def test_without_a_champion_few_failing_runs_are_left_to_the_gates_to_refuse() -> None:
    assert fresh_period(runs("..........", None), [], 0.4, 3) == Interval(at(6), at(9) + TICK)


def test_a_period_that_promoted_is_not_judged_on_again() -> None:
    used = [Interval(at(2), at(5) + TICK)]
    # fresh are the runs from hour 6 on; of those six the latest half
    assert fresh_period(runs("xxxxxxxxxxxx"), used, 0.5, 2) == Interval(at(9), at(11) + TICK)


def test_the_latest_used_period_counts_in_whatever_order_they_come() -> None:
    used = [Interval(at(4), at(7) + TICK), Interval(at(0), at(3) + TICK)]
    assert fresh_period(runs("xxxxxxxxxxxx"), used, 0.5, 2) == Interval(at(10), at(11) + TICK)


def test_the_share_grows_until_it_holds_as_many_failing_runs_as_the_gates_need() -> None:
    used = [Interval(at(0), at(1) + TICK)]
    assert fresh_period(runs("xxx.x....."), used, 0.25, 2) == Interval(at(2), at(9) + TICK)
    assert fresh_period(runs("xxx.x....."), used, 0.25, 1) == Interval(at(4), at(9) + TICK)


def test_too_few_failing_runs_since_the_last_promotion_are_told_with_both_numbers() -> None:
    told = "1 runs failed since 2026-01-01 05:00 UTC, .*; 2 are needed"
    with pytest.raises(NotEnoughData, match=told):
        fresh_period(runs("xxxxxx.x.."), [Interval(at(0), at(5) + TICK)], 0.4, 2)


def test_nothing_new_since_the_last_promotion_is_told() -> None:
    with pytest.raises(NotEnoughData, match="0 runs failed since"):
        fresh_period(runs("xxxx"), [Interval(at(0), at(3) + TICK)], 0.4, 2)


def test_against_the_shared_champion_only_runs_count_that_it_has_not_learned_from() -> None:
    assert fresh_period(runs("xxxxxxxxxxxx"), [], 0.5, 2, at(6)) == Interval(at(9), at(11) + TICK)
    assert fresh_period(runs("xxxxxxxx...x"), [], 0.25, 2, at(4)) == Interval(at(7), at(11) + TICK)
    told = "1 runs failed since 2026-01-01 05:00 UTC, where the shared champion stopped learning; 2 are needed"
    with pytest.raises(NotEnoughData, match=told):
        fresh_period(runs("xxxxx..x.."), [], 0.4, 2, at(5))


def test_an_empty_history_is_told() -> None:
    told = "0 runs failed; 2 are needed to judge a candidate; no run counts: outages and runs without an outcome"
    with pytest.raises(NotEnoughData, match=told):
        fresh_period(runs(""), [], 0.4, 2)


def test_a_history_of_one_run_gives_a_period_of_that_run() -> None:
    assert fresh_period(runs("x"), [], 0.4, 1) == Interval(at(0), at(0) + TICK)


def test_runs_that_started_at_the_same_moment_are_judged_together() -> None:
    period = fresh_period(runs("xxxxx", [0, 1, 2, 2, 3]), [], 0.4, 1)
    assert period.start == at(2)


def test_windows_are_as_long_as_the_validate_period_and_follow_each_other() -> None:
    history = runs("x" * 300)
    split = split_by_time(history, 1 / 3)
    found = windows(history, split)
    assert found[0] == split
    assert [one.validate for one in found] == [
        Interval(at(160), at(200)),
        Interval(at(120), at(160)),
        Interval(at(80), at(120)),
    ]
    for one in found:
        assert one.fit.start is None
        assert one.fit.end == one.calibrate.start
        assert one.calibrate.end == one.validate.start
        sizes = [len(period_rows(history, one, period)) for period in ("fit", "calibrate")]
        assert sizes[0] / sum(sizes) == pytest.approx(0.65 / 0.8, abs=0.01)


def test_a_window_with_too_few_failing_runs_is_left_out() -> None:
    history = runs("." * 80 + "x" * 220)
    assert [one.validate.start for one in windows(history, split_by_time(history, 1 / 3))] == [at(160)]


def test_a_short_history_has_no_windows_but_the_last() -> None:
    history = runs("x" * 90)
    split = split_by_time(history, 0.3)
    long = Split(split.fit, split.calibrate, Interval(at(20), split.validate.end), split.test)
    assert windows(history, long) == [long]
