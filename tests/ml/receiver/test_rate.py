"""Token buckets of bounded memory, and which address has which."""

import pytest
from starlette.requests import Request

from ml.receiver.gate import address_of
from ml.receiver.rate import Rate


def test_a_burst_and_then_so_many_a_second() -> None:
    moment = [0.0]
    rate = Rate(burst=2, per_second=0.5, clock=lambda: moment[0])
    assert [rate.wait("a") for _ in range(4)] == [0, 0, 2, 2]
    moment[0] = 1.0
    assert rate.wait("a") == 1
    moment[0] = 2.0
    assert [rate.wait("a"), rate.wait("a")] == [0, 2]
    assert rate.wait("b") == 0


def test_the_key_that_asked_longest_ago_is_forgotten() -> None:
    rate = Rate(burst=1, per_second=1, clock=lambda: 0.0, max_keys=3)
    for key in ("a", "b", "c"):
        assert rate.wait(key) == 0
    assert rate.wait("a") == 1
    assert rate.wait("d") == 0
    assert (rate.remembered, rate.wait("a"), rate.wait("b")) == (3, 1, 0)
    for number in range(1_000):
        rate.wait(str(number))
    assert rate.remembered == 3


def test_another_one_like_it_knows_nobody() -> None:
    rate = Rate(burst=1, per_second=1, clock=lambda: 0.0)
    rate.wait("a")
    assert [rate.like().wait("a"), rate.wait("a")] == [0, 1]


@pytest.mark.parametrize(
    ("host", "known_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("nonsense", ""),
    ],
)
def test_an_address_counts_with_its_network(host: str, known_as: str) -> None:
    assert address_of(Request({"type": "http", "client": (host, 1), "headers": []})) == known_as


def test_without_an_address_there_is_one_for_all() -> None:
    assert address_of(Request({"type": "http", "client": None, "headers": []})) == ""
