"""How much of what a flood leaves behind the C library keeps.

A flood makes a process large for a second. glibc keeps what was freed, for each of its arenas
apart, and an arena is as large as it once was. Blocks of the size of a request are kept on
purpose: in mappings of their own (mallopt(3), M_MMAP_THRESHOLD) each would cost a page fault per
4 KiB, ten times what copying it costs.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8
ARENAS_MAX: Final = 4
"""By default eight per processor. The threads that allocate much are the two of libzmq, the raft
thread and the worker or applier that runs just now."""


def bound_arenas() -> bool:
    """Set this for the process; call before it starts threads.

    Returns:
        False where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, ARENAS_MAX) == 1


def give_back() -> None:
    """Return freed memory to the system; others that allocate meanwhile wait for it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
