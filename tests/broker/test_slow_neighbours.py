"""The slow must not slow the others: lanes of their own, and a memory of what was slow."""

from __future__ import annotations

import pytest

from raftzmq import limits
from raftzmq.broker.dispatch import Outgoing
from raftzmq.broker.slow_texts import STRIKES, TEXT_BYTES_MAX, TEXTS_MAX, SlowTexts
from raftzmq.errors import Deferred, Killed
from raftzmq.wire.client import Flags, Kind, Level, encode_request
from raftzmq.wire.payload import encode_statements
from tests.broker.fake_cluster import ALICE, FakeCluster, read, sequences

SLOW_SQL = "SELECT count(*) FROM a, b WHERE a.x < ?"


def asked(sequence: int, sql: str = SLOW_SQL, parameter: int = 0, **fields: object) -> bytes:
    payload = encode_statements([(sql, [parameter])])
    return encode_request(Kind.READ, b"client-a", sequence, payload=payload, **fields)  # type: ignore[arg-type]


def fast_only(batch: Outgoing) -> bool:
    return batch.frames[4][0] & (Flags.FAST_ONLY | Flags.SLOW) == Flags.FAST_ONLY


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


# -- lanes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [Level.STALE, Level.SESSION])
def test_reads_that_wait_for_an_update_do_not_hold_up_those_that_need_not(
    cluster: FakeCluster, level: Level
) -> None:
    """Every linearizable lane waits for a long UPDATE to be applied; the others go on."""
    sent = 1
    while sent:
        cluster.ask(read(len(cluster.sent) + 1))
        sent = len(cluster.round())
    assert len(cluster.sent) == 2 * limits.FAST_READ_LANES
    cluster.ask(read(1_000, level))
    (batch,) = cluster.round()
    assert sequences(batch) == [1_000]
    cluster.answer(batch)
    assert (ALICE, 1_000, 0) in cluster.verdicts()


@pytest.mark.parametrize("level", [Level.STALE, Level.SESSION])
def test_a_batch_never_mixes_reads_that_wait_with_those_that_need_not(
    cluster: FakeCluster, level: Level
) -> None:
    cluster.ask(read(1), read(2, level), read(3), read(4, level))
    mixed = [sequences(batch) for batch in cluster.round()]
    assert sorted(mixed) == [[1, 3], [2, 4]]


# -- memory --------------------------------------------------------------------------------


def defer(cluster: FakeCluster, sequence: int, took_ms: int = 2_000, **fields: object) -> None:
    """A read that begins in a fast lane, is deferred, and is answered by the slow one."""
    cluster.ask(asked(sequence, **fields))  # type: ignore[arg-type]
    (batch,) = cluster.round()
    assert fast_only(batch)
    cluster.answer(batch, Deferred.code)
    (batch,) = cluster.round()
    assert not fast_only(batch)
    cluster.now_ms += took_ms
    cluster.answer(batch)
    assert cluster.verdicts()[-1] == (ALICE, sequence, 0)


def test_what_was_slow_twice_in_a_row_begins_in_a_slow_lane(cluster: FakeCluster) -> None:
    for number in range(STRIKES):
        defer(cluster, number + 1, parameter=number)
    cluster.ask(asked(7, parameter=99), asked(8, sql="SELECT 1"))
    lanes = {sequences(batch)[0]: fast_only(batch) for batch in cluster.round()}
    assert lanes == {7: False, 8: True}
    assert cluster.router.counters.deferred == STRIKES


def test_a_quick_run_in_the_slow_lane_is_forgiven(cluster: FakeCluster) -> None:
    for number in range(STRIKES):
        defer(cluster, number + 1)
    for sequence, took_ms, fast_after in ((7, 2_000, False), (8, 1, True)):
        cluster.ask(asked(sequence))
        (batch,) = cluster.round()
        assert not fast_only(batch)
        cluster.now_ms += took_ms
        cluster.answer(batch)
        cluster.ask(asked(100 + sequence))
        (batch,) = cluster.round()
        assert fast_only(batch) is fast_after
        cluster.now_ms += took_ms
        cluster.answer(batch)


def test_a_text_that_is_slow_now_and_then_stays_fast(cluster: FakeCluster) -> None:
    for number in range(5):
        defer(cluster, 2 * number + 1)
        cluster.ask(asked(2 * number + 2))
        (batch,) = cluster.round()
        assert fast_only(batch)
        cluster.answer(batch)
    assert cluster.router.status(0)["broker"]["slow_texts"] == 0  # type: ignore[index]


def test_memory_is_bounded() -> None:
    texts = SlowTexts()
    for number in range(TEXTS_MAX + 10):
        assert texts.deferred(encode_statements([(f"SELECT {number}", [])]))
    assert len(texts) == TEXTS_MAX
    assert not texts.known(encode_statements([("SELECT 9", [])]))
    assert texts.known(encode_statements([("SELECT 10", [])])) == b"SELECT 10"
    assert texts.deferred(encode_statements([("x" * (TEXT_BYTES_MAX + 1), [])])) == b""
    assert texts.deferred(b"garbage") == b""
    assert len(texts) == TEXTS_MAX


# -- killed --------------------------------------------------------------------------------


def test_a_killed_read_is_not_sent_again(cluster: FakeCluster) -> None:
    cluster.ask(read(1))
    (batch,) = cluster.round()
    cluster.answer(batch, Killed.code)
    assert cluster.verdicts() == [(ALICE, 1, Killed.code)]
    assert cluster.round(60_000) == []
