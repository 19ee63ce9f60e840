"""ZMTP 3 by hand, over a plain TCP socket, for what no ZeroMQ library would send."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

MORE, LONG, COMMAND = 1, 2, 4
CLOSED = (ConnectionError, TimeoutError, BlockingIOError)
"""How a server that had enough of it looks from here."""


def greeting(mechanism: bytes = b"NULL", minor: int = 0) -> bytes:
    """The 64 bytes that each side sends first."""
    return (
        b"\xff" + bytes(8) + b"\x7f\x03" + bytes([minor]) + mechanism.ljust(20, b"\0") + bytes(32)
    )


def frame(body: bytes, flags: int = 0) -> bytes:
    """One frame with its header."""
    if len(body) > 255:
        return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


def command(name: bytes, body: bytes) -> bytes:
    """A command frame."""
    return frame(bytes([len(name)]) + name + body, COMMAND)


def ready(socket_type: bytes = b"DEALER", identity: bytes = b"") -> bytes:
    """The READY command of the NULL mechanism."""
    properties = b""
    for name, value in ((b"Socket-Type", socket_type), (b"Identity", identity)):
        properties += bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
    return command(b"READY", properties)


def message(*frames: bytes) -> bytes:
    """A whole message."""
    *first, last = frames
    return b"".join(frame(each, MORE) for each in first) + frame(last)


def open_tcp(address: str) -> socket.socket:
    """A connection to ``tcp://host:port`` that never blocks for long."""
    host, port = address.removeprefix("tcp://").rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=5)
    connection.settimeout(2)
    # Whoever was hung up on may else wait minutes to be told so: the kernel asks ever more seldom.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5_000)
    return connection


def open_zmtp(address: str, socket_type: bytes = b"DEALER", identity: bytes = b"") -> socket.socket:
    """A connection whose handshake is sent; the answers are read so far as they are there."""
    connection = open_tcp(address)
    connection.sendall(greeting() + ready(socket_type, identity))
    received = b""
    with suppress(*CLOSED):
        while len(received) < 66:
            part = connection.recv(4096)
            if not part:
                break
            received += part
    return connection


def send_all(connection: socket.socket, data: bytes) -> int:
    """Send as far as the other side takes it; returns how many bytes it took."""
    sent = 0
    with suppress(*CLOSED):
        while sent < len(data):
            sent += connection.send(data[sent : sent + (1 << 20)])
    return sent
