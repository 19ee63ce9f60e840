"""What runs is listed and stopped by name; pools and batches are real, workers are scripted."""

from __future__ import annotations

import itertools
from typing import Any, cast

import msgpack
import pytest

from raftzmq.errors import (
    DeadlineExpired,
    Deferred,
    Forbidden,
    Killed,
    Rejected,
    RequestError,
    StatementTimeout,
)
from raftzmq.node import workers
from raftzmq.node.batches import Batch
from raftzmq.node.kill_switch import KillSwitch
from raftzmq.node.queries import Queries
from raftzmq.node.workers import RUN_DIGEST, RUN_FAST, RUN_SLOW, Job, WorkerPool
from raftzmq.statemachine.machine import Doing
from raftzmq.wire.client import Kind, Reply, decode_batch, decode_reply, decode_request
from raftzmq.wire.client import encode_request as encode
from raftzmq.wire.payload import decode_error, encode_statements
from raftzmq.wire.queries import QueryList, decode_queries, encode_kill

BOOT = 0xDEAD1A2B3
PREFIX = "n2-1a2b3-"


class Switch(KillSwitch):
    def __init__(self) -> None:
        super().__init__()
        self.killed: list[tuple[int, RequestError]] = []

    def kill(self, number: int, why: RequestError) -> None:
        self.killed.append((number, why))


class World:
    """One fast worker, one slow worker, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ms = 1_000
        self.sent: list[list[bytes]] = []
        self.replies: list[Reply] = []
        self.logged: list[str] = []
        self.doing: tuple[Doing, int] | None = None
        self.copying = False
        self.switches = {b"fast-0": Switch(), b"slow-0": Switch()}
        monkeypatch.setattr(workers, "monotonic_ms", lambda: self.now_ms)
        numbers = itertools.count(1)
        self.fast, self.slow = (
            WorkerPool([name], cast(Any, self), self.switches, {}, numbers)
            for name in (b"fast-0", b"slow-0")
        )
        self.queries = Queries(
            node="n2",
            boot=BOOT,
            pools=(self.fast, self.slow),
            doing=lambda: self.doing,
            snapshot=lambda: self.copying,
            log=self.logged.append,
        )

    def send_multipart(self, frames: list[bytes]) -> None:
        self.sent.append(frames)

    def batch(self, *sqls: str, left_ms: int = 10_000) -> Batch:
        requests = [
            decode_request(encode(Kind.READ, b"\xab", n, payload=encode_statements([(sql, [])])))
            for n, sql in enumerate(sqls, 1)
        ]

        def replied(envelope: list[bytes], frame: bytes, count: int) -> None:
            if frame:
                self.replies += [decode_reply(blob) for blob in decode_batch(frame)]

        return Batch([b"id"], requests, replied, "n2", self.now_ms + left_ms)

    def read(self, sql: str, *, kind: int = RUN_SLOW, left_ms: int = 10_000) -> None:
        pool = self.fast if kind == RUN_FAST else self.slow
        pool.submit(Job(kind, [(self.batch(sql, left_ms=left_ms), 0)]))

    def listed(self) -> QueryList:
        body = self.queries.listed(self.now_ms, reads_waiting=4, entries_waiting=5)
        return decode_queries(body)

    def rows(self) -> list[tuple[str, str, str, int, str]]:
        return [(q.id, q.kind, q.state, q.since_ms, q.sql) for q in self.listed().queries]

    def kill(self, number: str) -> None:
        self.queries.kill(encode_kill(PREFIX + number, "ada@host"), self.now_ms)

    def refusal(self, number: str) -> RequestError:
        with pytest.raises(RequestError) as caught:
            self.kill(number)
        return caught.value


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_reads_at_work_and_in_the_queue(world: World) -> None:
    world.read("SELECT 1")
    world.now_ms += 300
    world.read("SELECT 2")
    world.fast.submit(Job(RUN_FAST, [(world.batch("SELECT 3", "SELECT 4"), n) for n in (0, 1)]))
    world.now_ms += 40
    assert world.rows() == [
        (PREFIX + "1", "read", "running", 340, "SELECT 1"),
        (PREFIX + "3", "fast reads", "running", 40, "SELECT 3"),
        (PREFIX + "2", "read", "waiting", 40, "SELECT 2"),
    ]
    found = world.listed()
    assert (found.node, found.reads_waiting, found.entries_waiting) == ("n2", 4, 5)
    assert [query.requests for query in found.queries] == [1, 2, 1]
    assert {query.client for query in found.queries} == {"ab"}
    world.slow.finished(b"slow-0", msgpack.packb([7, [(0, b"")]]))
    assert [row[:4] for row in world.rows()] == [
        (PREFIX + "3", "fast reads", "running", 40),
        (PREFIX + "2", "read", "running", 0),
    ]


def test_the_message_to_a_worker_names_the_job(world: World) -> None:
    world.read("SELECT 1")
    kind, number, left_ms, (payload,), turns, *_ = msgpack.unpackb(world.sent[0][2])
    assert turns == 0
    assert (kind, number, left_ms) == (RUN_SLOW, 1, 10_000)
    assert msgpack.unpackb(payload) == [["SELECT 1", []]]


def test_a_running_read_is_stopped_and_answered_at_once(world: World) -> None:
    world.read("SELECT 1")
    world.now_ms += 2_340
    world.kill("1")
    (reply,) = world.replies
    assert reply.code == Killed.code
    message = f"{PREFIX}1 was stopped by ada@host after 2.3 s running"
    assert decode_error(reply.body) == (message, PREFIX + "1")
    assert [number for number, _ in world.switches[b"slow-0"].killed] == [1]
    assert world.logged == [message]
    # Its worker is busy until SQLite has stopped.
    assert [row[:3] for row in world.rows()] == [(PREFIX + "1", "read", "stopping")]
    again = world.refusal("1")
    assert isinstance(again, Rejected)
    assert "already" in again.message
    world.slow.finished(b"slow-0", msgpack.packb([7, [(Killed.code, b"")]]))
    assert world.rows() == []
    assert "has ended" in world.refusal("1").message
    assert len(world.replies) == 1


def test_a_waiting_read_is_answered_and_never_run(world: World) -> None:
    world.read("SELECT 1")
    world.read("SELECT 2")
    world.kill("2")
    assert [reply.code for reply in world.replies] == [Killed.code]
    assert world.switches[b"slow-0"].killed == []
    world.slow.finished(b"slow-0", msgpack.packb([7, [(0, b"")]]))
    assert len(world.sent) == 1


def test_an_id_of_another_run_or_node_stops_nothing(world: World) -> None:
    world.read("SELECT 1")
    for query in ("n2-00000-1", "n1-1a2b3-1", "1", "", PREFIX, PREFIX + "x", PREFIX + "²"):
        with pytest.raises(Rejected):
            world.queries.kill(encode_kill(query), world.now_ms)
    assert world.replies == []
    assert world.rows()[0][2] == "running"


def test_what_must_not_be_stopped_says_why(world: World) -> None:
    world.read("SELECT 1", kind=RUN_FAST)
    world.slow.submit(Job(RUN_DIGEST, [(world.batch("-"), 0)]))
    world.copying = True
    payload = encode_statements([("UPDATE t SET a = 1", [])])
    world.doing = (1_234, 0, b"\xcd", payload), 50_000
    for number, word in (
        ("1", "short reads"),
        ("2", "digest"),
        ("s", "copy"),
        ("w1234", "write_steps_max"),
    ):
        error = world.refusal(number)
        assert isinstance(error, Forbidden), number
        assert word in error.message or number == "2"
    assert "has ended" in world.refusal("w1233").message
    assert world.replies == []


def test_the_write_being_applied(world: World) -> None:
    payload = encode_statements([("UPDATE t SET a = 1", [])])
    world.doing = (1_234, 0, b"\xcd", payload), 50_000
    world.queries.tick(world.now_ms)
    world.now_ms += 2_000
    world.queries.tick(world.now_ms)
    (write,) = world.listed().queries
    assert (write.id, write.kind, write.index) == (PREFIX + "w1234", "write", 1_234)
    assert (write.since_ms, write.steps, write.client) == (2_000, 50_000, "cd")
    assert write.sql == "UPDATE t SET a = 1"
    world.doing = (1_234, 1, b"", payload), 0
    assert world.listed().queries[0].since_ms == 0, "the next request of the same entry"


def test_a_digest_in_the_queue_can_be_stopped(world: World) -> None:
    world.read("SELECT 1")
    world.slow.submit(Job(RUN_DIGEST, [(world.batch("-"), 0)]))
    world.kill("2")
    assert [reply.code for reply in world.replies] == [Killed.code]


def test_a_read_that_nobody_waits_for_any_more_is_stopped(world: World) -> None:
    world.read("SELECT 1", left_ms=500)
    world.now_ms += 500
    world.queries.tick(world.now_ms)
    assert world.switches[b"slow-0"].killed == []
    world.now_ms += 1
    world.queries.tick(world.now_ms)
    world.queries.tick(world.now_ms)
    ((number, why),) = world.switches[b"slow-0"].killed
    assert number == 1
    assert isinstance(why, StatementTimeout)


def test_a_slow_read_is_stopped_when_its_client_has_left(world: World) -> None:
    batch = world.batch("SELECT 1")
    world.slow.submit(Job(RUN_SLOW, [(batch, 0)]))
    world.queries.tick(world.now_ms)
    assert world.switches[b"slow-0"].killed == []
    batch.let_go()
    world.queries.tick(world.now_ms)
    world.queries.tick(world.now_ms)
    assert [number for number, _ in world.switches[b"slow-0"].killed] == [1]


def test_what_ran_out_of_time_in_the_queue_is_neither_run_nor_listed_nor_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "QUEUE_CLEAN_ABOVE", 10)
    world.slow = WorkerPool([b"slow-0"], cast(Any, world), world.switches, {}, itertools.count(1))
    world.read("SELECT 1")
    batches = [world.batch(f"SELECT {n}", left_ms=100) for n in range(10)]
    for batch in batches:
        world.slow.submit(Job(RUN_SLOW, [(batch, 0)]))
        batch.fail(0, DeadlineExpired("too late"))
    assert world.slow.waiting() == []
    world.read("SELECT 2")
    assert [job.number for job in world.slow._queue] == [12], "the others are thrown away"


def test_connections_take_turns_in_the_queue(world: World) -> None:
    """Whatever one has waiting, another waits for one of its reads at most."""
    for sql in ("SELECT 1", "SELECT 2", "SELECT 3", "SELECT 4"):
        world.read(sql)
    batch = world.batch("SELECT 'other'")
    batch.holder = b"another connection"
    world.slow.submit(Job(RUN_SLOW, [(batch, 0)]))
    for _ in range(3):
        world.slow.finished(b"slow-0", msgpack.packb([7, [(0, b"")]]))
    ran = [msgpack.unpackb(msgpack.unpackb(frames[2])[3][0])[0][0] for frames in world.sent]
    assert ran == ["SELECT 1", "SELECT 2", "SELECT 'other'", "SELECT 3"]


def test_what_a_worker_did_not_come_to_waits_for_its_next_turn(world: World) -> None:
    pool = WorkerPool([b"slow-0"], cast(Any, world), world.switches, {}, itertools.count(1))
    many = world.batch("SELECT 1", "SELECT 2", "SELECT 3")
    pool.submit(Job(RUN_FAST, [(many, position) for position in range(3)]))
    other = world.batch("SELECT 'other'")
    other.holder = b"another connection"
    pool.submit(Job(RUN_FAST, [(other, 0)]))
    pool.finished(b"slow-0", msgpack.packb([7, [(Deferred.code, b"")]]))
    pool.finished(b"slow-0", msgpack.packb([7, [(0, b"")]]))
    assert many.answered(0)
    assert not many.answered(1)
    assert [msgpack.unpackb(frames[2])[4] for frames in world.sent] == [0, 0, 1]
    jobs = [msgpack.unpackb(frames[2])[3] for frames in world.sent]
    ran = [[msgpack.unpackb(payload)[0][0] for payload in payloads] for payloads in jobs]
    assert ran == [
        ["SELECT 1", "SELECT 2", "SELECT 3"],
        ["SELECT 'other'"],
        ["SELECT 2", "SELECT 3"],
    ]
    pool.finished(b"slow-0", msgpack.packb([7, [(0, b"")] * 2]))
    assert many.done
    assert pool.running() == pool.waiting() == []


def test_a_large_result_is_taken_from_where_the_worker_left_it(world: World) -> None:
    bodies = {b"slow-0": b"x" * 100_000}
    pool = WorkerPool([b"slow-0"], cast(Any, world), world.switches, bodies, itertools.count(1))
    batch = world.batch("SELECT 1")
    pool.submit(Job(RUN_SLOW, [(batch, 0)]))
    assert pool.finished(b"slow-0", msgpack.packb([7, [(0, None)]])) > 100_000
    assert batch.done
    assert bodies == {}


def test_a_process_that_has_outgrown_its_bound_runs_one_slow_read_at_a_time(world: World) -> None:
    names = [b"slow-0", b"slow-1", b"slow-2"]
    pool = WorkerPool(names, cast(Any, world), world.switches, {}, itertools.count(1))

    def submit(number: int) -> None:
        pool.submit(Job(RUN_SLOW, [(world.batch(f"SELECT {number}"), 0)]))

    def done(worker: bytes) -> None:
        pool.finished(worker, msgpack.packb([7, [(0, b"")]]))

    submit(1)
    submit(2)
    pool.frugal = True
    submit(3)
    assert len(pool.running()) == 2, "what runs goes on"
    done(b"slow-0")
    assert len(pool.running()) == 1
    done(b"slow-1")
    assert len(pool.running()) == 1, "but never none"
    submit(4)
    submit(5)
    assert len(pool.running()) == 1
    pool.frugal = False
    pool.dispatch()
    assert len(pool.running()) == 3


def test_a_list_is_bounded(world: World) -> None:
    for number in range(300):
        world.read(f"SELECT {number}")
    found = world.listed()
    assert len(found.queries) == 200
    assert found.left_out == 100
