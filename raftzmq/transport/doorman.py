"""Watches who comes in at the bound sockets, in a thread of its own, and shows some the door.

libzmq bounds messages per connection and bytes per frame. It does not bound connections, frames
of an unfinished message, or bytes that wait for a peer that does not read. So:

- connections beyond CONNECTIONS_MAX are closed as they come; those that are there stay;
- a process that has outgrown GROWTH_BYTES_MAX and grows on closes a connection per step. One that
  does not read what it is sent goes first; else chance decides, weighted by how much each has sent
  in the last seconds. libzmq says of no connection how much it holds for it, and whoever is hit
  without guilt reconnects and repeats itself. But the lost connection of a peer looks like the
  death of that peer, so who has sent little, or much less than the worst, stays: it is
  better to close too few, and the next at the next step.

The descriptor of a connection comes from libzmq's own events. It may have been closed and used
for something else since; a check of the local port makes that unlikely to matter, and a
connection closed by mistake is opened again by the other side.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from raftzmq import limits
from raftzmq.transport.allocator import give_back
from raftzmq.transport.clock import monotonic_ms
from raftzmq.transport.frames import is_readable
from raftzmq.transport.hanging_up import hang_up, port_of
from raftzmq.transport.priority import put_strangers_last
from raftzmq.transport.readiness import Readiness
from raftzmq.transport.sockets import Socket
from raftzmq.transport.wakeup import Mailbox

LOOK_MS: Final = 25
"""Between two looks at the size: a stranger nearby sends up to a gigabyte per second."""
CALM_LOOK_MS_MAX: Final = 250
"""The same, at most, while a process is small and nobody comes or goes. A look costs as much as a
lone request, and four processes look: at 100 ms a fifth of what an idle cluster used was that."""
GROWTH_BYTES_PER_MS: Final = 1 << 20
"""What a stranger nearby sends. A small process is looked at before it can be beyond its bound."""
GUESTS_LOOK_MS: Final = 100
"""Between two looks at each connection of a large process."""
GUESTS_REST_MS: Final = 1_000
"""The same for a small one: each costs three system calls, and there may be thousands."""
STEP_BYTES: Final = 16 << 20
"""Growth that costs a connection."""
_DESCRIPTORS_KEPT: Final = 256
"""For files, the other sockets, and connections that are being closed."""
STUCK_MS: Final = 300
"""A guest that has read too slowly for so long counts as one that does not read. Longer would cost
a hundred megabytes of answers that wait for it; it matters for large processes only."""
SLOWEST_BYTES_PER_S: Final = 64 << 10
"""Who takes less while something waits for it reads too slowly."""
BLAME_BYTES_MIN: Final = 1 << 20
"""Who has sent less than this lately is not why the process grows."""
BLAME_SHARE: Final = 8
"""Nor is who has sent less than this part of what the worst has sent."""
_PRIORITY_TRIES: Final = 40
"""A second: a thread of libzmq gives itself its name some time after it was started."""
_HALF_LIFE_MS: Final = 2_000
_GIVE_BACK_MS: Final = 10_000
"""Between two attempts of a process that is not small to return freed memory. They hold up all that
allocate, and what is returned costs page faults when it is needed again."""
_GIVE_BACK_SOON_MS: Final = 250
"""The same for one that is half as large again as its bound. Two thirds of that are freed memory in
a flood of large messages, so this is what keeps it from growing on; it takes 36 ms."""
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
    """One accepted connection, as of the last look.

    Attributes:
        recent_bytes: what it has sent; half of it is forgotten every two seconds.
        stuck_ms: how long it has taken little or nothing of what waits for it.
    """

    __slots__ = ("descriptor", "recent_bytes", "seen_ms", "stuck_ms", "traffic")

    def __init__(self, descriptor: int, now_ms: int) -> None:
        self.descriptor = descriptor
        self.traffic = Traffic(0, 0, 0)
        self.recent_bytes = 0.0
        self.seen_ms = now_ms
        self.stuck_ms = 0

    def looked_at(self, found: Traffic, now_ms: int) -> None:
        """Take over what is true now."""
        passed_ms = now_ms - self.seen_ms
        fresh = max(0, found.received - self.traffic.received)
        self.recent_bytes = fresh + self.recent_bytes * 0.5 ** (passed_ms / _HALF_LIFE_MS)
        taken = found.acknowledged - self.traffic.acknowledged
        reads = not found.unsent or taken * 1_000 > SLOWEST_BYTES_PER_S * passed_ms
        self.stuck_ms = 0 if reads else self.stuck_ms + passed_ms
        self.traffic = found
        self.seen_ms = now_ms


class Growth:
    """When a process has grown too far, and by how many steps.

    Args:
        bytes_max: up to here it may grow as it likes.

    Attributes:
        bytes_max: as given.
        half_bytes: beyond it a process is large, and its guests are looked at.
        returns_bytes: beyond it what a process does not need is worth returning.
    """

    def __init__(self, bytes_max: int) -> None:
        self.half_bytes = bytes_max // 2
        # 96 MiB by default, of which a busy node needs some 80 (docs/operations.md, Memory).
        self.returns_bytes = bytes_max * 3 // 10
        self.bytes_max = bytes_max
        self._floor = bytes_max

    def steps(self, size_bytes: int) -> int:
        """How many connections the size now costs; each step of growth counts once."""
        self._floor = max(self.bytes_max, min(self._floor, size_bytes))
        steps = (size_bytes - self._floor) // STEP_BYTES
        if steps > 0:
            self._floor = size_bytes
        return max(0, steps)


def choose(guests: Sequence[Guest], count: int, rng: random.Random) -> list[Guest]:
    """Who has to go: at most ``count``, and nobody who is not to blame."""
    stuck = [guest for guest in guests if guest.stuck_ms >= STUCK_MS]
    chosen = sorted(stuck, key=lambda guest: guest.stuck_ms, reverse=True)[:count]
    loud = [guest for guest in guests if guest.stuck_ms < STUCK_MS]
    worst = max((guest.recent_bytes for guest in loud), default=0.0)
    least = max(BLAME_BYTES_MIN, worst / BLAME_SHARE)
    blamed = [guest for guest in loud if guest.recent_bytes >= least]
    while blamed and len(chosen) < count:
        victim = rng.choices(blamed, [guest.recent_bytes for guest in blamed])[0]
        blamed.remove(victim)
        chosen.append(victim)
    return chosen


class Doorman:
    """The thread.

    Args:
        sockets: name -> socket that is not bound yet. The names begin the causes in ``seen``.
        connections_max: per socket; fewer where the process may open fewer files.
        bytes_max: of the memory of the process.
        own_bytes: what the process holds now.

    Attributes:
        seen: cause -> how many connections were closed, or never became one, for it.
        outgrown: the process is larger than ``bytes_max``, as of the last look.
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
        self._guests_seen_ms = 0
        self._gave_back_ms = 0
        self._rng = random.Random(os.urandom(16))
        self._stop = threading.Event()
        self._bell: Mailbox[None] = Mailbox()
        self._size_bytes = 0
        self._thread = threading.Thread(target=self._watch, name="doorman", daemon=True)
        self.seen: dict[str, int] = {}
        self.outgrown = False

    def start(self) -> None:
        """Begin to watch; the sockets are bound now."""
        for name, each in self._sockets.items():
            self._ports[name] = port_of(each)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and give up the monitors; the caller closes the sockets afterwards."""
        self._stop.set()
        self._bell.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._bell.close()
        for name, each in self._sockets.items():
            each.disable_monitor()
            self._monitors[name].close(0)

    def _watch(self) -> None:
        readiness = Readiness()
        readiness.watch_descriptor(self._bell.fileno())
        monitors = [readiness.watch(each, receives_only=True) for each in self._monitors.values()]
        tries_left = _PRIORITY_TRIES
        rest_ms = LOOK_MS
        while not self._stop.wait(rest_ms / 1000):
            moving = [self._take_events(name, each) for name, each in self._monitors.items()]
            large = self._look()
            if tries_left:
                tries_left = 0 if put_strangers_last() else tries_left - 1
            rest_ms = LOOK_MS
            if not (large or any(moving) or tries_left):
                # Whoever comes ends the calm at once; a crowd is looked at each LOOK_MS.
                for each in monitors:
                    readiness.ask_next(each)
                readiness.wait(self._calm_ms())
                rest_ms = 0
        readiness.close()

    def _calm_ms(self) -> int:
        """How long a small process may go unwatched while nobody comes or goes."""
        left_ms = (self._growth.bytes_max - self._size_bytes) // GROWTH_BYTES_PER_MS
        return max(LOOK_MS, min(CALM_LOOK_MS_MAX, left_ms))

    def _take_events(self, name: str, monitor: Socket) -> bool:
        """Whether there were any."""
        guests = self._guests[name]
        found = False
        if not is_readable(monitor):
            return found  # an attempt to receive costs several times as much
        try:
            while True:
                event = parse_monitor_message(monitor.recv_multipart(zmq.DONTWAIT))
                found = True
                kind, value = event["event"], event["value"]
                if kind == zmq.EVENT_ACCEPTED:
                    if len(guests) >= self._connections_max:
                        self._close(name, value, "too many connections")
                    else:
                        guests[value] = Guest(value, monotonic_ms())
                elif kind == zmq.EVENT_DISCONNECTED:
                    guests.pop(value, None)
                elif kind == zmq.EVENT_ACCEPT_FAILED:
                    self._count(name, "accept failed")
                else:
                    self._count(name, "handshake failed")
        except zmq.Again:
            return found

    def _look(self) -> bool:
        """Whether this is a large process."""
        size_bytes = self._size_bytes = self._own_bytes()
        self.outgrown = size_bytes > self._growth.bytes_max
        steps = self._growth.steps(size_bytes)
        now_ms = monotonic_ms()
        large = size_bytes > self._growth.half_bytes
        far = size_bytes > 3 * self._growth.half_bytes
        give_back_ms = _GIVE_BACK_SOON_MS if far else _GIVE_BACK_MS
        worth = size_bytes > self._growth.returns_bytes
        if worth and now_ms >= self._gave_back_ms + give_back_ms:
            self._gave_back_ms = now_ms
            give_back()
        rest_ms = GUESTS_LOOK_MS if large else GUESTS_REST_MS
        if not steps and now_ms < self._guests_seen_ms + rest_ms:
            return large
        self._guests_seen_ms = now_ms
        watched: dict[Guest, str] = {}
        for name, guests in self._guests.items():
            for guest in guests.values():
                found = _traffic(guest.descriptor)
                if found is not None:
                    guest.looked_at(found, now_ms)
                    watched[guest] = name
        for victim in choose(list(watched), steps, self._rng):
            self._close(watched[victim], victim.descriptor, "connection closed for memory")
        return large

    def _close(self, name: str, descriptor: int, why: str) -> None:
        self._count(name, why)
        hang_up(descriptor, self._ports[name])

    def _count(self, name: str, cause: str) -> None:
        key = f"{name} {cause}"
        self.seen = {**self.seen, key: self.seen.get(key, 0) + 1}


def anonymous_bytes() -> int:
    """Memory of this process that is no file's (proc(5), statm), in bytes."""
    # Not Path.read_text, which takes ten times as long, several times a second.
    descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _, resident, shared, *_ = os.read(descriptor, 256).split()
    finally:
        os.close(descriptor)
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
