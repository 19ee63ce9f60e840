"""One outgoing connection per peer, and the news of its loss.

The kernel closes the connections of a killed process at once. The monitor of a DEALER reports
it within milliseconds, long before an election timeout. An attempt to connect that
fails also ends in a disconnection; only a link whose handshake had succeeded can be lost.

Never count on delivery: ``send`` drops what it cannot pass on, and Raft repeats itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from raftzmq.transport.frames import send
from raftzmq.transport.sockets import (
    Context,
    Purpose,
    Socket,
    connect,
    open_socket,
)

_EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


class LinkEvent(NamedTuple):
    """A link came up (``connected``) or, having been up, was lost."""

    peer: str
    connected: bool


class _Link:
    """A DEALER, its monitor, and what is known of the connection."""

    __slots__ = ("connected", "dropped", "monitor", "socket")

    def __init__(self, socket: Socket, monitor: Socket) -> None:
        self.socket = socket
        self.monitor = monitor
        self.connected = False
        self.dropped = 0

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close()
        self.socket.close()


class PeerLinks:
    """The outgoing links of one node. Used by a single thread.

    Register each of ``monitors()`` for POLLIN and call ``events`` when one is readable.
    """

    def __init__(self, context: Context, name: str, addresses: Mapping[str, str]) -> None:
        """Connect to every peer; the node's own entry in ``addresses`` is passed over.

        Args:
            context: of the process.
            name: of this node.
            addresses: name of each node -> peer address.

        Raises:
            ConfigError: one of the addresses is none.
        """
        self._context = context
        self._name = name
        self._links: dict[str, _Link] = {}
        try:
            for peer, address in addresses.items():
                if peer != name:
                    self.add(peer, address)
        except BaseException:
            self.close()
            raise

    def add(self, peer: str, address: str) -> None:
        """Connect to ``peer``, replacing its link if there is one (its address changed).

        Raises:
            ConfigError: ``address`` is none.
        """
        self.remove(peer)
        socket = open_socket(self._context, Purpose.PEER_DEALER)
        # Before connecting, or the first events are missed.
        link = _Link(socket, socket.get_monitor_socket(_EVENTS))
        try:
            connect(socket, address)
        except BaseException:
            link.close()
            raise
        self._links[peer] = link

    def remove(self, peer: str) -> None:
        """Give up the link to ``peer``; no event is reported. Unknown peers are passed over."""
        link = self._links.pop(peer, None)
        if link is not None:
            link.close()

    def send(self, peer: str, frames: Sequence[bytes]) -> bool:
        """Pass on one message without waiting.

        Returns:
            False when it was dropped: no such peer, no connection, or its queue is full.
        """
        link = self._links.get(peer)
        if link is None:
            return False
        try:
            send(link.socket, frames)
        except zmq.Again:
            link.dropped += 1
            return False
        return True

    def monitors(self) -> list[Socket]:
        """The sockets to poll; changes with ``add`` and ``remove``."""
        return [link.monitor for link in self._links.values()]

    def events(self) -> list[LinkEvent]:
        """What happened to the links since the last call; never waits."""
        found = []
        for peer, link in self._links.items():
            while True:
                try:
                    frames = link.monitor.recv_multipart(zmq.DONTWAIT)
                except zmq.Again:
                    break
                up = parse_monitor_message(frames)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
                if up != link.connected:
                    link.connected = up
                    found.append(LinkEvent(peer, up))
        return found

    def connected(self) -> frozenset[str]:
        """Peers whose link is up, as of the last ``events``."""
        return frozenset(peer for peer, link in self._links.items() if link.connected)

    def dropped(self) -> dict[str, int]:
        """Messages dropped per peer since its link was added."""
        return {peer: link.dropped for peer, link in self._links.items()}

    def close(self) -> None:
        """Close all links. Idempotent."""
        for peer in list(self._links):
            self.remove(peer)
