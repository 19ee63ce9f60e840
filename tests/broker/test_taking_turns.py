"""Connections take turns in a proxy: who sends most keeps nobody else waiting."""

from __future__ import annotations

import pytest

from raftzmq import limits
from raftzmq.wire.client import Flags, Level
from tests.broker.fake_cluster import ALICE, BOB, FakeCluster, read, sequences, write


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


def test_a_read_that_no_node_can_take_holds_up_no_other_connection() -> None:
    """More of them than are looked at in one round."""
    cluster = FakeCluster()
    later = [read(n, Level.LEADER, flags=Flags.SLOW) for n in range(1, 201)]
    cluster.ask(*later, client=ALICE)
    cluster.round()
    assert len(cluster.sent) == limits.SLOW_READ_LANES, "those of the leader"
    cluster.ask(read(999, flags=Flags.SLOW), client=BOB)
    assert [999] in [sequences(batch) for batch in cluster.round()]
