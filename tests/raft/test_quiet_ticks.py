"""A host may sleep through ``quiet_ticks() - 1`` ticks: they must do nothing but count."""

from __future__ import annotations

import pytest

from raftzmq.raft.raft import Raft
from raftzmq.raft.types import Role, Standing
from tests.raft.lone import Lone, append, appended, heard


def acts_after(raft: Raft, ticks_max: int = 100) -> int:
    """Ticks after which the node says anything."""
    for ticks in range(1, ticks_max):
        raft.tick()
        if raft.ready() is not None:
            return ticks
    raise AssertionError("it never does anything")


def leader(**settings: int) -> Lone:
    node = Lone(seed=3, **settings)
    node.lead()
    for peer in ("n2", "n3"):
        node.step(appended(peer, node.raft.term, 1))
    node.ticks(1)
    node.drain()
    return node


def test_a_follower_sleeps_until_its_election() -> None:
    for seed in range(20):
        node = Lone(seed=seed)
        node.follow("n2", 1)
        node.ticks(3)
        quiet = node.raft.quiet_ticks()
        assert quiet > 1
        assert acts_after(node.raft) == quiet


def test_a_leader_sleeps_until_its_heartbeat() -> None:
    node = leader(heartbeat_ticks=5)
    node.ticks(1)
    quiet = node.raft.quiet_ticks()
    assert quiet > 1
    assert acts_after(node.raft) == quiet


def test_a_commit_that_nobody_was_told_is_due_at_the_next_tick() -> None:
    node = leader(heartbeat_ticks=9)
    node.raft.propose(b"x")
    node.drain()
    node.step(appended("n2", node.raft.term, 2))
    assert node.raft.commit_index == 2
    assert node.raft.quiet_ticks() == 1
    assert acts_after(node.raft) == 1


def test_a_peer_that_is_away_does_not_keep_a_leader_awake() -> None:
    node = Lone(heartbeat_ticks=5)
    node.lead()
    node.step(appended("n2", node.raft.term, 1))
    node.raft.peer_lost("n3")
    node.ticks(5)
    assert node.raft.commit_index == 1
    assert node.raft.quiet_ticks() == 5


def test_a_leader_that_nobody_hears_wakes_to_step_down() -> None:
    node = leader(heartbeat_ticks=8)
    node.ticks(7)
    quiet = node.raft.quiet_ticks()
    assert quiet == 2
    assert acts_after(node.raft) == quiet
    assert node.raft.role is Role.FOLLOWER


def test_a_leader_that_hands_over_looks_at_each_tick() -> None:
    node = leader(heartbeat_ticks=9)
    node.step(heard("n2", node.raft.term))
    assert node.raft.transfer_leadership("n2")
    node.drain()
    assert node.raft.quiet_ticks() == 1


@pytest.mark.parametrize("standing", [Standing.UNKNOWN, Standing.RECOVERING])
def test_who_may_not_promise_yet_looks_at_each_tick(standing: Standing) -> None:
    node = Lone(standing=standing)
    node.step(append("n2", 1, (0, 0), [1]))
    assert node.raft.quiet_ticks() == 1


def test_who_waits_for_a_read_index_looks_at_each_tick() -> None:
    node = Lone()
    node.follow("n2", 1)
    node.raft.read_index(7)
    node.drain()
    assert node.raft.quiet_ticks() == 1


def test_a_candidate_looks_at_each_tick() -> None:
    node = Lone()
    node.time_out()
    assert node.raft.role is Role.PRE_CANDIDATE
    assert node.raft.quiet_ticks() == 1
