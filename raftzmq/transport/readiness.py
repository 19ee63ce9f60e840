"""Waiting until one of several sockets has something, at the cost of one system call.

``zmq.Poller`` asks every socket before and after it sleeps, two system calls each time, so a node
with a few sockets and monitors spends more on asking than on a small message. Here the kernel
watches the descriptors (ZMQ_FD), and a socket is asked only where its descriptor may be silent
about a message.

That descriptor is readable while libzmq has commands for the socket, "look into this pipe" among
them. Any call that takes the commands in, a send as much as a receive, makes it silent, whether
or not the messages that the commands told of were received (zmq_getsockopt(3), ZMQ_FD). So before
each sleep these are asked (ZMQ_EVENTS): sockets that were ready the last time, whose messages may
not all have been taken, and sockets that are used for anything but receiving when they are ready.
"""

from __future__ import annotations

import select

import zmq

from raftzmq.transport.frames import is_readable
from raftzmq.transport.sockets import Socket


class Readiness:
    """Watches sockets and descriptors for one thread, which alone uses these sockets.

    What is watched is named by its descriptor. A socket must be closed after ``close``.
    """

    __slots__ = ("_ask", "_ask_always", "_epoll", "_poll", "_sockets")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._poll = self._epoll.poll
        self._sockets: dict[int, Socket] = {}
        self._ask_always: list[int] = []
        self._ask: set[int] = set()

    def watch(self, socket: Socket, *, receives_only: bool = False) -> int:
        """Watch a socket; returns its name among those that ``wait`` returns.

        Args:
            socket: not watched yet.
            receives_only: nothing is done with it but to receive, and that only when ``wait``
                named it, or ``ask_next`` is told. Saves asking it each time.
        """
        descriptor = int(socket.getsockopt(zmq.FD))
        self._sockets[descriptor] = socket
        self._epoll.register(descriptor, select.EPOLLIN)
        if not receives_only:
            self._ask_always.append(descriptor)
        # Binding or connecting took commands in.
        self._ask.add(descriptor)
        return descriptor

    def watch_descriptor(self, descriptor: int) -> int:
        """Watch a descriptor of another kind; it is ready as long as it can be read."""
        self._epoll.register(descriptor, select.EPOLLIN)
        return descriptor

    def wait(self, timeout_ms: int) -> set[int]:
        """Wait for something to receive, at most ``timeout_ms``.

        Returns:
            Who may have something. It may turn out to be nothing: a receive must not wait.
        """
        sockets = self._sockets
        ready = {each for each in self._ask if is_readable(sockets[each])}
        for descriptor, _ in self._poll(0 if ready else timeout_ms / 1000):
            ready.add(descriptor)
        self._ask = ready.intersection(sockets)
        self._ask.update(self._ask_always)
        return ready

    def ask_next(self, name: int) -> None:
        """Ask this socket before the next sleep: it was used although ``wait`` had not named it."""
        self._ask.add(name)

    def close(self) -> None:
        """Give up watching."""
        self._epoll.close()
