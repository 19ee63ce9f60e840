"""A queue in which connections take turns: one item of each, then the next of each.

First come, first served would make everybody wait for whoever sends most: with the thousands of
requests that one connection may have waiting, for longer than a client waits. Among the items of
one connection, what came first goes first. No sockets, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """What waits, by the connection it came from (``holder``)."""

    __slots__ = ("_of", "_ring")

    def __init__(self) -> None:
        self._of: dict[bytes, deque[Item]] = {}
        self._ring: deque[tuple[bytes, deque[Item]]] = deque()
        """The same queues, none of them empty; whose turn it is stands first."""

    def __bool__(self) -> bool:
        return bool(self._ring)

    @property
    def holders(self) -> int:
        """Connections of which something waits."""
        return len(self._ring)

    def __len__(self) -> int:
        return sum(len(waiting) for _, waiting in self._ring)

    def __iter__(self) -> Iterator[Item]:
        """All of them, those of one connection in their order."""
        return (item for _, waiting in self._ring for item in waiting)

    def append(self, holder: bytes, item: Item) -> None:
        """``item`` waits from now on, after all others of ``holder``."""
        waiting = self._of.get(holder)
        if waiting is None:
            self._begin(holder, (item,))
        else:
            waiting.append(item)

    def last(self, holder: bytes) -> Item | None:
        """What ``holder`` has waiting behind all else of its own, if anything."""
        waiting = self._of.get(holder)
        return waiting[-1] if waiting else None

    def first(self) -> Item:
        """What has its turn."""
        return self._ring[0][1][0]

    def take(self) -> Item:
        """Remove what has its turn; the next connection has its turn then."""
        ring = self._ring
        holder, waiting = ring[0]
        item = waiting.popleft()
        if waiting:
            ring.rotate(-1)
        else:
            ring.popleft()
            del self._of[holder]
        return item

    def put_back(
        self, holder: bytes, items: Sequence[Item], arrival: Callable[[Item], int]
    ) -> None:
        """``items`` of ``holder`` were here before, and go where they were.

        Args:
            holder: whose they are.
            items: at least one.
            arrival: the earlier an item arrived, the smaller.
        """
        back = sorted(items, key=arrival)
        waiting = self._of.get(holder)
        if waiting is None:
            self._begin(holder, back)
        elif arrival(back[-1]) < arrival(waiting[0]):
            waiting.extendleft(reversed(back))
        else:
            merged = sorted([*back, *waiting], key=arrival)
            waiting.clear()
            waiting.extend(merged)

    def take_all(self, holder: bytes) -> Sequence[Item]:
        """Remove and return what ``holder`` has waiting."""
        waiting = self._of.pop(holder, None)
        if waiting is None:
            return ()
        self._ring.remove((holder, waiting))
        return waiting

    def remove(self, unwanted: Callable[[Item], bool]) -> list[Item]:
        """Remove and return what is ``unwanted``; the others keep their turns."""
        removed: list[Item] = []
        ring, self._ring, self._of = self._ring, deque(), {}
        for holder, waiting in ring:
            kept: list[Item] = []
            for item in waiting:
                (removed if unwanted(item) else kept).append(item)
            if kept:
                self._begin(holder, kept)
        return removed

    def clear(self) -> None:
        """Nothing waits."""
        self._of.clear()
        self._ring.clear()

    def _begin(self, holder: bytes, items: Sequence[Item]) -> None:
        waiting = self._of[holder] = deque(items)
        self._ring.append((holder, waiting))
