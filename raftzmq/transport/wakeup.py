"""Handing Python objects to a thread that sleeps in a zmq poll.

A ``zmq.Poller`` watches file descriptors as well as sockets, so the objects themselves need
neither be copied nor encoded: they lie in a deque, and an eventfd says that they do.

Why no wake is ever lost: ``put`` appends, then looks at the flag; ``drain`` clears the flag,
then takes. A producer that finds the flag up appended before it was cleared, so the coming
``drain`` takes its object. Whoever raises the flag also writes to the eventfd. The worst that
can happen is a wake-up for nothing.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Many threads put, one polling thread drains.

    Register ``fileno()`` for POLLIN. Not bounded: those who put bound what is under way.
    Close it in the draining thread, after those who put have ended.
    """

    __slots__ = ("_fd", "_items", "_signalled")

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._signalled = False
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __len__(self) -> int:
        """Objects that wait."""
        return len(self._items)

    def fileno(self) -> int:
        """The descriptor that is readable while objects wait."""
        return self._fd

    def put(self, item: Item, *, wake: bool = True) -> None:
        """Hand over ``item`` and wake the reader.

        Without ``wake`` it lies there until the reader comes by for another reason.
        """
        self._items.append(item)
        if wake:
            self.wake()

    def wake(self) -> None:
        """Wake the reader unless it is already about to wake."""
        if not self._signalled:
            self._signalled = True
            os.eventfd_write(self._fd, 1)

    def drain(self) -> list[Item]:
        """All objects that wait, in order; possibly none."""
        with suppress(BlockingIOError):  # called without a wake-up
            os.eventfd_read(self._fd)
        self._signalled = False
        take = self._items.popleft
        return [take() for _ in range(len(self._items))]

    def close(self) -> None:
        """Give the descriptor back; later objects stay where they are."""
        if self._fd >= 0:
            self._signalled = True  # a late ``put`` must not write to a descriptor reused since
            os.close(self._fd)
            self._fd = -1
