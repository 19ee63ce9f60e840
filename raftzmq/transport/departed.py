"""Clients that left while messages of theirs were still waiting in a socket.

A connection that ends leaves behind all that it has sent, and libzmq hands it over as if somebody
waited for answers: after a million small requests for minutes, with everybody else's between them.
That a client has gone shows when a reply to it cannot leave. No sockets, no clock.
"""

from __future__ import annotations

from typing import Final

from raftzmq.transport.sockets import CHOSEN_ID_BYTES

KEPT_MAX: Final = 1_024
"""Of those that left, so many are remembered: more than leave behind anything worth dropping, as
each had to send faster than it was served."""


class Departed:
    """Routing ids of one ROUTER that no connection has any more.

    Only those that libzmq chose: it counts them, so that one comes again after four thousand
    million connections. An id that a client chose may be that of its next connection. (To choose
    one that begins with a zero byte is against the ZeroMQ specification, RFC 28, and looks the
    same here: whoever does hears nothing after his second connection.)

    Attributes:
        dropped: messages of theirs that were dropped unread.
    """

    __slots__ = ("_ids", "dropped")

    def __init__(self) -> None:
        self._ids: dict[bytes, None] = {}
        self.dropped = 0

    def __contains__(self, routing_id: bytes) -> bool:
        return routing_id in self._ids

    def note(self, routing_id: bytes) -> None:
        """A reply to ``routing_id`` could not leave, as it has no connection."""
        if len(routing_id) != CHOSEN_ID_BYTES or routing_id[0] or routing_id in self._ids:
            return
        if len(self._ids) == KEPT_MAX:
            del self._ids[next(iter(self._ids))]
        self._ids[routing_id] = None
