"""Taking messages from a socket that strangers can reach: in turns, each of them bounded.

libzmq hands over a message of any number of frames, whole; nothing but the receiver bounds it. One
turn therefore ends after a number of messages, their size, or a time, whichever comes first, and a
message of too many frames is thrown away, over as many turns as it takes, and the connection that
brought it is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final, TypeAlias

import zmq

from raftzmq.transport.clock import monotonic_ms
from raftzmq.transport.departed import Departed
from raftzmq.transport.frames import is_readable, receive_frame
from raftzmq.transport.hanging_up import hang_up, port_of
from raftzmq.transport.sockets import CHOSEN_ID_BYTES, Socket

FRAMES_MAX: Final = 16
"""Routing id, up to ten hops of a chain of proxies, delimiter, and three frames of content."""
TURN_MS: Final = 10
"""A tick: other sockets, and time, wait no longer for this one."""
TURN_BYTES: Final = 4 << 20
"""What is taken in one turn becomes one log entry, one fsync and one message to each follower: with
60 MiB of it a leader would say nothing for longer than an election takes. The message that goes
beyond it is the last of its turn."""
VIEW_BYTES: Final = 64 << 10
"""From this size on a frame is not copied, but shown: to copy what is then refused would take a
hundred times as long as to refuse it."""
LEAST_FRAMES: Final = 8 << 10
"""Of an overlong message, this many are thrown away in a turn, however long that takes: where
processors are scarce, most of TURN_MS goes by without one, and what follows waits for the end."""
ASKED_FIRST: Final = 2
"""After so many messages the socket is not asked any more whether there is another one: to ask
costs a quarter of what taking a small message does, an attempt in vain twice that, and once."""
_UNASKED_FRAMES: Final = 128


Content: TypeAlias = bytes | memoryview
"""A frame; what is in a large one must be copied by whoever keeps it."""


class Intake:
    """The receiving side of one socket, used by one thread.

    Args:
        opened: the socket to receive from.
        messages_max: most messages in one turn.
        lossy: the messages wanted here have two frames, a routing id that libzmq has chosen and
            content that speaks for itself, and their senders repeat what is lost.

    Attributes:
        departed: whose messages are dropped, since nobody waits for what comes of them.
        overlong: messages that were dropped because they had more than FRAMES_MAX frames.
    """

    def __init__(self, opened: Socket, messages_max: int, *, lossy: bool = False) -> None:
        self._socket = opened
        self._receive = opened.recv
        self._messages_max = messages_max
        self._lossy = lossy
        self._discarding = False
        self._ended = False
        self._hung_up = -1
        self._found: list[list[Content]] = []
        self._last_bytes = 0
        self.departed = Departed()
        self.overlong = 0

    def refused(self) -> None:
        """Nothing comes of the message that was handed over last: it does not count for its size.

        Otherwise each of those who send the largest rubbish would end a turn, and the others wait
        for as many turns.
        """
        self._last_bytes = 0

    def turn(self) -> Iterator[list[Content]]:
        """The messages of one turn, each as its frames; none of them empty."""
        until_ms = monotonic_ms() + TURN_MS
        if self._discarding and not self._discard(until_ms):
            return
        opened = self._socket
        yield from self._take_found()
        size_bytes = 0
        try:
            for number in range(self._messages_max):
                frame = receive_frame(opened)
                sender = frame.bytes
                frames: list[Content] = [sender]
                while frame.more:
                    if len(frames) == FRAMES_MAX:
                        self.overlong += 1
                        self._discarding = True
                        self._hung_up = -1
                        self._show_out()
                        break
                    frame = receive_frame(opened)
                    frames.append(frame.bytes if len(frame) < VIEW_BYTES else frame.buffer)
                if self._discarding:
                    if self._discard(until_ms):  # if not, the time of this turn is over
                        yield from self._take_found()
                elif sender in self.departed:
                    self.departed.dropped += 1
                else:
                    self._last_bytes = sum(map(len, frames))
                    yield frames
                    size_bytes += self._last_bytes
                if size_bytes >= TURN_BYTES or monotonic_ms() >= until_ms:
                    return
                if number < ASKED_FIRST and not is_readable(opened):
                    return
        except zmq.Again:
            return

    def _show_out(self) -> None:
        """End the connection that the message under way came by: there may be more of them."""
        frame = receive_frame(self._socket)
        self._ended = not frame.more
        self._hang_up(frame)

    def _hang_up(self, frame: zmq.Frame) -> None:
        """End the connection that ``frame`` came by.

        Its descriptor may by now be that of another one, in a flood of them.
        """
        with suppress(zmq.ZMQError):
            descriptor = int(frame.get(zmq.SRCFD))
            if descriptor != self._hung_up:
                self._hung_up = descriptor
                hang_up(descriptor, port_of(self._socket))

    def _discard(self, until_ms: int) -> bool:
        """Throw away frames of the message under way; whether its end was reached in time.

        To ask whether a frame was the last costs several times as much as the frame.
        """
        if self._ended:  # with the very frame that was one too many
            self._ended = self._discarding = False
            return True
        left = LEAST_FRAMES
        try:
            while True:
                if self._discard_some():
                    self._discarding = False
                    return True
                left -= _UNASKED_FRAMES
                if left <= 0 and monotonic_ms() >= until_ms:
                    return False
        except zmq.Again:
            self._discarding = False  # went past its end, and there was nothing more
            return True

    def _discard_some(self) -> bool:
        """Throw away _UNASKED_FRAMES frames, fewer if the message ends; whether it has ended.

        Where messages may be lost, it is asked only behind what looks like a routing id: is it
        one, then its frame and the next are a whole message. Overlong messages that follow on each
        other would else take along all that others sent meanwhile, and this node be deaf for
        seconds. Whoever puts something like a routing id into an overlong message gets nothing
        that he could not have sent by itself. Elsewhere each frame knows, which is cheaper than to
        ask the socket.
        """
        opened, receive = self._socket, self._receive
        if not self._lossy:
            frames = (receive_frame(opened) for _ in range(_UNASKED_FRAMES))
            return any(not frame.more for frame in frames)
        for _ in range(_UNASKED_FRAMES):
            start = receive(zmq.DONTWAIT)
            if len(start) == CHOSEN_ID_BYTES and not start[0]:
                if not opened.getsockopt(zmq.RCVMORE):
                    return True  # its last frame: what follows is of somebody else
                content = receive_frame(opened)
                if not content.more:
                    self._found.append([start, content.bytes])
                    return True
                self._hang_up(content)
        return False

    def _take_found(self) -> list[list[Content]]:
        found, self._found = self._found, []
        return found
