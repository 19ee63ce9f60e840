"""Reads leave in small batches to a node that takes long over large ones."""

from __future__ import annotations

import pytest

from raftzmq import limits
from raftzmq.broker.batch_sizes import FIRST_READS, LEAST_READS, LONG_MS, BatchSizes
from raftzmq.broker.routing import FEW_MAX
from raftzmq.wire.client import Level
from tests.broker.fake_cluster import ALICE, BOB, NODES, FakeCluster, read, sequences


def test_a_batch_that_takes_long_halves_the_next_and_one_that_does_not_doubles_it() -> None:
    sizes = BatchSizes()
    seen = [sizes.most]
    for took_ms in (LONG_MS, LONG_MS, LONG_MS + 1, LONG_MS, LONG_MS, LONG_MS):
        sizes.answered(sizes.most, took_ms)
        seen.append(sizes.most)
    assert seen == [128, 256, 512, 256, 512, 1_024, limits.BATCH_REQUESTS_MAX]


def test_there_is_a_least() -> None:
    sizes = BatchSizes()
    for _ in range(20):
        sizes.answered(sizes.most, LONG_MS + 1)
    assert sizes.most == LEAST_READS
    sizes = BatchSizes()
    sizes.answered(2 * LEAST_READS - 1, LONG_MS + 1)
    assert sizes.most == LEAST_READS


def test_a_large_batch_of_before_makes_the_next_no_larger() -> None:
    """Several are under way at a time; they left when the next might be large."""
    sizes = BatchSizes()
    for _ in range(20):
        sizes.answered(sizes.most, LONG_MS + 1)
    sizes.answered(limits.BATCH_REQUESTS_MAX, LONG_MS + 1)
    assert sizes.most == LEAST_READS


def test_a_node_on_another_continent_gets_large_batches() -> None:
    sizes = BatchSizes()
    for _ in range(20):
        sizes.answered(sizes.most, 350)
    assert sizes.most == limits.BATCH_REQUESTS_MAX


def test_a_small_batch_says_nothing_of_large_ones() -> None:
    sizes = BatchSizes()
    sizes.answered(LEAST_READS, LONG_MS + 1)
    assert sizes.most == FIRST_READS
    sizes.answered(LEAST_READS * 2, LONG_MS + 1)
    sizes.answered(LEAST_READS - 1, 1)
    assert sizes.most == LEAST_READS, "it was not full"


def flooded() -> FakeCluster:
    """The lanes of the followers are taken by what ALICE sends without end."""
    cluster = FakeCluster()
    for start in range(1, 40_001, 1_000):
        cluster.ask(*map(read, range(start, start + 1_000)), client=ALICE)
    return cluster


def largest(cluster: FakeCluster) -> int:
    return max(len(sequences(batch)) for batch in cluster.sent)


def test_who_asks_once_does_not_wait_for_a_thousand_reads_of_another() -> None:
    cluster = flooded()
    for _ in range(6):
        cluster.round()
        batches, cluster.sent = cluster.sent, []
        cluster.now_ms += LONG_MS + 1
        for batch in batches:
            cluster.answer(batch)
    # Too many for the lanes of those who hold few.
    cluster.ask(*map(read, range(77_777, 77_777 + FEW_MAX + 1)), client=BOB)
    cluster.round()
    [mine] = [batch for batch in cluster.sent if 77_777 in sequences(batch)]
    assert len(sequences(mine)) == LEAST_READS


def test_a_batch_that_is_not_answered_at_all_was_too_large() -> None:
    cluster = flooded()
    cluster.round()
    assert largest(cluster) == FIRST_READS
    cluster.sent = []
    cluster.now_ms += 3_100
    for node in NODES:
        cluster.status(node, "n1", 1)  # they live
    cluster.round()
    cluster.round(later_ms=100)
    assert cluster.sent
    assert largest(cluster) == FIRST_READS // 2


@pytest.mark.parametrize(("late", "quick"), [("n2", "n3"), ("n3", "n2")])
def test_each_node_and_each_lane_has_a_size_of_its_own(late: str, quick: str) -> None:
    cluster = FakeCluster()
    for start in range(1, 10_001, 1_000):
        cluster.ask(*(read(n, Level.SESSION) for n in range(start, start + 1_000)), client=ALICE)
    cluster.round()
    batches, cluster.sent = cluster.sent, []
    for node, took_ms in ((quick, 0), (late, LONG_MS + 1)):
        cluster.now_ms += took_ms
        for batch in batches:
            if batch.node == node:
                cluster.answer(batch)
    cluster.round()
    lengths = {batch.node: len(sequences(batch)) for batch in cluster.sent}
    assert lengths == {quick: 2 * FIRST_READS, late: FIRST_READS // 2}
    cluster.sent = []
    cluster.ask(*map(read, range(50_001, 51_001)), client=BOB)
    cluster.round()
    assert largest(cluster) == FIRST_READS
    assert {batch.node for batch in cluster.sent} == {late, quick}
