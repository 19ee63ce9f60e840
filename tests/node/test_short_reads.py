"""Lone point reads are run at once; whatever else comes, and what does not end well, is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from raftzmq.config import LimitsConfig
from raftzmq.errors import Deferred, RequestError
from raftzmq.node.batches import Batch
from raftzmq.node.gate import StateGate
from raftzmq.node.short_reads import READS_MAX, ShortReads
from raftzmq.node.short_turns import PAUSE_MS, TURN_MS_MAX
from raftzmq.node.workers import FAST_RESULT_BYTES, RUN_FAST, RUN_SLOW, Job
from raftzmq.statemachine.point_reads import PointReads
from raftzmq.statemachine.readers import Reader
from raftzmq.wire.client import Kind, Reply, decode_batch, decode_reply, decode_request
from raftzmq.wire.client import encode_request as encode
from tests.statemachine.world import World, payload

BY_KEY = "SELECT v FROM t WHERE id = ?"


class Pool:
    """Puts down what it is given."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.refused: list[RequestError] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def refuse(self, error: RequestError) -> None:
        self.refused.append(error)


class Here:
    """A pool with the shortcut in front, on a real state.db, and a clock."""

    def __init__(self, world: World) -> None:
        world.ok(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
            "INSERT INTO t VALUES(1, 'one'), (2, 'two'), (3, zeroblob(20000))",
        )
        self.world = world
        self.now_ms = 1_000
        self.replies: list[Reply] = []
        self.pool = Pool()
        self.gate = StateGate(world.path)
        self.points = PointReads()
        self.short = ShortReads(
            self.pool, self.gate, self.points, LimitsConfig(), lambda: self.now_ms, float
        )
        self.learn(BY_KEY)

    def learn(self, sql: str) -> None:
        reader = Reader(self.world.path, points=self.points)
        reader.run(payload((sql, [1])), timeout_ms=1_000, monotonic=float)
        reader.close()

    def job(self, *keys: Any, sql: str = BY_KEY, kind: int = RUN_FAST) -> Job:
        requests = [
            decode_request(encode(Kind.READ, b"c", n, payload=payload((sql, [key]))))
            for n, key in enumerate(keys, 1)
        ]

        def replied(envelope: list[bytes], frame: bytes, count: int) -> None:
            self.replies += [decode_reply(blob) for blob in decode_batch(frame)]

        batch = Batch([b"x"], requests, replied, "n1", 10_000)
        return Job(kind, [(batch, position) for position in range(len(requests))])

    def values(self) -> list[Any]:
        return [msgpack.unpackb(reply.body)[0][3][0][0] for reply in self.replies]

    def is_done_here(self, job: Job) -> bool:
        before = len(self.replies)
        self.short.submit(job)
        return len(self.replies) > before


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.machine.close()


@pytest.fixture
def here(world: World) -> Iterator[Here]:
    made = Here(world)
    yield made
    made.short.close()


def test_point_reads_are_answered_at_once_at_the_index_of_their_snapshot(here: Here) -> None:
    here.short.submit(here.job(1, 2))
    assert here.values() == ["one", "two"]
    assert {reply.index for reply in here.replies} == {here.world.next_index - 1}
    assert here.gate.seen_index == here.world.next_index - 1
    assert not here.pool.jobs


def test_they_see_what_was_applied_just_now(here: Here) -> None:
    here.short.submit(here.job(1))
    here.world.ok("UPDATE t SET v = 'new' WHERE id = 1")
    here.short.submit(here.job(1))
    assert here.values() == ["one", "new"]


def test_what_is_left_to_a_worker(here: Here) -> None:
    unknown = here.job(1, sql="SELECT v FROM t WHERE id >= ?")
    here.learn("SELECT v FROM t WHERE id >= ?")
    many, slow = here.job(*[1] * (READS_MAX + 1)), here.job(1, kind=RUN_SLOW)
    for job in (unknown, many, slow):
        assert not here.is_done_here(job)
    assert here.pool.jobs == [unknown, many, slow]


def test_what_does_not_end_well_is_left_to_a_worker(here: Here) -> None:
    """A row that is too large for this lane, and a value that is none: the worker says so."""
    here.short.submit(here.job(1, 3, 2, [7]))
    (job,) = here.pool.jobs
    assert [position for _, position in job.items] == [1, 3]
    assert not here.replies, "a batch is answered once, whole"
    for batch, position in job.items:
        batch.fail(position, Deferred("left"))
    assert [reply.code for reply in here.replies] == [0, Deferred.code, 0, Deferred.code]
    assert FAST_RESULT_BYTES < 20_000


def test_an_answered_request_is_not_run(here: Here) -> None:
    job = here.job(1, 2)
    job.items[0][0].fail(0, Deferred("its time ran out"))
    here.short.submit(job)
    assert [reply.code for reply in here.replies] == [Deferred.code, 0]
    done = here.job(1)
    done.items[0][0].fail(0, Deferred("its time ran out"))
    here.short.submit(done)
    assert len(here.replies) == 3


def test_after_a_change_of_the_schema_they_are_learnt_anew(here: Here) -> None:
    here.world.ok("DROP TABLE t", "CREATE VIEW t AS SELECT 1 AS id, 2 AS v")
    assert not here.is_done_here(here.job(1))
    here.learn(BY_KEY)
    here.world.ok("DROP VIEW t", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    here.world.ok("INSERT INTO t VALUES(1, 'again')")
    assert not here.is_done_here(here.job(1))
    here.learn(BY_KEY)
    assert here.is_done_here(here.job(1))


def test_an_install_is_not_waited_for(here: Here) -> None:
    assert here.is_done_here(here.job(1))
    with here.gate.installing():
        assert not here.is_done_here(here.job(1))
    assert here.is_done_here(here.job(1)), "with a connection to the new file"


def test_what_took_longer_than_a_tick_is_left_to_workers_for_a_while(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Reader.run

    def slowly(self: Reader, *args: Any, **named: Any) -> Any:
        here.now_ms += TURN_MS_MAX + 1
        return run(self, *args, **named)

    monkeypatch.setattr(Reader, "run", slowly)
    assert here.is_done_here(here.job(1))
    assert not here.is_done_here(here.job(1))
    here.now_ms += PAUSE_MS
    assert here.is_done_here(here.job(1))


def test_a_file_that_cannot_be_read_is_a_workers_business(world: World, tmp_path: Path) -> None:
    here = Here(world)
    here.gate.path = tmp_path / "none" / "state.db"
    assert not here.is_done_here(here.job(1))
    assert len(here.pool.jobs) == 1


def test_refusals_go_to_the_pool(here: Here) -> None:
    here.short.refuse(Deferred("x"))
    assert len(here.pool.refused) == 1
