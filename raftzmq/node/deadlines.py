"""When each message of a client is answered at the latest.

What was answered before is forgotten at once and not at its deadline, which its client chose: with
ten minutes, that would be all that a flood of small requests ever brought. Nothing here takes long
because of many, as the raft thread waits for it. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from raftzmq.node.batches import Batch

STALE_MAX: Final = 1_000
"""Times of which nothing is left that may be kept, beside as many as there are others."""


class Deadlines:
    """The messages that are not answered yet, by the millisecond at which their time is over."""

    __slots__ = ("_due", "_times")

    def __init__(self) -> None:
        self._due: dict[int, dict[int, Batch]] = {}
        self._times: list[int] = []
        """A heap of what was a key of ``_due`` when it was put here."""

    def __iter__(self) -> Iterator[Batch]:
        """All of them."""
        return (batch for due in self._due.values() for batch in due.values())

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, self._due.values()))

    def add(self, number: int, batch: Batch) -> None:
        """``batch`` waits from now on, under ``number``."""
        due = self._due.get(batch.deadline_ms)
        if due is None:
            due = self._due[batch.deadline_ms] = {}
            heappush(self._times, batch.deadline_ms)
            if len(self._times) > 2 * len(self._due) + STALE_MAX:
                self._times = list(self._due)
                heapify(self._times)
        due[number] = batch

    def discard(self, number: int, deadline_ms: int) -> None:
        """What waits under ``number`` until ``deadline_ms`` is answered, if it still waits."""
        due = self._due.get(deadline_ms)
        if due is not None:
            due.pop(number, None)
            if not due:
                del self._due[deadline_ms]

    def take_expired(self, now_ms: int) -> Iterator[Batch]:
        """Remove those whose time is over."""
        while self._times and self._times[0] <= now_ms:
            yield from self._due.pop(heappop(self._times), {}).values()
