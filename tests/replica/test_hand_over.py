"""Whom a leader that should not lead asks, and when it asks again."""

from __future__ import annotations

from raftzmq.replica.hand_over import HandOver


def test_each_live_peer_is_asked_once_the_best_first_and_all_again_after_a_rest() -> None:
    hand_over = HandOver(50)
    peers = ["n3", "n2"]
    assert hand_over.tick(peers, under_way=False) == "n3"
    assert hand_over.tick(peers, under_way=True) is None
    assert hand_over.tick(peers, under_way=False) == "n2"
    assert not hand_over.exhausted
    assert hand_over.tick(peers, under_way=False) is None
    assert hand_over.exhausted
    assert hand_over.tick([*peers, "n4"], under_way=False) == "n4", "it came back"
    asked = [hand_over.tick(peers, under_way=False) for _ in range(50)]
    assert [peer for peer in asked if peer] == ["n3"]
    assert hand_over.exhausted, "the answer was no, until another comes"


def test_a_new_leadership_is_a_new_attempt() -> None:
    hand_over = HandOver(50)
    assert hand_over.tick(["n2"], under_way=False) == "n2"
    assert hand_over.tick(["n2"], under_way=False) is None
    hand_over.reset()
    assert not hand_over.exhausted
    assert hand_over.tick(["n2"], under_way=False) == "n2"
