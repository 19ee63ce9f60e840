"""When Python looks for garbage that refers to itself: among what is old, only when nobody waits.

A full collection looks at every object there is, while no other thread of the process runs. By
default one begins whenever the old objects have become a quarter more, that is in the middle of a
flood: 250 ms of processor time with the requests that a node may hold, most of an election
timeout, and it frees nothing, because requests that wait are no garbage. Young objects, among
which the cycles of this program are (an exception and its frame), are looked at as ever.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

from raftzmq.transport.clock import monotonic_ms

_NEVER: Final = 1 << 30
REST_MS: Final = 60_000
"""Between two full collections."""
REST_PER_MS: Final = 20_000
"""The rest after one that took long: a large log has many objects, and none of them is garbage."""

BUSY_MS_MAX: Final = 3_600_000
"""Who is never idle for so long is interrupted: some garbage grows old before the young are looked
at, and a stranger can keep a request waiting for ever."""


def spare_the_old() -> None:
    """Let no full collection begin by itself, and none look at what is there now.

    Call it when the process is set up: modules and classes stay until its end.
    """
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    gc.collect()
    gc.freeze()


class OldCycles:
    """Full collections, one now and then; used by one thread.

    Args:
        now_ms: monotonic, now.
        collect: looks at everything.
        clock_ms: tells how long that took.
    """

    __slots__ = ("_clock_ms", "_collect", "_due_ms")

    def __init__(
        self,
        now_ms: int,
        collect: Callable[[], object] = gc.collect,
        clock_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        self._due_ms = now_ms + REST_MS
        self._collect = collect
        self._clock_ms = clock_ms

    def is_due(self, now_ms: int, *, busy: bool) -> bool:
        """Whether ``collect`` is to be called now.

        Args:
            now_ms: monotonic, now.
            busy: somebody waits for something.
        """
        return now_ms >= self._due_ms + (BUSY_MS_MAX if busy else 0)

    def collect(self) -> None:
        """Look at everything; no other thread runs meanwhile."""
        began_ms = self._clock_ms()
        self._collect()
        ended_ms = self._clock_ms()
        self._due_ms = ended_ms + max(REST_MS, REST_PER_MS * (ended_ms - began_ms))
