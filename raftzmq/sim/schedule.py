"""Virtual time: what happens when, one event after the other."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Schedule:
    """Events in order of their time; those of one moment in the order in which they were set.

    Attributes:
        now: microseconds since the start of the run.
        steps: events that happened.
    """

    def __init__(self) -> None:
        self.now = self.steps = 0
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: int, what: Callable[..., None], *args: object) -> None:
        """Call ``what(*args)`` at ``when``, or now if that has passed."""
        self._count += 1
        heappush(self._events, (max(when, self.now), self._count, what, args))

    def after(self, delay: int, what: Callable[..., None], *args: object) -> None:
        """Call ``what(*args)`` so many microseconds from now."""
        self.at(self.now + delay, what, *args)

    def step(self) -> bool:
        """Let the next event happen; False when there is none."""
        if not self._events:
            return False
        self.steps += 1
        self.now, _, what, args = heappop(self._events)
        what(*args)
        return True

    @property
    def now_ms(self) -> int:
        """Milliseconds since the start of the run."""
        return self.now // 1000
