"""Reads leave in small batches to a node that takes long over large ones."""

from __future__ import annotations

from raftzmq import limits
from raftzmq.broker.batch_sizes import FIRST_READS, LEAST_READS, LONG_MS, BatchSizes
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
    cluster.ask(read(77_777), client=BOB)
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
