"""A queue in which connections take turns: one request of each, then the next of each.

First come, first served would make everybody wait for whoever sends most: with the thousands of
requests that one connection may have here, for longer than a client waits. Among the requests of
one connection, who came first goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from raftzmq.broker.pending import Pending


class Turns:
    """Requests that wait for a lane."""

    __slots__ = ("_of", "_ring")

    def __init__(self) -> None:
        self._of: dict[bytes, deque[Pending]] = {}
        self._ring: deque[deque[Pending]] = deque()
        """The same queues, none of them empty; whose turn it is stands first."""

    def __bool__(self) -> bool:
        return bool(self._ring)

    def __len__(self) -> int:
        return sum(map(len, self._ring))

    def __iter__(self) -> Iterator[Pending]:
        """All of them, those of one connection in their order."""
        return (item for waiting in self._ring for item in waiting)

    def append(self, item: Pending) -> None:
        """``item`` waits from now on, after all others of its connection."""
        waiting = self._of.get(item.identity)
        if waiting is None:
            waiting = self._of[item.identity] = deque((item,))
            self._ring.append(waiting)
        else:
            waiting.append(item)

    def first(self) -> Pending:
        """Whose turn it is."""
        return self._ring[0][0]

    def take(self) -> Pending:
        """Remove whose turn it is; the next connection has its turn then."""
        ring = self._ring
        waiting = ring[0]
        item = waiting.popleft()
        if waiting:
            ring.rotate(-1)
        else:
            ring.popleft()
            del self._of[item.identity]
        return item

    def put_back(self, items: Iterable[Pending]) -> None:
        """``items`` were here before; each is older than what its connection has sent since."""
        of: dict[bytes, list[Pending]] = {}
        for item in items:
            of.setdefault(item.identity, []).append(item)
        for identity, back in of.items():
            back.sort(key=_arrival)
            waiting = self._of.get(identity)
            if waiting is None:
                self._of[identity] = deque(back)
                self._ring.append(self._of[identity])
            elif back[-1].order < waiting[0].order:
                waiting.extendleft(reversed(back))
            else:
                merged = sorted([*back, *waiting], key=_arrival)
                waiting.clear()
                waiting.extend(merged)

    def remove_late(self, now_ms: int) -> list[Pending]:
        """Remove and return those whose deadline has passed."""
        late = [item for item in self if item.deadline_ms <= now_ms]
        if late:
            kept = [item for item in self if item.deadline_ms > now_ms]
            self.clear()
            for item in kept:
                self.append(item)
        return late

    def clear(self) -> None:
        """Nobody waits."""
        self._of.clear()
        self._ring.clear()


def _arrival(item: Pending) -> int:
    return item.order
