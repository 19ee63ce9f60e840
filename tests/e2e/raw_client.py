"""A client of the raw protocol that says every field itself, so that a write can be repeated."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack
import zmq

WRITE, READ, STATUS = 1, 2, 3
SESSION, STALE, LEADER = 1, 2, 3
KEYED = 8
APPLIED_BEFORE, RESULT_FORGOTTEN = 1, 2
NOT_LEADER, TOO_STALE, TOO_LARGE, STATEMENT_TIMEOUT = 11, 16, 33, 38
MALFORMED, NAME_REUSED, LEDGER_EXPIRED = 31, 39, 51


class Answer(NamedTuple):
    """A reply blob but for the names in front; ``body`` as bytes."""

    code: int
    at: int
    body: bytes
    server: str
    flags: int

    @property
    def content(self) -> Any:
        """The body, decoded."""
        return msgpack.unpackb(self.body)


@dataclass(frozen=True)
class Write:
    """One named write; sent again it is the same bytes but for the time-out."""

    sql: str
    sequence: int
    since: int
    client: bytes = field(default_factory=lambda: os.urandom(16))
    flags: int = 0

    def send(self, address: str, *, timeout_ms: int = 10_000) -> Answer:
        """To ``address``, on a socket of its own."""
        payload = msgpack.packb([[self.sql, []]])
        request = [WRITE, self.client, self.sequence, 0, self.since, 0, timeout_ms, self.flags]
        return exchange(address, [*request, payload], timeout_ms=timeout_ms)


def read(
    address: str, sql: str, *, level: int = 0, min_index: int = 0, max_age_ms: int = 0,
    timeout_ms: int = 5_000,
) -> Answer:  # fmt: skip
    """One read."""
    payload = msgpack.packb([[sql, []]])
    fields = [READ, b"", 1, level, min_index, max_age_ms, timeout_ms, 0, payload]
    return exchange(address, fields, timeout_ms=timeout_ms)


def index_now(address: str) -> int:
    """What a client that has seen nothing asks first."""
    return exchange(address, [STATUS, b"", 1, 0, 0, 0, 5_000, 0, b""], timeout_ms=5_000).at


def exchange(address: str, fields: list[Any], *, timeout_ms: int) -> Answer:
    """One request on a fresh REQ socket.

    Raises:
        TimeoutError: no answer.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(address)
        socket.send_multipart([b"RZQ\x01", msgpack.packb([msgpack.packb(fields)])])
        if not socket.poll(timeout_ms + 2_000):
            raise TimeoutError(f"{address} did not answer")
        _, frame = socket.recv_multipart()
    (reply,) = msgpack.unpackb(frame)
    _, _, code, at, body, server, flags = msgpack.unpackb(reply)
    return Answer(code, at, body, server, flags)
