"""A node on a real ROUTER socket that does what a test tells it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import zmq

from raftzmq.broker.broker import Broker
from raftzmq.wire.client import (
    Kind,
    RequestHeader,
    decode_batch,
    decode_request,
    encode_batch,
    encode_reply,
)
from raftzmq.wire.payload import encode_error, encode_results
from raftzmq.wire.status import NodeStatus, encode_status
from raftzmq.wire.version import CLIENT_FRAME

Answer = tuple[int, int, bytes] | None
"""(code, index, body); None: no answer, as if it were lost."""


def ok(request: RequestHeader) -> Answer:
    """One row that shows the payload, so that mixed-up answers are seen."""
    return 0, 100, encode_results([(1, 7, ("payload",), ((request.payload,),))])


def fail(code: int, detail: str = "") -> Callable[[RequestHeader], Answer]:
    """A script that refuses everything."""
    return lambda request: (code, 0, encode_error(f"refused {request.sequence}", detail))


class FakeNode:
    """One thread, one socket; ``script`` answers reads and writes.

    Attributes:
        requests: every READ and WRITE received, in order.
        statuses: what it says of itself.
    """

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self.script: Callable[[RequestHeader], Answer] = ok
        self.requests: list[RequestHeader] = []
        self.leader, self.term, self.applied = "n1", 1, 50
        self.muted = False
        self.arrived = threading.Semaphore(0)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        if port:
            self._socket.bind(f"tcp://127.0.0.1:{port}")
        else:
            port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.port = port
        self.address = f"tcp://127.0.0.1:{port}"
        self._stop = threading.Event()
        self._observers: set[bytes] = set()
        self._pushes: list[int] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def status(self) -> bytes:
        """Its NodeStatus, packed."""
        return encode_status(
            NodeStatus(
                node=self.name,
                cluster="c",
                role="leader" if self.leader == self.name else "follower",
                term=self.term,
                leader=self.leader,
                leader_client_address="",
                commit_index=self.applied,
                applied_index=self.applied,
                last_index=self.applied,
                first_index=1,
                contact_age_ms=0,
                pid=1,
                boot=1,
                version="0",
                reads=0,
                writes=0,
            )
        )

    def push(self) -> None:
        """Tell the observers now."""
        self._pushes.append(1)

    def close(self) -> None:
        """As kill -9 would: the connections break."""
        self._stop.set()
        self._thread.join()
        self._socket.close(0)
        self._context.term()

    def _run(self) -> None:
        idle = 0
        while not self._stop.is_set():
            idle += 1
            if self._pushes or idle % 10 == 0:
                self._pushes.clear()
                self._push_all()
            if not self._socket.poll(5):
                continue
            self._take(self._socket.recv_multipart())

    def _push_all(self) -> None:
        if self.muted:
            return
        blob = encode_reply(b"", 0, 0, self.applied, self.status(), self.name)
        for identity in self._observers:
            self._socket.send_multipart(
                [identity, b"status", b"", CLIENT_FRAME, encode_batch([blob])]
            )

    def _take(self, frames: list[bytes]) -> None:
        if b"" not in frames[:-1]:
            return  # a stranger, who once knew somebody else at this port
        head = frames.index(b"") + 1
        envelope, batch = frames[:head], frames[head + 1]
        replies: list[bytes] = []
        lost = self.muted
        for blob in decode_batch(batch):
            request = decode_request(blob)
            if request.kind in (Kind.OBSERVE, Kind.STATUS):
                if request.kind == Kind.OBSERVE:
                    self._observers.add(frames[0])
                answer: Answer = (0, self.applied, self.status())
            else:
                self.requests.append(request)
                answer = self.script(request)
                self.arrived.release()
            if answer is None:
                lost = True
                continue
            code, index, body = answer
            replies.append(
                encode_reply(request.client, request.sequence, code, index, body, self.name)
            )
        if not lost:
            self._socket.send_multipart([*envelope, CLIENT_FRAME, encode_batch(replies)])


@contextmanager
def nodes(count: int) -> Iterator[list[FakeNode]]:
    """Nodes n1, n2, ...; n1 leads."""
    found = [FakeNode(f"n{n + 1}") for n in range(count)]
    try:
        yield found
    finally:
        for node in found:
            if not node._stop.is_set():
                node.close()


class BrokerThread:
    """A broker on a loopback port, in a thread."""

    def __init__(self, nodes: dict[str, str], address: str, **options: object) -> None:
        self._context = zmq.Context()
        self._stop = threading.Event()
        self.broker = Broker([address], nodes, context=self._context, **options)  # type: ignore[arg-type]
        self._thread = threading.Thread(
            target=self.broker.run, args=(self._stop.is_set,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop it in order."""
        self._stop.set()
        self._thread.join()
        self._context.term()


def free_address() -> str:
    """A loopback address that nobody uses at the moment."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        return f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


@contextmanager
def broker(nodes: list[FakeNode], **options: object) -> Iterator[tuple[BrokerThread, str]]:
    """A broker for these nodes, and its address."""
    address = free_address()
    running = BrokerThread({node.name: node.address for node in nodes}, address, **options)
    try:
        yield running, address
    finally:
        if not running._stop.is_set():
            running.close()
