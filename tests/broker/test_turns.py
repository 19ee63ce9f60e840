"""Connections take turns: who sends most keeps nobody else waiting."""

from __future__ import annotations

import pytest

from raftzmq import limits
from raftzmq.broker.pending import Pending
from raftzmq.broker.turns import Turns
from raftzmq.wire.client import Flags, Level
from tests.broker.fake_cluster import ALICE, BOB, FakeCluster, read, sequences, write

CAROL = b"carol-connection"


def pending(identity: bytes, order: int, deadline_ms: int = 100) -> Pending:
    return Pending(identity, b"", b"", order, False, Level.STALE, 0, deadline_ms, False, order)


def taken(turns: Turns) -> list[int]:
    return [turns.take().order for _ in range(len(turns))]


@pytest.mark.parametrize(
    "request_of",
    [
        write,
        read,
        lambda sequence: read(sequence, Level.SESSION),
        lambda sequence: read(sequence, Level.STALE),
        lambda sequence: read(sequence, Level.LEADER),
        lambda sequence: read(sequence, flags=Flags.SLOW),
    ],
    ids=["write", "linearizable", "session", "stale", "leader", "slow"],
)
def test_one_request_leaves_with_the_next_batch_whatever_another_connection_sent(
    request_of,  # type: ignore[no-untyped-def]
) -> None:
    cluster = FakeCluster()
    for start in range(1, 9_001, 1_000):
        cluster.ask(*map(request_of, range(start, start + 1_000)), client=ALICE)
    cluster.round()
    cluster.ask(request_of(77_777), client=BOB)
    assert not any(77_777 in sequences(batch) for batch in cluster.round()), "no lane was free"
    for batch in list(cluster.sent):
        cluster.answer(batch)
    assert any(77_777 in sequences(batch) for batch in cluster.round())


def test_the_requests_of_one_connection_keep_their_order() -> None:
    turns = Turns()
    for order in range(6):
        turns.append(pending(ALICE if order % 3 else BOB, order))
    assert len(turns) == 6
    assert turns.first().order == 0
    assert taken(turns) == [0, 1, 3, 2, 4, 5]
    assert len(turns) == 0


def test_what_comes_back_goes_before_what_its_connection_sent_later() -> None:
    turns = Turns()
    for order in range(6):
        turns.append(pending(ALICE, order))
    first, second, third = turns.take(), turns.take(), turns.take()
    turns.put_back([second])
    turns.put_back([third, first])
    turns.append(pending(BOB, 6))
    turns.put_back([pending(CAROL, 7)])
    assert len(turns) == 8
    assert taken(turns) == [0, 6, 7, 1, 2, 3, 4, 5]


def test_those_whose_time_ran_out_are_removed_and_nobody_else() -> None:
    turns = Turns()
    for order in range(4):
        turns.append(pending(ALICE if order < 3 else BOB, order, deadline_ms=10 * (order % 2) + 10))
    assert turns.remove_late(9) == []
    assert [item.order for item in turns.remove_late(10)] == [0, 2]
    assert len(turns) == 2
    assert taken(turns) == [1, 3]
    turns.append(pending(ALICE, 5))
    turns.clear()
    assert len(turns) == 0
    assert list(turns) == []


def test_a_read_that_no_node_can_take_holds_up_no_other_connection() -> None:
    """More of them than are looked at in one round."""
    cluster = FakeCluster()
    later = [read(n, Level.LEADER, flags=Flags.SLOW) for n in range(1, 201)]
    cluster.ask(*later, client=ALICE)
    cluster.round()
    assert len(cluster.sent) == limits.SLOW_READ_LANES, "those of the leader"
    cluster.ask(read(999, flags=Flags.SLOW), client=BOB)
    assert [999] in [sequences(batch) for batch in cluster.round()]
