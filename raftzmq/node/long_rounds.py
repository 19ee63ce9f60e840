"""A round that takes long is interrupted by what others wait for.

One message may be 15 MiB, or a thousand requests: a quarter of a second of a processor, where
those are scarce a whole one. A leader that says nothing for so long is voted out, and what it
hears meanwhile waits. No part of such a round can be done by halves, but between two parts there
is time to hear peers, to count the time that has passed and to send what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from raftzmq.transport.clock import monotonic_ms

LONG_MS: Final = 25
"""Well below the time between two heartbeats; short rounds have one flush, and one fsync."""


class LongRounds:
    """Used by the raft thread.

    Args:
        interrupt: hears peers, counts time and flushes; is told the time.
        clock_ms: monotonic.
    """

    __slots__ = ("_clock_ms", "_interrupt", "_since_ms")

    def __init__(
        self, interrupt: Callable[[int], object], clock_ms: Callable[[], int] = monotonic_ms
    ) -> None:
        self._interrupt = interrupt
        self._clock_ms = clock_ms
        self._since_ms = 0

    def begins(self, now_ms: int) -> None:
        """A round begins."""
        self._since_ms = now_ms

    def part_done(self) -> None:
        """A part of it is done that may have taken long."""
        now_ms = self._clock_ms()
        if now_ms - self._since_ms >= LONG_MS:
            self._interrupt(now_ms)
            self._since_ms = self._clock_ms()
