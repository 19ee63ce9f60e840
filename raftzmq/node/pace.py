"""When the raft thread counts ticks, and how long it may sleep. Pure: time is an argument.

A tick that only counts need not wake anybody. The thread sleeps through as many as are known to
do nothing else, and counts them when it wakes: those slept through on purpose before it looks at
what arrived, since they passed before it, and the last one, which may act, after it.
"""

from __future__ import annotations

from typing import Final

from raftzmq.limits import HEARTBEAT_TICKS

OWED_TICKS_MAX: Final = HEARTBEAT_TICKS
"""A process that was paused does not owe the ticks it slept through: time that nobody could use
must not look like silence of the others. So many it does, so that a leader that was held up says at
once that it lives, and not some rounds later, each of which may be long. A calm one would need
several times as many, so it is told that it was held up (``Raft.held_up``)."""


class Pace:
    """Turns time into ticks.

    Args:
        tick_ms: length of a tick.
        now_ms: monotonic, now.
    """

    __slots__ = ("_next_ms", "_quiet", "_tick_ms")

    def __init__(self, tick_ms: int, now_ms: int) -> None:
        self._tick_ms = tick_ms
        self._next_ms = now_ms + tick_ms
        self._quiet = 0

    def rest_ms(self, ticks: int, now_ms: int) -> int:
        """How long to sleep at most.

        Args:
            ticks: after so many something may be due; the ones before only count.
            now_ms: monotonic, now.
        """
        self._quiet = ticks - 1
        return max(0, self._next_ms + self._quiet * self._tick_ms - now_ms)

    def slept(self, now_ms: int) -> int:
        """Ticks slept through on purpose since they were last counted."""
        if now_ms < self._next_ms or not self._quiet:
            return 0
        ticks = min(self._quiet, self._passed(now_ms))
        self._quiet -= ticks
        self._next_ms += ticks * self._tick_ms
        return ticks

    def due(self, now_ms: int) -> int:
        """Ticks to count after what arrived was looked at."""
        if now_ms < self._next_ms:
            return 0
        ticks = min(OWED_TICKS_MAX, self._passed(now_ms))
        self._next_ms = now_ms + self._tick_ms
        return ticks

    def _passed(self, now_ms: int) -> int:
        return 1 + (now_ms - self._next_ms) // self._tick_ms
