"""As much of ZMTP 3 as a DEALER without encryption needs, over a plain TCP socket.

A ZeroMQ socket costs its process two threads' work for each message. With hundreds of clients of
one request each, all made by one process beside the cluster, that would be most of what is
measured; real clients pay it elsewhere. Nothing else in raftzmq speaks ZMTP by hand.

See https://rfc.zeromq.org/spec/23/.
"""

from __future__ import annotations

import socket
from typing import Final

from raftzmq.errors import ConfigError, Unavailable

CONNECT_S: Final = 5.0
SEND_S: Final = 10
_MORE: Final = 1
_LONG: Final = 2
_COMMAND: Final = 4
_RECEIVE: Final = 1 << 18
_GREETING_BYTES: Final = 64
_PING: Final = b"\x04PING"
_CONTEXT_AT: Final = len(_PING) + 2


def framed(body: bytes, flags: int = 0) -> bytes:
    """One frame with its header."""
    if len(body) > 255:
        return bytes((flags | _LONG,)) + len(body).to_bytes(8, "big") + body
    return bytes((flags, len(body))) + body


def _ready() -> bytes:
    properties = b""
    for name, value in ((b"Socket-Type", b"DEALER"), (b"Identity", b"")):
        properties += bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
    return framed(b"\x05READY" + properties, _COMMAND)


_HELLO: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


class Dealer:
    """One connection.

    Args:
        address: ``tcp://host:port``.

    Raises:
        ConfigError: it is no such address.
        Unavailable: nobody there speaks ZMTP.
    """

    def __init__(self, address: str) -> None:
        host, separator, port = address.removeprefix("tcp://").rpartition(":")
        if not address.startswith("tcp://") or not separator or not port.isdigit():
            raise ConfigError(f"{address!r} is no address; write tcp://host:port")
        self._buffer = b""
        self._frames: list[bytes] = []
        self._is_ready = False
        try:
            self.socket = socket.create_connection((host.strip("[]"), int(port)), CONNECT_S)
        except (OSError, OverflowError) as error:
            raise Unavailable(f"cannot connect to {address}: {error}") from error
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(_HELLO + _ready())
            while len(self._buffer) < _GREETING_BYTES:
                self._read()
            self._buffer = self._buffer[_GREETING_BYTES:]
            # What came with READY is taken now: later on, bytes that are here wake nobody.
            while not self._parse() and not self._is_ready:
                self._read()
        except OSError as error:
            self.socket.close()
            raise Unavailable(f"{address} does not answer as raftzmq does: {error}") from error
        # Blocking from here on: a time-out of Python's would cost a poll for each call.
        self.socket.settimeout(None)
        limit = SEND_S.to_bytes(8, "little") + bytes(8)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def send(self, *frames: bytes) -> None:
        """Send one message.

        Raises:
            OSError: the connection is gone, or nobody reads.
        """
        *first, last = frames
        self.socket.sendall(b"".join([framed(each, _MORE) for each in first]) + framed(last))

    def receive(self) -> list[list[bytes]]:
        """Wait for some bytes; the messages that are complete now.

        Raises:
            OSError: the connection is gone.
        """
        self._read()
        return self._parse()

    def _parse(self) -> list[list[bytes]]:
        messages: list[list[bytes]] = []
        data, at = self._buffer, 0
        while len(data) - at >= 2:
            flags = data[at]
            head = 9 if flags & _LONG else 2
            if len(data) - at < head:
                break
            end = at + head + int.from_bytes(data[at + 1 : at + head], "big")
            if len(data) < end:
                break
            body = data[at + head : end]
            at = end
            if flags & _COMMAND:
                self._command(body)
                continue
            self._frames.append(body)
            if not flags & _MORE:
                messages.append(self._frames)
                self._frames = []
        self._buffer = data[at:]
        return messages

    def _command(self, body: bytes) -> None:
        if body.startswith(_PING):
            self.socket.sendall(framed(b"\x04PONG" + body[_CONTEXT_AT:], _COMMAND))
        elif body.startswith(b"\x05READY"):
            self._is_ready = True
        elif body.startswith(b"\x05ERROR"):
            raise ConnectionRefusedError(repr(body[7:]))

    def close(self) -> None:
        """Close."""
        self.socket.close()

    def _read(self) -> None:
        received = self.socket.recv(_RECEIVE)
        if not received:
            raise ConnectionResetError("the other side closed the connection")
        self._buffer += received
