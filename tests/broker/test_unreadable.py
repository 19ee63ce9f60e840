"""A node that says that it serves no reads gets none, whatever its role."""

from __future__ import annotations

import pytest

from raftzmq.errors import Unavailable
from raftzmq.wire.client import Kind, Level, decode_batch, decode_request
from tests.broker.fake_cluster import ALICE, FakeCluster, read, write


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def readers(cluster: FakeCluster) -> set[str]:
    """Which nodes get some of many reads."""
    cluster.ask(*(read(n) for n in range(1, 401)))
    nodes = set()
    while out := cluster.round():
        for batch in out:
            nodes.add(batch.node)
            cluster.answer(batch)
    return nodes


def test_a_follower_that_serves_no_reads_gets_none(cluster: FakeCluster) -> None:
    assert readers(cluster) == {"n2", "n3"}
    cluster.status("n2", "n1", 1, serves_reads=False)
    assert readers(cluster) == {"n3"}
    cluster.status("n2", "n1", 1)
    assert readers(cluster) == {"n2", "n3"}


def test_the_leader_reads_for_followers_that_do_not(cluster: FakeCluster) -> None:
    for node in ("n2", "n3"):
        cluster.status(node, "n1", 1, serves_reads=False)
    assert readers(cluster) == {"n1"}


def test_a_leader_that_serves_no_reads_still_gets_the_writes(cluster: FakeCluster) -> None:
    cluster.status("n1", "n1", 1, serves_reads=False)
    cluster.ask(write(1), read(2, Level.LEADER))
    (batch,) = cluster.round()
    assert batch.node == "n1"
    assert [decode_request(blob).kind for blob in decode_batch(batch.frames[3])] == [Kind.WRITE]
    # The read waits for a leader that can serve it.
    cluster.status("n1", "n1", 1)
    (batch,) = cluster.round()
    assert [decode_request(blob).kind for blob in decode_batch(batch.frames[3])] == [Kind.READ]


def test_a_read_that_was_on_its_way_is_asked_of_another_one(cluster: FakeCluster) -> None:
    cluster.ask(read(1))
    (batch,) = cluster.round()
    cluster.status(batch.node, "n1", 1, serves_reads=False)
    cluster.answer(batch, Unavailable.code)
    again: list[str] = []
    for _ in range(100):
        again += [each.node for each in cluster.round(later_ms=10)]
        if again:
            break
    assert again
    assert batch.node not in again
    cluster.answer(cluster.sent[-1])
    assert cluster.verdicts() == [(ALICE, 1, 0)]
