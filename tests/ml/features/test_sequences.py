"""The latest fact before a moment, windows and spans, found by numbers: in dense and in sparse groups, and at ties."""

import numpy as np
import pytest

from ml.features.sequences import Facts, Moments, below, order_of, rate, spans, starts, tally, total

# Runs 1 and 3 become known together, before run 2.
MOMENTS = Moments(known_us=np.array([10, 10, 20]), place=np.array([0, 2, 1]))


def test_what_is_known_at_the_moment_of_the_question_is_not_known_before_it() -> None:
    assert MOMENTS.before(np.array([10, 11, 20, 21])).tolist() == [0, 2, 2, 3]


@pytest.mark.parametrize("far", [2, 1_000_002])
def test_the_latest_fact_is_one_of_the_same_group_below_the_place(far: int) -> None:
    codes = MOMENTS.codes(np.array([1, 1, far]), np.array([0, 2, 1]))
    group, before = np.array([1, 1, 1, far, far, 0, far + 1]), np.array([0, 2, 3, 1, 3, 3, 3])
    found = Facts.of(MOMENTS, codes).latest(group, before)
    assert found.tolist() == [-1, 0, 1, -1, 2, -1, -1]


def test_no_facts_at_all_are_before_nothing() -> None:
    nothing = np.array([], np.int64)
    assert Facts.of(MOMENTS, nothing).latest(np.array([3]), np.array([1])).tolist() == [-1]
    assert Facts.of(MOMENTS, np.array([3])).latest(nothing, nothing).tolist() == []


@pytest.mark.parametrize("far", [1, 2**20, 2**40])
def test_a_group_without_a_fact_is_told_from_one_whose_number_ends_alike(far: int) -> None:
    facts = Facts.of(MOMENTS, MOMENTS.codes(np.array([1, 1 + far]), np.array([1, 0])))
    assert facts.latest(np.array([1 + far, 1 + 2 * far, -1]), np.array([3, 3, 3])).tolist() == [1, -1, -1]


@pytest.mark.parametrize("far", [6, 1_000_000])
def test_numbers_are_ordered_and_counted_whether_they_lie_close_together_or_not(far: int) -> None:
    assert order_of(np.array([4, far, 0, 2])).tolist() == [2, 3, 0, 1]
    codes, counts = tally(np.array([4, far, 0, 4]))
    assert (codes.tolist(), counts.tolist()) == ([0, 4, far], [1, 2, 1])


def test_the_codes_below_are_counted_and_a_question_without_a_group_finds_none() -> None:
    assert below(np.array([0, 2, 2, 5]), np.array([6, 2, 0, 3, -4])).tolist() == [4, 1, 0, 3, 0]


def test_codes_say_their_group_and_place() -> None:
    codes = MOMENTS.codes(np.array([7, 0]), np.array([2, 3]))
    assert MOMENTS.groups(codes).tolist() == [7, 0]
    assert MOMENTS.places(codes).tolist() == [2, 3]


def test_totals_of_flags_do_not_overflow_and_groups_start_where_the_number_changes() -> None:
    assert total(np.ones(300, np.int8))[[0, 300]].tolist() == [0, 300]
    assert starts(np.array([4, 4, 2, 9, 9])).tolist() == [0, 0, 2, 3, 3]


def test_spans_follow_one_another_and_empty_ones_are_left_out() -> None:
    owner, number = spans(np.array([5, 9, 2]), np.array([7, 9, 3]))
    assert owner.tolist() == [0, 0, 2]
    assert number.tolist() == [5, 6, 2]


def test_a_rate_of_nothing_is_unknown() -> None:
    assert np.array_equal(rate(np.array([1, 0]), np.array([2, 0])), [0.5, np.nan], equal_nan=True)
