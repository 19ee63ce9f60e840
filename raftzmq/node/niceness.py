"""How much of a scarce processor a thread gets; and when one at long work is to ask for less.

On Linux each thread has a niceness of its own (setpriority(2), "C library/kernel differences");
elsewhere it belongs to the process, which must keep its own. What was raised may be lowered again
by the privileged only, so a thread that was made nice stays so.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from time import sleep
from typing import Final

from raftzmq.transport.clock import monotonic_s

NICE: Final = 5
"""Where processors are scarce, long work gets a third of what the raft thread and the short reads
get. Not less than that: a thread that waits for a processor while it holds the interpreter lock
keeps the others waiting, too."""
LONG_MS: Final = 20
"""Work on one request counts as long after this; FAST_READ_MS for writes."""
REST_EVERY_S: Final = 0.0005
"""With a millisecond reads waited nearly as long as without any rest (docs/decisions/009)."""
_REST_S: Final = 1e-6
"""The shortest there is: with the slack that Linux gives timers, some 60 microseconds."""


def be_nice(nice: int, thread: int | None = None) -> None:
    """Add ``nice`` to the niceness of a thread, the calling one if none is named.

    Where a sandbox does not let it (``SystemCallFilter=~@resources``), all stays as it is.

    Args:
        nice: 0 to 19.
        thread: ``threading.get_native_id`` of a thread that lives.
    """
    if nice and sys.platform == "linux":
        which = threading.get_native_id() if thread is None else thread
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, which, os.getpriority(os.PRIO_PROCESS, which) + nice)


class Rests:
    """Lets others have the processor now and then while its thread is at long work.

    A thread that wakes up does not always take the processor from one that is busy, however nice:
    it may have to wait for the next tick of the kernel's scheduler, 4 ms where CONFIG_HZ is 250.
    A read needs ten such wake-ups (docs/decisions/009). So who is at long work lets go by itself.

    Args:
        clock_s: monotonic.
        sleep_s: sleeps, without the interpreter lock.
    """

    def __init__(
        self,
        clock_s: Callable[[], float] = monotonic_s,
        sleep_s: Callable[[float], None] = sleep,
    ) -> None:
        self._clock_s = clock_s
        self._sleep_s = sleep_s
        self._rested_s = clock_s()

    def __call__(self) -> None:
        """Rest for a moment, if the last rest is ``REST_EVERY_S`` ago; for one thread at a time."""
        if self._clock_s() - self._rested_s >= REST_EVERY_S:
            self._sleep_s(_REST_S)
            self._rested_s = self._clock_s()


class LongWork:
    """Finds out that the same piece of work is seen again and again.

    Args:
        long_ms: from this on it is long.
    """

    def __init__(self, long_ms: int = LONG_MS) -> None:
        self._long_ms = long_ms
        self._work: object | None = None
        self._since_ms = 0

    def is_long(self, work: object | None, now_ms: int) -> bool:
        """Whether ``work``, the very same object, was first seen ``long_ms`` ago.

        Args:
            work: what is being done; None: nothing.
            now_ms: of a monotonic clock.
        """
        if work is not self._work:
            self._work = work
            self._since_ms = now_ms
        return work is not None and now_ms - self._since_ms >= self._long_ms
