"""A router with scripted nodes and clients, without sockets."""

from __future__ import annotations

from collections.abc import Sequence

from raftzmq.broker.dispatch import Outgoing
from raftzmq.broker.routing import Router
from raftzmq.wire.client import (
    Kind,
    Level,
    Reply,
    decode_batch,
    decode_reply,
    decode_request,
    encode_batch,
    encode_reply,
    encode_request,
)
from raftzmq.wire.payload import encode_error
from raftzmq.wire.status import NodeStatus, encode_status
from raftzmq.wire.version import CLIENT_FRAME

NODES = {"n1": "tcp://h:1", "n2": "tcp://h:2", "n3": "tcp://h:3"}
ALICE, BOB = b"alice-connection", b"bob-connection"


def status(
    node: str, leader: str, term: int, applied: int = 0, *, serves_reads: bool = True
) -> bytes:
    """Body of a status message."""
    return encode_status(
        NodeStatus(
            node=node,
            cluster="c",
            role="leader" if node == leader else "follower",
            term=term,
            leader=leader,
            leader_client_address=NODES.get(leader, ""),
            commit_index=applied,
            applied_index=applied,
            last_index=applied,
            first_index=1,
            contact_age_ms=0,
            pid=1,
            boot=1,
            version="0",
            reads=0,
            writes=0,
            serves_reads=serves_reads,
        )
    )


def write(sequence: int, client: bytes = b"client-a", **fields: object) -> bytes:
    """A write request; the payload is opaque to the broker."""
    return encode_request(Kind.WRITE, client, sequence, payload=b"w%d" % sequence, **fields)  # type: ignore[arg-type]


def read(sequence: int, level: Level = Level.LINEARIZABLE, **fields: object) -> bytes:
    """A read request."""
    return encode_request(Kind.READ, b"client-a", sequence, level, payload=b"r", **fields)  # type: ignore[arg-type]


class FakeCluster:
    """One router, three nodes: n1 leads in term 1 and has applied index 10, as the others."""

    def __init__(self, **options: object) -> None:
        self.now_ms = 1_000
        self.router = Router(NODES, **options)  # type: ignore[arg-type]
        self.sent: list[Outgoing] = []
        self.replies: list[tuple[bytes, Reply]] = []
        for node in NODES:
            self.status(node, "n1", 1, 10)

    def status(
        self,
        node: str,
        leader: str,
        term: int,
        applied: int = 10,
        *,
        serves_reads: bool = True,
    ) -> None:
        """``node`` pushes its status."""
        body = status(node, leader, term, applied, serves_reads=serves_reads)
        blob = encode_reply(b"", 0, 0, applied, body, node)
        frames = [b"status", b"", CLIENT_FRAME, encode_batch([blob])]
        self.router.from_node(node, frames, self.now_ms)

    def ask(self, *blobs: bytes, client: bytes = ALICE) -> None:
        """A client sends one message."""
        frames = [b"", CLIENT_FRAME, encode_batch(blobs)]
        self.router.from_client(client, frames, self.now_ms)

    def round(self, later_ms: int = 0) -> list[Outgoing]:
        """Time passes, then the broker does one round; what it sent."""
        self.now_ms += later_ms
        self.router.tick(self.now_ms)
        out = self.router.take_batches(self.now_ms)
        self.sent += out
        for identity, frames in self.router.take_replies():
            self.replies += [(identity, decode_reply(blob)) for blob in decode_batch(frames[2])]
        return out

    def answer(
        self, batch: Outgoing, *codes: int, index: int = 11, detail: str = "", body: bytes = b"ok"
    ) -> None:
        """The node answers a batch: with success, or with ``codes`` by position."""
        blobs = decode_batch(batch.frames[3])
        replies = []
        for position, blob in enumerate(blobs):
            request = decode_request(blob)
            code = codes[min(position, len(codes) - 1)] if codes else 0
            content = encode_error("because", detail) if code else body
            replies.append(
                encode_reply(request.client, request.sequence, code, index, content, batch.node)
            )
        self.answer_raw(batch, replies)

    def answer_raw(self, batch: Outgoing, replies: Sequence[bytes]) -> None:
        """The node answers with these blobs."""
        frames = [batch.batch_id, b"", CLIENT_FRAME, encode_batch(list(replies))]
        self.router.from_node(batch.node, frames, self.now_ms)

    def verdicts(self) -> list[tuple[bytes, int, int]]:
        """(connection, sequence, code) of all replies so far."""
        self.round()
        return [(identity, reply.sequence, reply.code) for identity, reply in self.replies]


def sequences(batch: Outgoing) -> list[int]:
    """Sequence numbers of the requests in a batch."""
    return [decode_request(blob).sequence for blob in decode_batch(batch.frames[3])]
