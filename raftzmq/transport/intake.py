"""Taking messages from a socket that strangers can reach: in turns, each of them bounded.

libzmq hands over a message of any number of frames, whole; nothing but the receiver bounds it. One
turn therefore ends after a number of messages, their size, or a time, whichever comes first, and a
message of too many frames is thrown away, over as many turns as it takes, and the connection that
brought it is closed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import zmq

from raftzmq.transport.clock import monotonic_ms
from raftzmq.transport.frames import is_readable, receive_frame
from raftzmq.transport.sockets import Socket

FRAMES_MAX: Final = 16
"""Routing id, up to ten hops of a chain of proxies, delimiter, and three frames of content."""
TURN_MS: Final = 10
"""A tick: other sockets, and time, wait no longer for this one."""
TURN_BYTES: Final = 4 << 20
"""What is taken in one turn becomes one log entry, one fsync and one message to each follower: with
60 MiB of it a leader would say nothing for longer than an election takes. The message that goes
beyond it is the last of its turn."""
_UNASKED_FRAMES: Final = 128


class Intake:
    """The receiving side of one socket, used by one thread.

    Args:
        opened: the socket to receive from.
        messages_max: most messages in one turn.
        lossy: the senders repeat what is lost, so that an overlong message may take those along
            that follow it.

    Attributes:
        overlong: messages that were dropped because they had more than FRAMES_MAX frames.
    """

    def __init__(self, opened: Socket, messages_max: int, *, lossy: bool = False) -> None:
        self._socket = opened
        self._receive = opened.recv
        self._option = opened.getsockopt
        self._messages_max = messages_max
        self._lossy = lossy
        self._discarding = False
        self.overlong = 0

    def turn(self) -> Iterator[list[bytes]]:
        """The messages of one turn, each as its frames; none of them empty."""
        until_ms = monotonic_ms() + TURN_MS
        if self._discarding and not self._discard(until_ms):
            return
        opened = self._socket
        size_bytes = 0
        try:
            for _ in range(self._messages_max):
                frame = receive_frame(opened)
                frames = [frame.bytes]
                while frame.more:
                    if len(frames) == FRAMES_MAX:
                        self.overlong += 1
                        self._discarding = True
                        self._show_out()
                        break
                    frame = receive_frame(opened)
                    frames.append(frame.bytes)
                if not self._discarding:
                    size_bytes += sum(map(len, frames))
                    yield frames
                elif not self._discard(until_ms):
                    return
                if (
                    size_bytes >= TURN_BYTES
                    or not is_readable(opened)
                    or monotonic_ms() >= until_ms
                ):
                    return
        except zmq.Again:
            return

    def _show_out(self) -> None:
        """Close the connection that the message under way came by: there may be more of them."""
        frame = self._socket.recv(zmq.DONTWAIT, copy=False)
        with suppress(zmq.ZMQError, OSError):
            descriptor = frame.get(zmq.SRCFD)
            with socket.socket(fileno=os.dup(int(descriptor))) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    def _discard(self, until_ms: int) -> bool:
        """Throw away frames of the message under way; whether its end was reached in time.

        To ask whether a frame was the last costs several times as much as the frame. Where
        messages may be lost, it is asked now and then only, and what follows close behind is lost
        too. Elsewhere the frame itself knows, which is cheaper than to ask the socket.
        """
        receive, option = self._receive, self._option
        try:
            while option(zmq.RCVMORE):
                if self._lossy:
                    for _ in range(_UNASKED_FRAMES):
                        receive(zmq.DONTWAIT)
                else:
                    for _ in range(_UNASKED_FRAMES):
                        if not receive(zmq.DONTWAIT, copy=False).more:
                            break
                if monotonic_ms() >= until_ms:
                    return not option(zmq.RCVMORE) and self._ended()
        except zmq.Again:
            pass  # went past its end, and there was nothing more
        return self._ended()

    def _ended(self) -> bool:
        self._discarding = False
        return True
