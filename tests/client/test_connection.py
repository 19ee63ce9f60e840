"""Connections over real sockets: to brokers and to nodes, with losses."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import zmq

import raftzmq
from raftzmq.client.channel import CONNECT_MS, Channel
from raftzmq.client.session import Call
from raftzmq.errors import (
    ConfigError,
    ConstraintFailed,
    DeadlineExpired,
    Deferred,
    MalformedRequest,
    NotExecuted,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    Unavailable,
)
from raftzmq.transport.sockets import Context
from raftzmq.wire.client import (
    Flags,
    Kind,
    Level,
    RequestHeader,
    encode_batch,
    encode_request,
)
from raftzmq.wire.payload import decode_statements, encode_results
from tests.client.fake_node import Answer, FakeNode, broker, fail, nodes, ok
from tests.client.slow_door import slow_door


@pytest.fixture
def trio() -> Iterator[list[FakeNode]]:
    with nodes(3) as found:
        yield found


def test_write_and_read_through_a_broker(trio: list[FakeNode]) -> None:
    with broker(trio) as (_, address), raftzmq.connect(address) as db:
        while len(db.status()["nodes"]) < 3:
            pass  # each turn is a round trip; a follower that is not known yet serves nothing
        written = db.write("insert into t values (?)", [1])
        assert (written.rows_affected, written.last_insert_rowid, written.index) == (1, 7, 100)
        assert written.server == "n1"
        found = db.read("select 1")
        assert found.server in ("n2", "n3")
        assert found.columns == ("payload",)
        assert len(found) == 1
        assert found.dicts() == [{"payload": found.scalar()}]
        assert db.status()["broker"]["leader"] == "n1"
    (request,) = trio[0].requests
    assert request.min_index == 50, "an index was learnt before the first write"


def test_values_come_through_exactly(trio: list[FakeNode]) -> None:
    values = (None, -(1 << 63), (1 << 63) - 1, 0.1, -0.0, b"\0\xff", "ä\0🙂", "")

    def echo(request: RequestHeader) -> Answer:
        ((_, parameters),) = decode_statements(request.payload)
        columns = tuple(f"c{n}" for n in range(len(parameters)))
        return 0, 1, encode_results([(0, 0, columns, (parameters,))])

    trio[0].script = echo
    with raftzmq.connect(trio[0].address) as db:
        (row,) = db.write("insert into t values (?)", values).rows
        assert [(type(value), repr(value)) for value in row] == [
            (type(value), repr(value)) for value in values
        ]


def test_several_statements_are_one_request(trio: list[FakeNode]) -> None:
    def three(_: RequestHeader) -> Answer:
        return (
            0,
            9,
            encode_results([(2, 5, None, None), (1, 0, ("id",), ((3,),)), (4, 0, None, None)]),
        )

    trio[0].script = three
    with raftzmq.connect(trio[0].address) as db:
        result = db.write([("insert", [1]), ("update", []), ("delete", [])])
    assert (result.rows_affected, result.last_insert_rowid, result.rows) == (7, 5, ((3,),))
    assert len(result.results) == 3
    assert len(trio[0].requests) == 1


def test_errors_are_typed(trio: list[FakeNode]) -> None:
    trio[0].script = fail(ConstraintFailed.code)
    with broker(trio) as (_, address), raftzmq.connect(address) as db:
        with pytest.raises(ConstraintFailed, match="refused"):
            db.write("insert")
        with pytest.raises(MalformedRequest):
            db.write("insert into t values (?)", [object()])
        with pytest.raises(Rejected, match="ask a node directly"):
            db.digest()
    with pytest.raises(ConfigError):
        raftzmq.connect()


def test_two_clients_never_get_each_others_answers(trio: list[FakeNode]) -> None:
    wrong: list[object] = []

    def work(address: str, name: str) -> None:
        with raftzmq.connect(address) as db:
            for n in range(100):
                call = db.write if n % 2 else db.read
                answer = call(f"{name} {n}")
                ((sql, _),) = decode_statements(answer.rows[0][0])  # type: ignore[arg-type]
                if sql != f"{name} {n}":
                    wrong.append((name, n, sql))

    with broker(trio) as (_, address):
        threads = [threading.Thread(target=work, args=(address, f"client{n}")) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert sum(len(node.requests) for node in trio) == 400


def test_a_read_too_slow_for_the_fast_lane_is_answered_by_a_slow_one(
    trio: list[FakeNode],
) -> None:
    def deferring(request: RequestHeader) -> Answer:
        return ok(request) if request.flags & Flags.SLOW else fail(Deferred.code)(request)

    for node in trio:
        node.script = deferring
    with broker(trio) as (running, address), raftzmq.connect(address) as db:
        assert len(db.read("select slow")) == 1
        assert running.broker.router.counters.deferred == 1


def test_a_killed_leader_is_one_slow_request(trio: list[FakeNode]) -> None:
    first, second, third = trio
    first.script = lambda _: None
    with broker(trio) as (running, address), raftzmq.connect(address) as db:
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(db.write("insert").rows_affected))
        thread.start()
        assert first.arrived.acquire(timeout=5)
        first.close()
        for node in (second, third):
            node.leader, node.term = "n2", 2
            node.push()
        thread.join(5)
        assert done == [1]
        assert [r.sequence for r in second.requests] == [first.requests[0].sequence]
        assert running.broker.router.counters.nodes_lost >= 1


def test_a_paused_leader_is_replaced(trio: list[FakeNode]) -> None:
    first, second, third = trio
    first.script = lambda _: None
    with broker(trio) as (_, address), raftzmq.connect(address) as db:
        thread = threading.Thread(target=db.write, args=("insert",))
        thread.start()
        assert first.arrived.acquire(timeout=5)
        first.muted = True
        second.leader = third.leader = "n2"
        second.term = third.term = 2
        second.push()
        thread.join(5)
        assert len(second.requests) == 1


def test_a_broker_that_stops_is_replaced_by_the_next(trio: list[FakeNode]) -> None:
    with (
        broker(trio) as (one, first),
        broker(trio) as (_, second),
        raftzmq.connect(first, second) as db,
    ):
        db.write("insert")
        one.close()
        assert db.write("insert").rows_affected == 1
        assert db.read("select").server


def test_a_write_in_flight_at_a_lost_address_is_sent_to_the_next_under_its_name(
    trio: list[FakeNode],
) -> None:
    first, second, _ = trio
    first.script = lambda _: None
    with raftzmq.connect(first.address, second.address) as db:
        done: list[str] = []
        thread = threading.Thread(target=lambda: done.append(db.write("insert").server))
        thread.start()
        assert first.arrived.acquire(timeout=5)
        first.close()
        thread.join(5)
        assert done == ["n2"]
    assert [r.sequence for r in second.requests] == [r.sequence for r in first.requests]
    assert [r.min_index for r in second.requests] == [r.min_index for r in first.requests]


def test_a_silent_broker_is_left_for_the_next(trio: list[FakeNode]) -> None:
    first, second, _ = trio
    with raftzmq.connect(first.address, second.address) as db:
        db.write("insert")
        first.muted = True
        assert db.write("insert").server == "n2"


def test_a_server_that_is_slow_to_let_clients_in_is_waited_for(trio: list[FakeNode]) -> None:
    """On a machine without a free processor a handshake may take longer than CONNECT_MS."""
    with (
        slow_door(trio[0].port, delay_s=1.2 * CONNECT_MS / 1000) as address,
        raftzmq.connect(address) as db,
    ):
        assert db.write("insert").server == "n1"


def test_each_address_gets_more_patience_whatever_the_others_do(trio: list[FakeNode]) -> None:
    """A proxy that is cut off lets clients in at once, and the one that is not is far away."""
    context: Context = zmq.Context()
    with slow_door(trio[0].port, delay_s=1.2 * CONNECT_MS / 1000) as far:
        near = trio[1].address
        channel = Channel([near, far], context)
        left = 0
        while not (channel.ready and channel.address == far):
            if channel.ready:
                assert left < 2, "it was tried twice, the second time for longer than it takes"
                left += 1
                channel.send(encode_batch([encode_request(Kind.WRITE, b"c", left)]))
                while channel.receive() is None:
                    channel.wait(1_000)
                channel.go_elsewhere()
            channel.wait(1_000)
        channel.close()
    context.term()


def test_an_answer_that_got_lost_is_asked_for_again(trio: list[FakeNode]) -> None:
    lost: list[RequestHeader] = []

    def lose_the_first(request: RequestHeader) -> Answer:
        if lost:
            return ok(request)
        lost.append(request)
        return None

    trio[0].script = lose_the_first
    with raftzmq.connect(trio[0].address) as db:
        assert db.write("insert").server == "n1"
    first, second = trio[0].requests
    assert (second.sequence, second.min_index) == (first.sequence, first.min_index)
    assert (first.flags, second.flags) == (0, Flags.AGAIN)


def test_nobody_there_is_not_executed(trio: list[FakeNode]) -> None:
    with raftzmq.connect("tcp://127.0.0.1:1", timeout_ms=200) as db:
        with pytest.raises(DeadlineExpired):
            db.write("insert")
        with pytest.raises(DeadlineExpired):
            db.read("select")


def test_an_unanswered_write_is_unknown_and_a_read_is_not(trio: list[FakeNode]) -> None:
    for node in trio:
        node.script = lambda _: None
    with broker(trio) as (_, address), raftzmq.connect(address, timeout_ms=500) as db:
        db.status(timeout_ms=5_000)
        with pytest.raises(OutcomeUnknown):
            db.write("insert")
        with pytest.raises(DeadlineExpired):
            db.read("select")


def test_a_node_that_does_not_lead_names_the_one_that_does(trio: list[FakeNode]) -> None:
    trio[1].script = fail(NotLeader.code, trio[0].address)
    with raftzmq.connect(trio[1].address) as db:
        assert db.write("insert").server == "n1"


def test_a_lone_node_without_leader_is_asked_until_time_is_up(trio: list[FakeNode]) -> None:
    trio[0].script = fail(Unavailable.code)
    with (
        raftzmq.connect(trio[0].address, timeout_ms=1_000) as db,
        pytest.raises(NotExecuted, match="refused"),
    ):
        db.write("insert")
    assert 2 <= len(trio[0].requests) <= 50


def test_overload_is_told_at_once(trio: list[FakeNode]) -> None:
    with (
        broker(trio, requests_max=0) as (_, address),
        raftzmq.connect(address) as db,
        pytest.raises(Overloaded),
    ):
        db.write("insert")


def test_session_reads_carry_the_index_of_the_write(trio: list[FakeNode]) -> None:
    with broker(trio) as (_, address), raftzmq.connect(address) as db:
        db.write("insert")
        db.read("select", level=Level.SESSION)
    (asked,) = [r for node in trio for r in node.requests if r.kind == Kind.READ]
    assert asked.min_index == 100


def test_writes_under_one_key_in_one_pipeline_get_an_answer_each(trio: list[FakeNode]) -> None:
    with broker(trio) as (_, address), raftzmq.open_pipeline(address, timeout_ms=5_000) as pipeline:
        for number in range(3):
            pipeline.write([(f"w{number}", [])], id="nightly", tag=number)
        done: list[Call] = []
        while len(done) < 3:
            done += pipeline.poll(100)
    assert [call.error for call in done] == [None] * 3
    sent = [request for request in trio[0].requests if request.kind == Kind.WRITE]
    assert {request.client for request in sent} == {b"nightly"}
    for call in done:
        assert call.reply is not None
        assert call.payload in call.reply.body


def test_a_pipeline_keeps_many_requests_in_flight(trio: list[FakeNode]) -> None:
    with broker(trio) as (running, address), raftzmq.open_pipeline(address) as pipeline:
        for n in range(3_000):
            if n % 3:
                pipeline.write([("insert", [n])], tag=n)
            else:
                pipeline.read([("select", [n])], tag=n)
        tags = []
        while pipeline.unfinished:
            for call in pipeline.poll(1_000):
                assert call.error is None
                tags.append(call.tag)
        assert sorted(tags) == list(range(3_000))
        assert running.broker.router.counters.batches < 500
