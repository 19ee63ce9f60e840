"""Work that the raft thread does itself, because to wake a thread for it takes longer.

What is short is decided beforehand (``statemachine.short_work``, ``statemachine.point_reads``), but
not what the disk takes for a page. So it is measured: what took long once is not done here for a
while (docs/decisions/014, 016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

TURN_MS_MAX: Final = 10
"""A tick: what should have been short and took longer had to wait for the disk, or the schema is
not what it looks like."""
PAUSE_MS: Final = 10_000
"""For so long after that everything is left to the threads that are there for it."""


class ShortTurns:
    """Whether the raft thread does such work now, and how long that took.

    Args:
        clock_ms: monotonic.
    """

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._from_ms = 0

    @property
    def allowed(self) -> bool:
        """Not while it pauses."""
        return self._clock_ms() >= self._from_ms

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Do the work inside."""
        begun_ms = self._clock_ms()
        try:
            yield
        finally:
            now_ms = self._clock_ms()
            if now_ms - begun_ms > TURN_MS_MAX:
                self._from_ms = now_ms + PAUSE_MS
