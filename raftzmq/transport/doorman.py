"""Watches who comes in at the bound sockets, in a thread of its own, and shows some the door.

libzmq bounds messages per connection and bytes per frame. It does not bound connections, frames
of an unfinished message, or bytes that wait for a peer that does not read. So:

- connections beyond CONNECTIONS_MAX are closed as they come; those that are there stay;
- a process that has outgrown GROWTH_BYTES_MAX and grows on closes a connection per step. One that
  does not read what it is sent goes first; else chance decides, weighted by how much each has sent
  since the last look. libzmq says of no connection how much it holds for it, and whoever is hit
  without guilt reconnects and repeats itself.

The descriptor of a connection comes from libzmq's own events. It may have been closed and used
for something else since; a check of the local port makes that unlikely to matter, and a
connection closed by mistake is opened again by the other side.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from raftzmq import limits
from raftzmq.transport.sockets import Socket

LOOK_MS: Final = 100
STEP_BYTES: Final = 16 << 20
"""Growth that costs a connection."""
_DESCRIPTORS_KEPT: Final = 256
"""For files, the other sockets, and connections that are being closed."""
_STUCK_LOOKS: Final = 10
"""Without progress for so many looks, one second, a peer counts as one that does not read."""
_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EVENTS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_ACCEPT_FAILED | zmq.EVENT_DISCONNECTED | _FAILED
_TCP_INFO: Final = struct.Struct("=120xQQ8xI")
"""Of struct tcp_info (linux/tcp.h): bytes_acked, bytes_received, notsent_bytes."""


class Traffic(NamedTuple):
    """What the kernel says of a connection since it was opened, in bytes."""

    acknowledged: int
    received: int
    unsent: int


class Guest:
    """One accepted connection, as of the last look."""

    __slots__ = ("descriptor", "stuck_looks", "traffic")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.traffic = Traffic(0, 0, 0)
        self.stuck_looks = 0

    def looked_at(self, now: Traffic) -> int:
        """Take over what is true now; returns the bytes it has sent since the last look."""
        fresh = now.received - self.traffic.received
        moved = now.acknowledged != self.traffic.acknowledged or not now.unsent
        self.stuck_looks = 0 if moved else self.stuck_looks + 1
        self.traffic = now
        return max(0, fresh)


class Growth:
    """When a process has grown too far, and by how many steps.

    Args:
        bytes_max: up to here it may grow as it likes.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._floor = bytes_max

    def steps(self, size_bytes: int) -> int:
        """How many connections the size now costs; each step of growth counts once."""
        self._floor = max(self._bytes_max, min(self._floor, size_bytes))
        steps = (size_bytes - self._floor) // STEP_BYTES
        if steps > 0:
            self._floor = size_bytes
        return max(0, steps)


def choose(guests: Sequence[tuple[Guest, int]], rng: random.Random) -> Guest | None:
    """Who has to go, of (guest, bytes sent since the last look); None: nobody is there."""
    if not guests:
        return None
    stuck = [guest for guest, _ in guests if guest.stuck_looks >= _STUCK_LOOKS]
    if stuck:
        return max(stuck, key=lambda guest: guest.stuck_looks)
    everyone = [guest for guest, _ in guests]
    return rng.choices(everyone, [fresh + 1 for _, fresh in guests])[0]


class Doorman:
    """The thread.

    Args:
        sockets: name -> socket that is not bound yet. The names begin the causes in ``seen``.
        connections_max: per socket; fewer where the process may open fewer files.
        bytes_max: of the memory of the process.
        own_bytes: what the process holds now.

    Attributes:
        seen: cause -> how many connections were closed, or never became one, for it.
    """

    def __init__(
        self,
        sockets: Mapping[str, Socket],
        *,
        connections_max: int = limits.CONNECTIONS_MAX,
        bytes_max: int = limits.GROWTH_BYTES_MAX,
        own_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._sockets = dict(sockets)
        self._monitors = {
            name: each.get_monitor_socket(_EVENTS) for name, each in self._sockets.items()
        }
        allowed = (_descriptors() - _DESCRIPTORS_KEPT) // len(self._sockets)
        self._connections_max = max(1, min(connections_max, allowed))
        self._growth = Growth(bytes_max)
        self._own_bytes = own_bytes or anonymous_bytes
        self._guests: dict[str, dict[int, Guest]] = {name: {} for name in sockets}
        self._ports: dict[str, int] = {}
        self._rng = random.Random(os.urandom(16))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="doorman", daemon=True)
        self.seen: dict[str, int] = {}

    def start(self) -> None:
        """Begin to watch; the sockets are bound now."""
        for name, each in self._sockets.items():
            endpoint = each.getsockopt(zmq.LAST_ENDPOINT)
            port = bytes(endpoint).rstrip(b"\0").rpartition(b":")[2]
            self._ports[name] = int(port) if port.isdigit() else 0
        self._thread.start()

    def stop(self) -> None:
        """End the thread and give up the monitors; the caller closes the sockets afterwards."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        for name, each in self._sockets.items():
            each.disable_monitor()
            self._monitors[name].close(0)

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_MS / 1000):
            for name, monitor in self._monitors.items():
                self._take_events(name, monitor)
            self._look()

    def _take_events(self, name: str, monitor: Socket) -> None:
        guests = self._guests[name]
        try:
            while True:
                event = parse_monitor_message(monitor.recv_multipart(zmq.DONTWAIT))
                kind, value = event["event"], event["value"]
                if kind == zmq.EVENT_ACCEPTED:
                    if len(guests) >= self._connections_max:
                        self._close(name, value, "too many connections")
                    else:
                        guests[value] = Guest(value)
                elif kind == zmq.EVENT_DISCONNECTED:
                    guests.pop(value, None)
                elif kind == zmq.EVENT_ACCEPT_FAILED:
                    self._count(name, "accept failed")
                else:
                    self._count(name, "handshake failed")
        except zmq.Again:
            return

    def _look(self) -> None:
        size = self._own_bytes()
        steps = self._growth.steps(size)
        watched = []
        for name, guests in self._guests.items():
            for guest in list(guests.values()):
                now = _traffic(guest.descriptor)
                if now is not None:
                    watched.append((name, guest, guest.looked_at(now)))
        for _ in range(steps):
            victim = choose([(guest, fresh) for _, guest, fresh in watched], self._rng)
            if victim is None:
                break
            [name] = [name for name, guest, _ in watched if guest is victim]
            watched = [each for each in watched if each[1] is not victim]
            self._close(name, victim.descriptor, "connection closed for memory")
        if steps:
            _give_back()

    def _close(self, name: str, descriptor: int, why: str) -> None:
        self._count(name, why)
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
            address = connection.getsockname()
            if len(address) >= 2 and address[1] == self._ports[name]:
                connection.shutdown(socket.SHUT_RDWR)

    def _count(self, name: str, cause: str) -> None:
        key = f"{name} {cause}"
        self.seen = {**self.seen, key: self.seen.get(key, 0) + 1}


def anonymous_bytes() -> int:
    """Memory of this process that is no file's (proc(5), statm), in bytes."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * resource.getpagesize()


def _traffic(descriptor: int) -> Traffic | None:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            return Traffic(*_TCP_INFO.unpack(found))
    except (OSError, struct.error):
        return None


def _descriptors() -> int:
    """How many files this process may open, raised as far as it may be without asking anybody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


def _give_back() -> None:
    """Return freed memory to the system, else the process stays as large as it once was."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
