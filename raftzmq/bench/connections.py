"""Many clients, each with its own connection and session and one request in flight.

They are what a proxy sees of a web application: no message holds more than one request, so
whatever is saved by batching must be saved behind the proxy. No retries: what fails is counted.
"""

from __future__ import annotations

import os
import select
from collections import deque
from typing import Final

from raftzmq import limits
from raftzmq.bench.workload import Workload
from raftzmq.bench.zmtp import Dealer
from raftzmq.client.session import CLIENT_ID_BYTES
from raftzmq.errors import DeadlineExpired, OutcomeUnknown, RequestError, Unavailable
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.client import (
    Kind,
    Reply,
    decode_batch,
    decode_reply,
    encode_batch,
    encode_request,
    error_of,
)
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.version import CLIENT_FRAME

NO_ANSWER_MS: Final = limits.REQUEST_TIMEOUT_MS + 1_000
_LOOK_EVERY_MS: Final = 500


class _Client:
    """One client; while it has a request, it stands for that as a ``target.Finished``."""

    __slots__ = (
        "address",
        "busy",
        "dealer",
        "error",
        "kind",
        "name",
        "sent_ms",
        "sequence",
        "since",
        "tag",
    )

    def __init__(self, address: str) -> None:
        self.address = address
        self.dealer = Dealer(address)
        self.name = os.urandom(CLIENT_ID_BYTES)
        self.busy = False
        self.sequence = 0
        self.since = 0
        self.kind = 0
        self.tag: float | None = None
        self.sent_ms = 0
        self.error: RequestError | None = None

    def ask(self, kind: int, payload: bytes, level: int) -> None:
        self.sequence += 1
        self.kind = kind
        self.error = None
        # `since` of a write is an index this client saw; else the ledger may refuse it.
        blob = encode_request(kind, self.name, self.sequence, level, self.since, payload=payload)
        self.dealer.send(b"", CLIENT_FRAME, encode_batch([blob]))

    def answers(self) -> bool:
        """Read what arrived; True when that ends the request."""
        ended = False
        for frames in self.dealer.receive():
            if len(frames) != 3 or frames[1] != CLIENT_FRAME:
                continue
            for blob in decode_batch(frames[2]):
                reply = decode_reply(blob)
                if reply.sequence == self.sequence:
                    self._take(reply)
                    ended = True
        return ended

    def _take(self, reply: Reply) -> None:
        if reply.index > self.since:
            self.since = reply.index
        if reply.code:
            self.error = error_of(reply)


class ManyConnections:
    """A ``Target`` of ``number`` clients; use it from one thread.

    Raises:
        ConfigError: no address.
        Unavailable: nobody answers there, or not all connections are taken.
    """

    def __init__(self, address: str, workload: Workload, number: int) -> None:
        self._workload = workload
        self._clients: dict[int, _Client] = {}
        self._free: deque[_Client] = deque()
        self._failed: list[_Client] = []
        self._epoll = select.epoll()
        self._look_ms = 0
        try:
            for _ in range(number):
                client = _Client(address)
                self._add(client)
                client.ask(Kind.STATUS, b"", 0)
            for client in self._clients.values():
                client.dealer.socket.settimeout(NO_ANSWER_MS / 1000)
                while not client.answers():
                    pass
                client.dealer.socket.settimeout(None)
                self._free.append(client)
        except (OSError, DecodeError) as error:
            self.close()
            raise Unavailable(
                f"{address} serves {len(self._free)} of {number} connections: {error}"
            ) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ManyConnections:
        """Nothing to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.dealer.close()
        self._epoll.close()

    @property
    def unfinished(self) -> int:
        """Requests in flight."""
        return len(self._clients) - len(self._free)

    def submit(self, now_ms: int, tag: float) -> None:
        """Send the next request on a connection that is free."""
        client = self._free.popleft()
        kind, payload = self._workload.pick()
        client.tag = tag
        client.busy = True
        client.sent_ms = now_ms
        try:
            client.ask(kind, payload, self._workload.level)
        except OSError as error:
            self._lost(client, error)

    def poll(self, timeout_ms: int) -> list[_Client]:
        """The clients whose request is done; they are free again."""
        finished, self._failed = self._failed, []
        for descriptor, _ in self._epoll.poll(0 if finished else timeout_ms / 1000):
            client = self._clients[descriptor]
            try:
                if client.answers() and client.busy:
                    finished.append(client)
            except (OSError, DecodeError) as error:
                self._lost(client, error)
        now_ms = monotonic_ms()
        if now_ms >= self._look_ms:
            self._look_ms = now_ms + _LOOK_EVERY_MS
            self._give_up(now_ms)
        if self._failed:
            finished += self._failed
            self._failed = []
        for client in finished:
            client.busy = False
        self._free.extend(finished)
        return finished

    def _give_up(self, now_ms: int) -> None:
        for client in list(self._clients.values()):
            if client.busy and client.error is None and now_ms - client.sent_ms > NO_ANSWER_MS:
                self._lost(client, TimeoutError("no answer in time"))

    def _lost(self, client: _Client, why: Exception) -> None:
        """Its request failed; the next one goes over a new connection."""
        del self._clients[client.dealer.socket.fileno()]
        client.dealer.close()
        unknown = client.kind == Kind.WRITE
        client.error = (OutcomeUnknown if unknown else DeadlineExpired)(f"{why}")
        self._failed.append(client)
        client.dealer = Dealer(client.address)
        self._add(client)

    def _add(self, client: _Client) -> None:
        descriptor = client.dealer.socket.fileno()
        self._clients[descriptor] = client
        self._epoll.register(descriptor, select.EPOLLIN)
