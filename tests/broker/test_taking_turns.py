"""Connections take turns in a proxy: who sends most keeps nobody else waiting."""

from __future__ import annotations

import pytest

from raftzmq import limits
from raftzmq.broker.dispatch import Outgoing
from raftzmq.broker.routing import FEW_MAX
from raftzmq.errors import Unavailable
from raftzmq.wire.client import Flags, Kind, Level, encode_request
from tests.broker.fake_cluster import ALICE, BOB, FakeCluster, read, sequences, write


@pytest.mark.parametrize(
    "request_of",
    [write, lambda sequence: read(sequence, flags=Flags.SLOW)],
    ids=["write", "slow"],
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


@pytest.mark.parametrize("level", Level)
def test_short_reads_of_who_holds_few_do_not_wait_for_lanes_that_others_fill(level: Level) -> None:
    """Nor for the reads of their batch."""
    cluster = FakeCluster()
    for start in range(1, 9_001, 1_000):
        cluster.ask(*(read(n, level) for n in range(start, start + 1_000)), client=ALICE)
    cluster.round()
    cluster.ask(read(77_777, level), client=BOB)
    [batch] = cluster.round()
    assert sequences(batch) == [77_777]
    assert flags_of(batch) == Flags.FAST_ONLY
    assert {flags_of(other) for other in cluster.sent[:-1]} == {Flags.FAST_ONLY | Flags.BULK}


def test_many_requests_of_one_message_are_not_divided() -> None:
    cluster = FakeCluster()
    cluster.ask(*(read(n) for n in range(FEW_MAX + 1)))
    assert {flags_of(batch) for batch in cluster.round()} == {Flags.FAST_ONLY | Flags.BULK}


def test_one_more_than_few_are_many() -> None:
    cluster = FakeCluster()
    cluster.ask(*(read(n) for n in range(FEW_MAX)))
    assert {flags_of(batch) for batch in cluster.round()} == {Flags.FAST_ONLY}
    cluster.ask(read(100))
    assert [flags_of(batch) for batch in cluster.round()] == [Flags.FAST_ONLY | Flags.BULK]
    for batch in list(cluster.sent):
        cluster.answer(batch)
    cluster.ask(read(101))
    assert [flags_of(batch) for batch in cluster.round()] == [Flags.FAST_ONLY], "few again"


def test_what_comes_back_waits_where_it_waited() -> None:
    cluster = FakeCluster()
    cluster.ask(*(read(n) for n in range(FEW_MAX + 1)))
    for batch in cluster.round():
        cluster.answer(batch, Unavailable.code)
    assert {flags_of(batch) for batch in cluster.round(100)} == {Flags.FAST_ONLY | Flags.BULK}


def flags_of(batch: Outgoing) -> int:
    return batch.frames[4][0]


def test_a_read_that_no_node_can_take_holds_up_no_other_connection() -> None:
    """More of them than are looked at in one round."""
    cluster = FakeCluster()
    later = [read(n, Level.LEADER, flags=Flags.SLOW) for n in range(1, 201)]
    cluster.ask(*later, client=ALICE)
    cluster.round()
    assert len(cluster.sent) == limits.SLOW_READ_LANES, "those of the leader"
    cluster.ask(read(999, flags=Flags.SLOW), client=BOB)
    assert [999] in [sequences(batch) for batch in cluster.round()]


def test_what_waits_for_a_connection_that_ended_is_let_go() -> None:
    cluster = FakeCluster()
    for start in range(1, 9_001, 1_000):
        cluster.ask(*map(write, range(start, start + 1_000)), client=ALICE)
    cluster.ask(read(9_500), read(9_501, flags=Flags.SLOW), client=ALICE)
    cluster.ask(write(77_777), client=BOB)
    under_way = sum(len(sequences(batch)) for batch in cluster.round())
    cluster.router.client_left(ALICE)
    assert cluster.router.counters.abandoned == 9_003 - under_way
    state = cluster.router.status(cluster.now_ms)["broker"]
    assert isinstance(state, dict)
    assert state["held_requests"] == under_way
    for batch in list(cluster.sent):
        cluster.answer(batch)
    assert cluster.round() == []
    assert not cluster.router.busy
    assert (BOB, 77_777, 0) in cluster.verdicts()
    cluster.ask(write(10_000), client=ALICE)
    assert [sequences(batch) for batch in cluster.round()] == [[10_000]], "should it come back"


def test_what_was_let_go_and_is_asked_again_at_once_is_taken() -> None:
    cluster = FakeCluster()
    for number in range(1, 9):
        cluster.ask(write(number))
        cluster.round()
    cluster.ask(write(8, flags=Flags.AGAIN))
    assert cluster.router.counters.repeated == 1
    cluster.router.client_left(ALICE)
    cluster.ask(write(8, flags=Flags.AGAIN))
    assert cluster.router.counters.repeated == 1


def test_a_thousand_questions_for_the_status_are_one_look_a_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = FakeCluster()
    looks: list[int] = []
    status = cluster.router.status
    monkeypatch.setattr(cluster.router, "status", lambda now: looks.append(now) or status(now))
    cluster.ask(*[encode_request(Kind.STATUS)] * 1_000)
    cluster.round()
    assert len(cluster.replies) == 1_000
    assert len(looks) == 1
    cluster.round(later_ms=1)
    cluster.ask(encode_request(Kind.STATUS))
    assert len(looks) == 2, "it is not an old one that is told"
