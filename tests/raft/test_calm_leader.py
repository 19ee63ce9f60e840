"""A leader that has nothing to say says so seldom, and only then (raft/calm.py)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from raftzmq.node.pace import OWED_TICKS_MAX, Pace
from raftzmq.raft.messages import HeartbeatRequest, Message, ReadIndexRequest
from raftzmq.raft.types import Role
from tests.raft.lone import Lone, appended, heard, pre_vote

ELECTION, HEARTBEAT = 40, 4
CALM = ELECTION // 3


def leader(peers: tuple[str, ...] = ("n2", "n3"), **settings: int) -> Lone:
    """Leads; ``peers`` hold its whole log."""
    settings = {"election_ticks": ELECTION, "heartbeat_ticks": HEARTBEAT, **settings}
    node = Lone(seed=3, **settings)
    while node.raft.role is Role.FOLLOWER:
        node.ticks(1)
    node.lead()
    for peer in peers:
        node.step(appended(peer, node.raft.term, 1))
    node.ticks(1)
    return node


def pass_time(node: Lone, ticks: int) -> list[int]:
    """Let time pass while peers answer; ticks from each heartbeat that n2 was sent to the next."""
    at = []
    for now in range(ticks):
        if beats(node.ticks(1)):
            at.append(now)
            for peer in ("n2", "n3"):
                node.step(heard(peer, node.raft.term))
    return [after - before for before, after in pairwise(at)]


def beats(sent: list[Message]) -> int:
    return sum(isinstance(each, HeartbeatRequest) and each.receiver == "n2" for each in sent)


def calm() -> Lone:
    node = leader()
    pass_time(node, 2 * ELECTION)
    assert set(pass_time(node, 3 * ELECTION)) == {CALM}
    return node


def propose(node: Lone) -> None:
    node.raft.propose(b"x")
    for peer in ("n2", "n3"):
        node.drain()
        node.step(appended(peer, node.raft.term, node.raft.last_position.index))


def read(node: Lone) -> None:
    node.raft.read_index(5)
    node.drain()


def asked(node: Lone) -> None:
    node.step(ReadIndexRequest(sender="n2", receiver="n1", term=node.raft.term, context=7))


def test_without_anything_to_say_three_heartbeats_fill_an_election_timeout() -> None:
    node = calm()
    assert 3 * CALM <= ELECTION
    while not beats(node.ticks(1)):
        pass
    assert node.raft.quiet_ticks() == CALM, "the host sleeps as long"


def test_it_is_calm_only_after_an_election_timeout_without_anything() -> None:
    node = leader()
    assert set(pass_time(node, ELECTION - 2)) == {HEARTBEAT}


def pre_voted(node: Lone) -> None:
    node.step(pre_vote("n3", node.raft.term + 1))


def held_up(node: Lone) -> None:
    node.raft.held_up()


@pytest.mark.parametrize("something", [propose, read, asked, pre_voted, held_up])
def test_whatever_is_asked_stirs_it(something: Callable[[Lone], None]) -> None:
    node = calm()
    something(node)
    pass_time(node, HEARTBEAT)
    assert set(pass_time(node, ELECTION - 2 * HEARTBEAT)) == {HEARTBEAT}
    pass_time(node, 2 * ELECTION)
    assert set(pass_time(node, 3 * ELECTION)) == {CALM}


def test_a_follower_that_lacks_something_is_not_made_to_wait() -> None:
    node = leader(peers=("n2",))
    pass_time(node, 2 * ELECTION)
    assert set(pass_time(node, 2 * ELECTION)) == {HEARTBEAT}


def test_an_acknowledgement_that_is_missing_keeps_it_awake() -> None:
    node = calm()
    node.raft.propose(b"x")
    node.drain()
    node.step(appended("n2", node.raft.term, 2))
    assert node.raft.commit_index == 2
    pass_time(node, 2 * ELECTION)
    assert set(pass_time(node, 2 * ELECTION)) == {HEARTBEAT}


def test_what_is_not_committed_keeps_it_awake() -> None:
    node = calm()
    node.raft.propose(b"x")
    pass_time(node, 2 * ELECTION)
    assert set(pass_time(node, 2 * ELECTION)) == {HEARTBEAT}


def test_a_peer_whose_connection_broke_keeps_it_awake() -> None:
    node = calm()
    node.raft.peer_lost("n3")
    pass_time(node, 2 * HEARTBEAT)
    assert set(pass_time(node, HEARTBEAT * 4)) == {HEARTBEAT}


def test_a_handover_is_not_calm() -> None:
    node = calm()
    node.raft.transfer_leadership("n2")
    assert set(pass_time(node, ELECTION - HEARTBEAT)) == {HEARTBEAT}


def test_a_longer_timeout_alone_does_not_make_it_silent_for_long() -> None:
    """While nodes are given a longer one, one after the other, some go by the shorter one."""
    node = leader(election_ticks=10 * ELECTION)
    pass_time(node, 11 * ELECTION)
    assert set(pass_time(node, 3 * ELECTION)) == {4 * HEARTBEAT}


@pytest.mark.parametrize("round_ms", [60, 120, 150, 300])
def test_a_leader_that_is_held_up_by_what_does_not_stir_it_is_heard_in_time(round_ms: int) -> None:
    """Rounds of a raft thread as in node/loop.py; a follower counts on a heartbeat in 400 ms."""
    node = calm()
    now_ms = said_ms = longest_ms = 0
    pace = Pace(10, 0)
    for _ in range(60):
        pace.rest_ms(node.raft.quiet_ticks(), now_ms)
        now_ms += round_ms
        sent = node.ticks(pace.slept(now_ms))
        due = pace.due(now_ms)
        if due >= OWED_TICKS_MAX:
            node.raft.held_up()
        if beats(sent + node.ticks(due)):
            longest_ms, said_ms = max(longest_ms, now_ms - said_ms), now_ms
            for peer in ("n2", "n3"):
                node.step(heard(peer, node.raft.term))
    assert 0 < longest_ms < 10 * ELECTION


def test_heartbeats_that_are_rare_anyway_do_not_come_more_often() -> None:
    node = leader(heartbeat_ticks=18)
    pass_time(node, 2 * ELECTION)
    assert set(pass_time(node, 4 * ELECTION)) == {18}
