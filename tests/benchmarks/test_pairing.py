from statistics import median

import pytest

from benchmarks.pairing import Contender, Outcome, Pairing, Unequal, exponent, measure, pairwise_ratios, slopes

pytestmark = pytest.mark.slow


def pairing(turns: list[str], ours: int = 1, peer: int = 1) -> Pairing:
    """Two contenders that note each turn and return what they are given."""

    def contender(name: str, result: int) -> Contender:
        return Contender(name, lambda: lambda: (turns.append(name), result)[1])

    def check(one: int, other: int) -> str:
        if one != other:
            raise Unequal(f"{one} and {other}")
        return "same"

    return Pairing("f", "s", 10, "rows", contender("ours", ours), contender("peer", peer), check, "note")


def outcome(family: str, count: int, ours_s: float, peer_s: float) -> Outcome:
    """Measured with so many CPU seconds."""
    ratio = ours_s / peer_s
    wall = ((99.0,), (99.0,))
    return Outcome(family, "s", count, "rows", "o", "p", "same", "", *wall, (ours_s,), (peer_s,), (ratio,), ratio)


def test_ratios_are_ours_by_peer_round_by_round() -> None:
    ratios = pairwise_ratios([2.0, 4.0, 9.0], [1.0, 4.0, 3.0])
    assert ratios == (2.0, 1.0, 3.0)
    assert median(ratios) == 2.0


def test_the_order_within_a_pair_alternates_after_the_untimed_round() -> None:
    turns: list[str] = []
    measured = measure(pairing(turns), rounds=3)
    assert turns == ["ours", "peer", "ours", "peer", "peer", "ours", "ours", "peer"]
    assert len(measured.ours_s) == len(measured.peer_s) == 3
    assert measured.equal == "same"
    assert measured.ratio == median(measured.ratios)


def test_different_results_are_not_timed() -> None:
    turns: list[str] = []
    with pytest.raises(Unequal, match="1 and 2"):
        measure(pairing(turns, ours=1, peer=2))
    assert turns == ["ours", "peer"]


def test_four_times_the_rows_in_sixteen_times_the_seconds_is_quadratic() -> None:
    assert exponent((100, 1.0), (400, 16.0)) == pytest.approx(2.0)


def test_slopes_need_two_sizes_of_a_family() -> None:
    found = slopes([outcome("a", 10, 1.0, 2.0), outcome("b", 10, 1.0, 1.0), outcome("a", 100, 10.0, 200.0)])
    assert [(one["family"], one["from"], one["to"]) for one in found] == [("a", 10, 100)]
    assert found[0]["ours"] == pytest.approx(1.0)
    assert found[0]["peer"] == pytest.approx(2.0)
