"""One connection at a time to one of several addresses, brokers or nodes.

The socket is closed and opened anew whenever the other side is lost (zguide, "lazy pirate"): a
new socket has nothing queued in it. What to send again is decided above (``pipeline.py``).

Not thread-safe.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from raftzmq.transport.clock import monotonic_ms
from raftzmq.transport.frames import receive, send
from raftzmq.transport.readiness import Readiness
from raftzmq.transport.sockets import Context, Purpose, Socket, connect, open_socket
from raftzmq.wire.version import CLIENT_FRAME

CONNECT_MS: Final = 500
"""An address that has not completed a handshake after this is passed over. Doubled with each time
in a row: on a busy machine, or over 200 ms of round trip, an impatient client would never get in.
Counted for each address by itself: a client that leaves one proxy because it is cut off would else
always come back to it, having been as impatient with the other as the first time."""
_PATIENCE_MAX: Final = 2
"""Doublings of CONNECT_MS."""
INBOX_MAX: Final = 10_000
ADDRESSES_MAX: Final = 64
"""Addresses learnt from NotLeader are kept up to this."""
PAUSE_MS: Final = 50
"""Between two rounds over all addresses."""
_GONE: Final = frozenset(
    {
        zmq.EVENT_DISCONNECTED,
        zmq.EVENT_CLOSED,
        zmq.EVENT_CONNECT_RETRIED,
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    }
)


class Channel:
    """Sends and receives batches; knows whether the other side is there.

    Args:
        addresses: in order of preference, for instance ``tcp://127.0.0.1:7000``.
        context: ZeroMQ context, shared with whoever else uses it.
    """

    def __init__(self, addresses: Sequence[str], context: Context) -> None:
        self.addresses = list(addresses)
        self._context = context
        self._position = 0
        self._socket: Socket | None = None
        self._monitor: Socket | None = None
        self._readiness: Readiness | None = None
        self._monitor_name = 0
        self._opened_ms = 0
        self._failed_in_a_row = 0
        self._too_slow: Counter[str] = Counter()
        self._next_open_ms = 0
        self._inbox: deque[list[bytes]] = deque()
        self.ready = False

    @property
    def address(self) -> str:
        """The address in use or tried next."""
        return self.addresses[self._position]

    def close(self) -> None:
        """Close the socket; what was not sent is dropped."""
        if self._socket is None:
            return
        if self._readiness is not None:
            self._readiness.close()
            self._readiness = None
        self._socket.disable_monitor()
        if self._monitor is not None:
            self._monitor.close(0)
        self._socket.close(0)
        self._socket = self._monitor = None
        self.ready = False

    def go_elsewhere(self, address: str = "") -> None:
        """Leave the address in use: for ``address`` if that is known, else for the next."""
        self.close()
        if address and address not in self.addresses and len(self.addresses) < ADDRESSES_MAX:
            self.addresses.append(address)
        if address in self.addresses:
            self._position = self.addresses.index(address)
            return
        self._position = (self._position + 1) % len(self.addresses)
        self._failed_in_a_row += 1
        if self._failed_in_a_row % len(self.addresses) == 0:
            self._next_open_ms = monotonic_ms() + PAUSE_MS

    def wait(self, timeout_ms: int) -> bool:
        """Wait until something happens, at most ``timeout_ms``.

        Returns:
            False when the other side was lost, or could not be reached: the channel has moved to
            the next address, and whatever was not answered must be sent again.
        """
        now_ms = monotonic_ms()
        readiness = self._readiness
        if readiness is None:
            pause_ms = self._next_open_ms - now_ms
            if pause_ms > 0:
                # An empty poller would not wait at all.
                zmq.select([], [], [], min(pause_ms, timeout_ms) / 1000)
                return True
            readiness = self._open(now_ms)
        if not self.ready:
            timeout_ms = min(timeout_ms, max(0, self._opened_ms + self._patience_ms() - now_ms))
        ready = readiness.wait(max(0, timeout_ms))
        if self._monitor_name in ready and not self._read_monitor():
            self._keep_received()
            self.go_elsewhere()
            return False
        if not self.ready and monotonic_ms() - self._opened_ms >= self._patience_ms():
            self._too_slow[self.address] += 1
            self.go_elsewhere()
            return False
        return True

    def _patience_ms(self) -> int:
        return CONNECT_MS << min(self._too_slow[self.address], _PATIENCE_MAX)

    def send(self, frame: bytes) -> bool:
        """Send one batch; False when the socket does not take it now."""
        if self._socket is None or not self.ready:
            return False
        try:
            send(self._socket, (b"", CLIENT_FRAME, frame))
        except zmq.Again:
            return False
        return True

    def receive(self) -> list[bytes] | None:
        """The frames of the next message that is there already, without the empty one."""
        if self._inbox:
            return self._inbox.popleft()
        if self._socket is None:
            return None
        try:
            frames = receive(self._socket)
        except zmq.Again:
            return None
        self._failed_in_a_row = 0
        return frames[1:] if frames and not frames[0] else frames

    def _keep_received(self) -> None:
        """Answers that arrived before the connection broke are answers."""
        kept: deque[list[bytes]] = deque()
        while len(kept) < INBOX_MAX and (frames := self.receive()) is not None:
            kept.append(frames)
        self._inbox = kept

    def _open(self, now_ms: int) -> Readiness:
        self._socket = open_socket(self._context, Purpose.CLIENT_DEALER)
        self._monitor = self._socket.get_monitor_socket()
        self._readiness = readiness = Readiness()
        readiness.watch(self._socket)
        self._monitor_name = readiness.watch(self._monitor, receives_only=True)
        self._opened_ms = now_ms
        connect(self._socket, self.address)
        return readiness

    def _read_monitor(self) -> bool:
        """False when the connection is gone."""
        monitor = self._monitor
        while monitor is not None:
            try:
                event = parse_monitor_message(monitor.recv_multipart(zmq.DONTWAIT))["event"]
            except zmq.Again:
                return True
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.ready = True
                del self._too_slow[self.address]
            elif event in _GONE:
                return False
        return True
