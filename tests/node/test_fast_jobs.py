"""How short reads become jobs of fast workers, and what becomes of those that are not short."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import msgpack
import pytest

from raftzmq.errors import Deferred
from raftzmq.node.batches import Batch
from raftzmq.node.workers import (
    FAST_JOB_READS_MAX,
    FAST_TURN_LEAST_MS,
    FAST_TURN_MS,
    RUN_FAST,
    TURN_BYTES_MAX,
    Job,
    WorkerPool,
)
from raftzmq.raft.types import ReadState
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.client import Flags, Kind, Level, decode_request
from raftzmq.wire.client import encode_batch as encoded
from raftzmq.wire.client import encode_request as request
from tests.node.test_end_service import Desk, read

STALE = read(level=Level.STALE)
SEEN = read(level=Level.SESSION, min_index=100)
DEFERRED = msgpack.packb([100, [[Deferred.code, b"\x92\xa0\xa0"]]])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Of a leader that has applied up to index 100."""
    return Desk(tmp_path)


def fast_jobs(desk: Desk) -> list[int]:
    """Reads in each."""
    return [len(job.items) for job in (*desk.fast.running(), *desk.fast.waiting())]


def confirm(desk: Desk) -> None:
    desk.service.end_of_round(0)
    desk.service.read_states([ReadState(desk.replica.raft.context, 100)])


# -- jobs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("blob", [STALE, SEEN], ids=["stale", "session"])
def test_reads_that_need_not_wait_are_one_job_per_message(desk: Desk, blob: bytes) -> None:
    desk.ask(b"a", *[blob] * 50)
    assert fast_jobs(desk) == [50]


def test_reads_of_a_round_are_a_job_per_connection(desk: Desk) -> None:
    for name in (b"a", b"b", b"a"):
        desk.ask(name, read(), read())
    confirm(desk)
    assert fast_jobs(desk) == [4, 2]


def test_bulk_takes_turns_with_what_else_comes_over_its_connection(desk: Desk) -> None:
    bulk = int(Flags.BULK | Flags.FAST_ONLY)
    for _ in range(3):
        desk.service.receive([b"proxy", b"1"], encoded([STALE] * 128), bulk, monotonic_ms())
    desk.service.receive([b"proxy", b"2"], encoded([STALE]), int(Flags.FAST_ONLY), monotonic_ms())
    assert fast_jobs(desk) == [128, 128, 128, 1]
    desk.fast.finished(b"fast", msgpack.packb([100, [[0, b""]] * 128]))
    desk.fast.finished(b"fast", msgpack.packb([100, [[0, b""]] * 128]))
    assert [len(job.items) for job in desk.fast.running()] == [1], "a turn later, not three"


class Pool:
    """A pool of one worker that is busy with something; what it is sent is kept."""

    def __init__(self) -> None:
        self.sent: list[list[Any]] = []
        self.pool = WorkerPool([b"fast"], cast(Any, self), {}, {}, itertools.count(1))
        self.submit(b"first", 1)

    def send_multipart(self, frames: list[bytes]) -> None:
        self.sent.append(msgpack.unpackb(frames[2]))

    def submit(self, holder: bytes, reads: int, payload: bytes = b"q") -> Batch:
        blob = request(Kind.READ, b"c", 1, timeout_ms=60_000, payload=payload)
        requests = [decode_request(blob)] * reads
        batch = Batch([holder], requests, lambda *_: None, "n1", monotonic_ms() + 60_000)
        self.pool.submit(Job(RUN_FAST, [(batch, position) for position in range(reads)]))
        return batch

    def done(self, reads: int) -> None:
        self.pool.finished(b"fast", msgpack.packb([7, [(0, b"")] * reads]))

    def waiting(self) -> list[int]:
        return [len(job.items) for job in self.pool.waiting()]


def test_reads_that_come_one_by_one_wait_in_one_job() -> None:
    pool = Pool()
    for _ in range(FAST_JOB_READS_MAX + 5):
        pool.submit(b"a", 1)
    pool.submit(b"b", 1)
    assert pool.waiting() == [FAST_JOB_READS_MAX, 5, 1]


def test_what_waits_for_its_next_turn_is_joined_by_nothing_new() -> None:
    """If it is dear: then it is allowed less time with each turn."""
    pool = Pool()
    pool.submit(b"a", 3)
    pool.submit(b"b", 1)
    pool.done(1)
    pool.pool.finished(b"fast", msgpack.packb([7, [(Deferred.code, b"")]]))
    pool.submit(b"a", 1)
    assert pool.waiting() == [2, 1]


def test_a_turn_that_ends_for_the_sake_of_others_is_not_held_against_anybody() -> None:
    pool = Pool()
    pool.submit(b"a", 4)
    pool.submit(b"b", 1)
    pool.done(1)
    pool.done(1)
    pool.submit(b"a", 1)
    assert pool.waiting() == [4], "three, and the new one"
    for _ in range(3):
        pool.done(1)
    assert {sent[4] for sent in pool.sent} == {0}


def test_the_connections_that_wait_share_the_length_of_a_turn() -> None:
    pool = Pool()
    for number in range(4):
        pool.submit(b"%d" % number, 1)
    pool.done(1)
    assert [sent[5] for sent in pool.sent] == [FAST_TURN_MS, FAST_TURN_MS // 4]
    for number in range(100):
        pool.submit(b"more %d" % number, 1)
    pool.done(1)
    assert pool.sent[-1][5] == FAST_TURN_LEAST_MS


def test_a_worker_is_given_no_more_than_a_turn_may_need() -> None:
    pool = Pool()
    large = bytes(TURN_BYTES_MAX // 4)
    pool.submit(b"a", 9, large)
    pool.done(1)
    assert len(pool.sent[-1][3]) == 4
    pool.done(4)
    pool.submit(b"a", 1, bytes(2 * TURN_BYTES_MAX))
    pool.done(4)
    pool.done(1)
    assert [len(sent[3]) for sent in pool.sent[1:]] == [4, 4, 1, 1], "one in any case"


# -- what is not short -----------------------------------------------------------------------


def test_a_read_begins_at_a_fast_worker_and_goes_on_at_a_slow_one(desk: Desk) -> None:
    """A client that asks a node directly need not know how long its read takes."""
    desk.ask(b"a", STALE)
    assert fast_jobs(desk) == [1]
    desk.fast.finished(b"fast", DEFERRED)
    assert desk.codes() == {}
    assert len(desk.slow.running()) == 1
    desk.slow.finished(b"slow", msgpack.packb([100, [[0, b"rows"]]]))
    assert desk.codes() == {b"a": 0}


def test_who_asks_elsewhere_for_what_is_not_short_is_told(desk: Desk) -> None:
    desk.ask(b"a", read(level=Level.STALE, flags=Flags.FAST_ONLY))
    desk.fast.finished(b"fast", DEFERRED)
    assert desk.codes() == {b"a": Deferred.code}
    assert desk.slow.running() == []


def test_what_is_known_to_be_slow_is_not_tried(desk: Desk) -> None:
    desk.ask(b"a", read(level=Level.STALE, flags=Flags.SLOW | Flags.FAST_ONLY))
    assert fast_jobs(desk) == []
    assert len(desk.slow.running()) == 1


def test_what_was_given_up_meanwhile_goes_nowhere(desk: Desk) -> None:
    desk.ask(b"a", STALE)
    desk.service.expire(monotonic_ms() + 120_000)
    desk.fast.finished(b"fast", DEFERRED)
    assert desk.slow.running() == []
    assert len(desk.replies) == 1


# -- large results ---------------------------------------------------------------------------


def test_a_frame_that_a_worker_made_goes_out_as_it_is() -> None:
    sent: list[tuple[list[bytes], bytes, int]] = []
    blob = decode_request(request(Kind.READ, b"c", 9))
    batch = Batch([b"a"], [blob], lambda *each: sent.append(each), "n1", 10)
    batch.answer_whole(b"frame")
    batch.answer_whole(b"another")
    batch.answer(0, 0, b"third", 1)
    assert sent == [([b"a"], b"frame", 1)]
    assert batch.done
