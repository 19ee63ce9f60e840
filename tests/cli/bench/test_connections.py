"""Many clients with one request in flight each, against a node on a real ROUTER socket."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from raftzmq.bench import connections
from raftzmq.bench.connections import ManyConnections
from raftzmq.bench.workload import Mix, Workload
from raftzmq.bench.zmtp import Dealer, framed
from raftzmq.errors import ConfigError, Overloaded, RequestError, Unavailable
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.client import Kind, Level
from tests.client.fake_node import FakeNode, fail


@pytest.fixture
def node() -> Iterator[FakeNode]:
    made = FakeNode("n1")
    yield made
    made.close()


def workload(size: int = 100) -> Workload:
    return Workload(
        Mix.MIXED,
        value_size=size,
        read_share=0.5,
        level=Level.SESSION,
        rng=random.Random(1),
    )


def answers(target: ManyConnections, wanted: int) -> list[tuple[float | None, RequestError | None]]:
    """Until so many are there; noted at once, since a client is free again and may be reused."""
    found: list[tuple[float | None, RequestError | None]] = []
    until_ms = monotonic_ms() + 10_000
    while len(found) < wanted and monotonic_ms() < until_ms:
        found += [(call.tag, call.error) for call in target.poll(100)]
    return found


def test_each_client_has_its_own_name_and_sequence(node: FakeNode) -> None:
    with ManyConnections(node.address, workload(), 5) as target:
        for round_number in range(3):
            for number in range(5):
                target.submit(monotonic_ms(), float(number))
            assert target.unfinished == 5
            found = answers(target, 5)
            assert sorted(tag for tag, _ in found if tag is not None) == [0, 1, 2, 3, 4]
            assert {error for _, error in found} == {None}
            assert target.unfinished == 0
            del round_number
    names = Counter(request.client for request in node.requests)
    assert sorted(names.values()) == [3] * 5
    sequences = [request.sequence for request in node.requests]
    assert Counter(sequences) == {2: 5, 3: 5, 4: 5}  # 1 was the question for an index
    assert {request.kind for request in node.requests} == {Kind.WRITE, Kind.READ}


def test_a_write_says_what_its_client_has_seen_or_the_ledger_would_refuse_it(
    node: FakeNode,
) -> None:
    node.applied = 50
    with ManyConnections(node.address, workload(), 1) as target:
        for _ in range(2):
            target.submit(monotonic_ms(), 0.0)
            answers(target, 1)
    # The STATUS said 50, the first answer 100.
    assert [request.min_index for request in node.requests] == [50, 100]


def test_a_refusal_is_that_request_s_error_and_the_client_goes_on(node: FakeNode) -> None:
    with ManyConnections(node.address, workload(), 1) as target:
        node.script = fail(Overloaded.code)
        target.submit(monotonic_ms(), 0.0)
        assert [type(error) for _, error in answers(target, 1)] == [Overloaded]
        node.script = lambda request: (0, 100, b"")
        target.submit(monotonic_ms(), 0.0)
        assert answers(target, 1) == [(0.0, None)]


def test_frames_of_more_than_255_bytes_and_of_many_reads(node: FakeNode) -> None:
    node.script = lambda request: (0, 100, bytes(700_000))
    with ManyConnections(node.address, workload(500_000), 2) as target:
        for _ in range(2):
            target.submit(monotonic_ms(), 1.0)
        assert answers(target, 2) == [(1.0, None)] * 2


def test_what_is_never_answered_ends_and_its_late_answer_is_not_taken_for_the_next(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ManyConnections(node.address, workload(), 1) as target:
        monkeypatch.setattr(connections, "NO_ANSWER_MS", -1)
        monkeypatch.setattr(connections, "_LOOK_EVERY_MS", 0)
        node.script = lambda request: None
        target.submit(monotonic_ms(), 0.0)
        [(_, error)] = answers(target, 1)
        assert error is not None
        assert "no answer" in error.message
        monkeypatch.setattr(connections, "NO_ANSWER_MS", 60_000)
        node.script = lambda request: (0, 100, b"")
        target.submit(monotonic_ms(), 2.0)
        assert answers(target, 1) == [(2.0, None)]


def test_nobody_there_and_no_address() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(Unavailable, match="cannot connect"):
        ManyConnections(f"tcp://127.0.0.1:{port}", workload(), 2)
    for wrong in ("127.0.0.1:1", "tcp://x", "ipc:///x", "tcp://127.0.0.1:x"):
        with pytest.raises(ConfigError, match="is no address"):
            Dealer(wrong)


def test_who_closes_at_once_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(Unavailable, match="does not answer as raftzmq does"):
            Dealer(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        thread.join()


def test_a_ping_is_answered_with_its_context_and_is_no_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        got: list[bytes] = []

        def serve() -> None:
            with server.accept()[0] as peer:
                hello = peer.recv(4096)
                greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0")
                peer.settimeout(10)
                ready = framed(b"\x05READY", 4)
                peer.sendall(greeting + bytes(32) + ready + framed(b"\x04PING\x00\x0actx", 4))
                # A message that arrives in two parts.
                whole = framed(b"one", 1) + framed(b"two")
                peer.sendall(whole[:4])
                got.append(peer.recv(4096).removeprefix(hello[64:]))
                peer.sendall(whole[4:])

        thread = threading.Thread(target=serve)
        thread.start()
        dealer = Dealer(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        messages: list[list[bytes]] = []
        while not messages:
            messages += dealer.receive()
        thread.join()
        dealer.close()
    assert messages == [[b"one", b"two"]]
    assert got == [framed(b"\x04PONGctx", 4)]
