"""Asks several servers the same thing at once, each directly, and never waits long.

For status, digests and reads of one named replica. There is no retry, no redirect and no
session here: `raftzmq.client` does that for applications.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

import zmq

from raftzmq.transport.clock import monotonic_ms
from raftzmq.transport.sockets import Purpose, open_socket
from raftzmq.wire.client import (
    Kind,
    Level,
    Reply,
    decode_batch,
    decode_reply,
    encode_batch,
    encode_request,
)
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.version import CLIENT_FRAME


class Asker:
    """Open questions to a fixed set of servers; use it as a context manager.

    Args:
        addresses: name -> client address. Connecting is done in the background, so a server
            that does not run is no error; it just does not answer.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._sequence = 0
        for name, address in addresses.items():
            socket = open_socket(self._context, Purpose.CLIENT_DEALER)
            socket.connect(address)
            self._sockets[name] = socket

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections; nothing is waited for."""
        self._context.destroy(linger=0)

    def ask(
        self,
        kind: Kind,
        *,
        names: Iterable[str] | None = None,
        level: Level = Level.STALE,
        min_index: int = 0,
        payload: bytes = b"",
        timeout_ms: int = 500,
    ) -> dict[str, Reply]:
        """Send one request to each server and collect what comes back in time.

        Args:
            names: which servers; all by default.
            timeout_ms: for all together, connecting included.

        Returns:
            name -> reply, for those that answered. A reply may hold an error code.
        """
        self._sequence += 1
        request = encode_request(
            kind=kind,
            client=b"",
            sequence=self._sequence,
            level=level,
            min_index=min_index,
            max_age_ms=0,
            timeout_ms=timeout_ms,
            flags=0,
            payload=payload,
        )
        frames = [b"", CLIENT_FRAME, encode_batch([request])]
        unsent = {name: self._sockets[name] for name in names or self._sockets}
        waiting: dict[str, zmq.Socket[bytes]] = {}
        replies: dict[str, Reply] = {}
        deadline = monotonic_ms() + timeout_ms
        while unsent or waiting:
            left_ms = deadline - monotonic_ms()
            if left_ms <= 0:
                break
            poller = zmq.Poller()
            for socket in unsent.values():
                poller.register(socket, zmq.POLLOUT)
            for socket in waiting.values():
                poller.register(socket, zmq.POLLIN)
            events = dict(poller.poll(left_ms))
            for name, socket in list(unsent.items()):
                if socket in events:
                    waiting[name] = unsent.pop(name)
                    try:
                        socket.send_multipart(frames, zmq.DONTWAIT)
                    except zmq.Again:
                        unsent[name] = waiting.pop(name)
            for name, socket in list(waiting.items()):
                if socket in events:
                    reply = self._receive(socket)
                    if reply is not None:
                        replies[name] = reply
                        del waiting[name]
        return replies

    def _receive(self, socket: zmq.Socket[bytes]) -> Reply | None:
        try:
            frames = socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        if len(frames) != 3 or frames[:2] != [b"", CLIENT_FRAME]:
            return None
        try:
            reply = decode_reply(decode_batch(frames[2])[0])
        except DecodeError:
            return None
        # Answers to earlier questions, which came too late, are still on their way.
        return reply if reply.sequence == self._sequence else None
