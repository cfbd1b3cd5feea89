import itertools
import math

import numpy as np
import pandas as pd
import pytest

from ml import metrics
from ml.spec import WEIGHT, FailureState, Objective

START = pd.Timestamp("2026-01-01", tz="UTC").as_unit("us")


def run_of(ranks, run_id="r", hours=0, *, tests=10, duration_s=6.0, **columns):
    """A run of `tests` tests in ranked order, of which those at `ranks` (from 1) fail."""
    place = np.arange(1, tests + 1)
    return pd.DataFrame(
        {
            "run_id": run_id,
            "started_at": START + pd.Timedelta(hours=hours),
            "failed": np.isin(place, ranks),
            "previous_failed": False,
            "duration_s": duration_s,
            "score": -place.astype(float),
            **columns,
        }
    )


def runs_of(ranks):
    """A run of ten tests per given rank of its only failure."""
    return pd.concat(
        [run_of([rank], f"r{at:04d}", at) for at, rank in enumerate(ranks)],
        ignore_index=True,
    )


# -- the curve


def test_a_curve_rises_from_nothing_to_everything():
    rows = run_of([2, 5], tests=6, duration_s=[1.0, 2.0, 3.0, 4.0, 5.0, 5.0])
    curve = metrics.selection_curve(rows, "score", (0.0, 0.34, 1.0))
    assert list(curve.columns) == ["share", "test_recall", "change_recall", "duration_share", "saved_min"]
    assert curve["test_recall"].tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert curve["change_recall"].tolist() == pytest.approx([0.0, 1.0, 1.0])
    assert curve["duration_share"].tolist() == pytest.approx([0.0, 3 / 20, 1.0])
    assert curve["saved_min"].tolist() == pytest.approx([20 / 60, 17 / 60, 0.0])


def test_shares_are_rounded_down_to_whole_tests_of_each_run():
    rows = pd.concat([run_of([1], "a", tests=10), run_of([1], "b", 1, tests=6)], ignore_index=True)
    assert metrics.selection_curve(rows, "score", (0.1, 0.16, 0.167))["change_recall"].tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("drawn", [0, 1, 2, 3, 4, 5, 6, 7])
def test_ties_count_with_their_expectation_over_all_orders(drawn):
    failed = np.array([False, False, True, True, False, False, True])
    costs = np.array([4.0, 1.0, 2.0, 3.0, 3.0, 1.0, 6.0])
    score = [2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    rows = run_of([], tests=7, duration_s=costs).assign(failed=failed, score=score)
    orders = [[*a, *b, 6] for a in itertools.permutations([0, 1]) for b in itertools.permutations([2, 3, 4, 5])]
    [found] = metrics.selection_curve(rows, "score", (drawn / 7,)).to_dict("records")
    assert found["test_recall"] == pytest.approx(np.mean([failed[order[:drawn]].sum() / 3 for order in orders]))
    assert found["change_recall"] == pytest.approx(np.mean([failed[order[:drawn]].any() for order in orders]))
    assert found["duration_share"] == pytest.approx(np.mean([costs[order[:drawn]].sum() / 20 for order in orders]))


def test_a_large_tie_is_counted_exactly():
    rows = run_of([], tests=2_000).assign(score=0.0)
    rows.loc[:0, "failed"] = True
    curve = metrics.selection_curve(rows, "score", (0.0, 0.25, 0.5, 1.0))
    assert curve["change_recall"].tolist() == pytest.approx([0.0, 0.25, 0.5, 1.0], abs=1e-9)
    assert curve["change_recall"].iloc[[0, 3]].tolist() == [0.0, 1.0]


def test_a_green_run_costs_but_catches_nothing():
    rows = pd.concat([run_of([1], "red", duration_s=6.0), run_of([], "green", 1, duration_s=18.0)], ignore_index=True)
    [found] = metrics.selection_curve(rows, "score", (0.5,)).to_dict("records")
    assert found["change_recall"] == 1.0
    # 30 s and 90 s are saved: one minute per run.
    assert found["saved_min"] == pytest.approx(1.0)


def test_durations_that_are_mostly_unknown_leave_the_cost_unknown():
    rows = run_of([1], duration_s=[1.0] * 4 + [np.nan] * 6)
    curve = metrics.selection_curve(rows, "score", (0.5,))
    assert curve["change_recall"].tolist() == [1.0]
    assert curve[["duration_share", "saved_min"]].isna().all(axis=None)


def test_a_few_unknown_durations_count_as_the_median():
    rows = run_of([1], duration_s=[np.nan] * 5 + [3.0] * 5)
    assert metrics.selection_curve(rows, "score", (0.5,))["duration_share"].tolist() == pytest.approx([0.5])


def test_durations_of_nothing_have_no_share():
    assert metrics.selection_curve(run_of([1], duration_s=0.0), "score", (0.5,))["duration_share"].isna().all()


def test_without_a_failing_run_nothing_is_caught_and_the_cost_is_known():
    curve = metrics.selection_curve(run_of([]), "score", (0.5, 1.0))
    assert curve[["test_recall", "change_recall"]].isna().all(axis=None)
    assert curve["duration_share"].tolist() == pytest.approx([0.5, 1.0])
    assert metrics.operating_points(run_of([]), "score") == ()


def test_no_rows_have_a_curve_of_unknowns():
    nothing = run_of([]).iloc[:0]
    assert metrics.selection_curve(nothing, "score", (0.5,)).drop(columns="share").isna().all(axis=None)
    assert metrics.operating_points(nothing, "score") == ()


# -- points


def test_a_point_is_the_least_share_that_reaches_the_recall():
    # Of a hundred failing runs 90 are caught by the first test, 5 more by the second, 4 by the third, one by the last.
    points = metrics.operating_points(runs_of([1] * 90 + [2] * 5 + [3] * 4 + [10]), "score")
    assert [point.target for point in points] == [0.9, 0.95, 0.99, 0.999]
    assert [point.tests.value for point in points] == pytest.approx([0.1, 0.2, 0.3, 1.0])
    assert [point.duration.value for point in points] == pytest.approx([0.1, 0.2, 0.3, 1.0])
    # A run has ten tests of 6 s.
    assert [point.saved_min.value for point in points] == pytest.approx([0.9, 0.8, 0.7, 0.0])
    assert {point.run_count for point in points} == {100}


@pytest.mark.slow
def test_a_target_that_leaves_no_run_out_is_told_and_has_no_bounds():
    points = metrics.operating_points(runs_of([1, 2] * 50), "score")
    assert [point.is_all for point in points] == [False, False, False, True]
    assert points[3].tests.value == 0.2
    assert all(math.isnan(bound) for bound in (points[3].tests.low, points[3].saved_min.high))
    thousand = metrics.operating_points(runs_of([1] * 1_000), "score")
    assert [point.is_all for point in thousand] == [False] * 4


def test_the_interval_is_that_of_the_quantile_over_resampled_runs():
    first = metrics.operating_points(runs_of([1] * 90 + [5] * 10), "score")[0]
    # Among a hundred drawn runs there are about as often more than ten of the hard ones as there are fewer.
    assert (first.tests.low, first.tests.value, first.tests.high) == (0.1, 0.1, 0.5)
    assert (first.saved_min.low, first.saved_min.high) == pytest.approx((0.5, 0.9))


@pytest.mark.slow
def test_longer_blocks_widen_the_interval_of_runs_that_come_in_spells():
    spells = ([1] * 95 + [4, 5, 6, 7, 8]) * 4
    alone, blocks = (metrics.operating_points(runs_of(spells), "score", block=size)[1].tests for size in (1, 100))
    assert blocks.high <= alone.high
    trend = [1] * 190 + [9] * 10
    alone, blocks = (metrics.operating_points(runs_of(trend), "score", block=size)[0].tests for size in (1, 20))
    assert (alone.high, blocks.high) == (0.1, 0.9)


def test_the_order_of_rows_does_not_matter():
    rows = runs_of([1] * 60 + [3] * 10 + [9] * 10)
    mixed = rows.sample(frac=1, random_state=4)
    assert metrics.operating_points(mixed, "score", block=5) == metrics.operating_points(rows, "score", block=5)


def test_points_of_test_recall_count_failing_tests():
    rows = runs_of([1] * 20)
    rows.loc[rows["score"] == -4, "failed"] = True
    by_run = metrics.operating_points(rows, "score")
    by_test = metrics.operating_points(rows, "score", recall="test_recall")
    assert [point.tests.value for point in by_run] == [0.1] * 4
    assert [point.tests.value for point in by_test] == [0.4] * 4
    assert not any(point.is_all for point in by_test)


def test_a_point_without_durations_has_its_share_of_tests():
    points = metrics.operating_points(runs_of([2] * 20).assign(duration_s=np.nan), "score")
    assert points[0].tests.value == 0.2
    assert math.isnan(points[0].duration.value)
    assert math.isnan(points[0].saved_min.value)


# -- views


def test_first_failures_are_those_of_tests_that_never_failed_and_passes_keep_their_place():
    rows = run_of([1, 5], failed_before=[True, True, *[False] * 8])
    [found] = metrics.ranking_by_run(rows, "score", "first").to_dict("records")
    # The failure at place 1 is not its first: it goes. The test at place 2 failed before and passes: it stays.
    assert (found["test_count"], found["failure_count"]) == (9, 1)
    assert found["apfd"] == pytest.approx(1 - 4 / 9 + 1 / 18)


def test_regressions_are_the_failures_with_that_label_and_no_other():
    states = [FailureState.FLAKY, None, FailureState.UNKNOWN, FailureState.REGRESSION, FailureState.INFRASTRUCTURE]
    rows = run_of([1, 3, 4, 5], failure_state=[*states, *[None] * 5])
    [found] = metrics.ranking_by_run(rows, "score", "regression").to_dict("records")
    assert (found["test_count"], found["failure_count"]) == (7, 1)
    assert found["apfd"] == pytest.approx(1 - 2 / 7 + 1 / 14)


@pytest.mark.parametrize(("view", "column"), [("first", {"failed_before": [True] * 5 + [False] * 5})])
def test_an_outage_is_left_out_of_a_view_that_would_make_it_look_small(view, column):
    rows = run_of([1, 2, 3, 4, 5, 6], **column)
    assert metrics.ranking_by_run(rows, "score", view).empty
    assert len(metrics.ranking_by_run(run_of([1, 2, 3, 4, 6], **column), "score", view)) == 1


def test_a_view_whose_column_is_missing_is_missing():
    rows = run_of([1])
    assert metrics.views_of(Objective.RANKING, rows) == ("all", "new")
    with_states = rows.assign(failure_state=None)
    assert metrics.views_of(Objective.RANKING, with_states) == ("all", "new", "regression")
    assert metrics.views_of(Objective.RANKING, rows.assign(failed_before=False)) == ("all", "new", "first")
    assert metrics.views_of(Objective.PROBABILITY, with_states) == ("all", "new")


def test_costs_count_a_run_as_often_as_it_stands_for_others():
    failing, green = run_of([2], "a"), run_of([], "b", 1, duration_s=30.0)
    drawn = pd.concat([failing.assign(**{WEIGHT: 1.0}), green.assign(**{WEIGHT: 3.0})], ignore_index=True)
    every = pd.concat([failing, *(green.assign(run_id=name) for name in "bcd")], ignore_index=True)
    shares = (0.0, 0.3, 1.0)
    weighted, full = (metrics.selection_curve(rows, "score", shares) for rows in (drawn, every))
    pd.testing.assert_frame_equal(weighted, full)
