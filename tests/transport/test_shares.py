from __future__ import annotations

from raftzmq.transport.shares import Shares


def test_one_holds_at_most_half_and_the_next_finds_room() -> None:
    shares = Shares(100, 1 << 40)
    taken = sum(shares.take(b"a", 1, 1) for _ in range(200))
    assert taken == 51
    assert shares.take(b"b", 1, 1)


def test_many_leave_room_for_whoever_comes_next() -> None:
    shares = Shares(1_000, 1 << 40)
    for _ in range(1_000):
        for number in range(20):
            shares.take(b"%d" % number, 1, 1)
    assert shares.requests < 1_000
    assert shares.take(b"new", 1, 1)


def test_bytes_count_too_and_a_lone_request_fits() -> None:
    shares = Shares(100, 1_000)
    assert not shares.take(b"a", 1, 1_001)
    assert shares.take(b"a", 1, 1_000)
    assert not shares.take(b"b", 1, 1)
    shares.give_back(b"a", 1, 1_000)
    assert shares.take(b"b", 1, 1)


def test_nothing_is_remembered_of_who_holds_nothing() -> None:
    shares = Shares(100, 1_000)
    shares.take(b"a", 2, 20)
    shares.give_back(b"a", 0, -5)
    assert (shares.requests, shares.bytes) == (2, 25)
    shares.give_back(b"a", 2, 25)
    assert (shares.requests, shares.bytes, shares._held) == (0, 0, {})


def test_when_it_is_full_who_holds_most_must_yield_to_who_holds_little() -> None:
    shares = Shares(100, 1 << 40)
    shares.take(b"much", 51, 1)
    shares.take(b"less", 49, 1)
    assert not shares.take(b"little", 1, 1)
    assert shares.outweighs(b"little", 1, 1) == b"much"
    assert shares.outweighs(b"little", 25, 1) == b"much"
    assert shares.outweighs(b"little", 26, 1) is None
    assert shares.outweighs(b"less", 1, 1) is None
    assert shares.outweighs(b"much", 1, 1) is None


def test_one_that_is_refused_for_its_share_may_still_hold_less_than_another() -> None:
    """Connections that are gone have left little; one that lives may hold more than that."""
    shares = Shares(100, 1 << 40)
    shares.take(b"proxy", 20, 1)
    shares.take(b"gone", 75, 1)
    assert not shares.take(b"proxy", 1, 1)
    assert shares.outweighs(b"proxy", 1, 1) == b"gone"


def test_bytes_are_yielded_by_who_holds_most_bytes() -> None:
    shares = Shares(1_000, 100)
    shares.take(b"many", 9, 10)
    shares.take(b"large", 1, 90)
    assert shares.outweighs(b"new", 1, 44) == b"large"
    assert shares.outweighs(b"new", 1, 45) is None
    assert Shares(10, 10).outweighs(b"new", 1, 11) is None


def test_what_one_holds_is_known() -> None:
    shares = Shares(10, 1_000)
    assert shares.held(b"a") == 0
    shares.take(b"a", 2, 10)
    shares.take(b"a", 1, 10)
    shares.give_back(b"a", 1, 10)
    assert shares.held(b"a") == 2
