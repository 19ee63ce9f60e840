"""Whole messages to and from a socket, without waiting: what each hop of a request does twice.

pyzmq's ``send_multipart`` and ``recv_multipart`` check, convert flags and ask the socket after each
frame. With a message that alone costs as much as the rest of a hop, and an attempt to receive where
nothing is raises an exception, which costs as much again. The same calls of the backend do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import zmq
import zmq.backend

from raftzmq.transport.sockets import COPY_BYTES_MAX, Socket

_NOW: Final = int(zmq.DONTWAIT)
_NOW_AND_MORE: Final = int(zmq.DONTWAIT | zmq.SNDMORE)
_READABLE: Final = int(zmq.POLLIN)
_EVENTS: Final = zmq.EVENTS
_send: Final[Callable[..., object]] = zmq.backend.Socket.send
_receive: Final[Callable[..., zmq.Frame]] = zmq.backend.Socket.recv
_get: Final[Callable[[Socket, int], Any]] = zmq.backend.Socket.get


def send(socket: Socket, frames: Sequence[bytes]) -> None:
    """Send one message.

    Raises:
        zmq.Again: it does not fit into the queue.
        zmq.ZMQError: a ROUTER knows no such receiver.
    """
    last = len(frames) - 1
    for place in range(last):
        frame = frames[place]
        _send(socket, frame, _NOW_AND_MORE, len(frame) < COPY_BYTES_MAX)
    frame = frames[last]
    _send(socket, frame, _NOW, len(frame) < COPY_BYTES_MAX)


def receive(socket: Socket) -> list[bytes]:
    """The next message.

    It may have any number of frames: from strangers, receive with ``Intake``.

    Raises:
        zmq.Again: there is none.
    """
    frame = receive_frame(socket)
    frames = [frame.bytes]
    while frame.more:
        frame = receive_frame(socket)
        frames.append(frame.bytes)
    return frames


def receive_frame(socket: Socket) -> zmq.Frame:
    """The next frame; not copied, since a copy would not know whether more of them follow.

    Raises:
        zmq.Again: there is no message.
    """
    return _receive(socket, _NOW, False)


def is_readable(socket: Socket) -> bool:
    """Whether a message is there; cheaper than to try."""
    return bool(_get(socket, _EVENTS) & _READABLE)
