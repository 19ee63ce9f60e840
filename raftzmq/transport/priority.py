"""Which threads get a processor first when there are not enough of them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

STRANGERS_NICE: Final = 5
"""Added for the I/O thread that reads what strangers send: a third of what the threads that do
the work get. It then reads more slowly, TCP tells the senders, and less piles up here."""
_NICE_MAX: Final = 19
_STRANGERS_THREAD: Final = "ZMQbg/IO/1"
"""libzmq names its threads so (pthread_setname_np); it is the one of AFFINITY 0b10."""


def put_strangers_last() -> bool:
    """Lower the priority of the I/O thread of the sockets of strangers, which must be open.

    Returns:
        False where that is not possible: other systems than Linux have no niceness per thread
        (setpriority(2), "C library/kernel differences").
    """
    if sys.platform != "linux":
        return False
    found = False
    nice = min(_NICE_MAX, os.getpriority(os.PRIO_PROCESS, os.getpid()) + STRANGERS_NICE)
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            if (task / "comm").read_text(encoding="ascii").strip() == _STRANGERS_THREAD:
                os.setpriority(os.PRIO_PROCESS, int(task.name), nice)
                found = True
    return found
