"""How much of what a flood leaves behind the C library keeps.

A flood makes a process large for a second. glibc keeps what was freed, for each of its arenas
apart, and an arena is as large as it once was. Blocks of the size of a batch are kept on purpose:
in mappings of their own each would cost a page fault per 4 KiB, ten times what copying it costs.

Larger ones, a value of 15 MiB in each of the five places where it is for a moment, get mappings of
their own, which go when they are freed. By default glibc would learn from the first of them to keep
blocks of that size as well, up to 32 MiB, and a multiple of it between them: after one such value
a node stayed 120 MB larger.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
MAPPED_FROM_BYTES: Final = 3 << 20
"""More than a batch, an append, a chunk of a snapshot and what is made of them."""
KEPT_AT_END_BYTES: Final = 8 << 20
"""Of what is free at the end of an arena; two batches more or less must not move it each time."""
ARENAS_MAX: Final = 4
"""By default eight per processor. The threads that allocate much are the two of libzmq, the raft
thread and the worker or applier that runs just now."""


def bound_arenas() -> bool:
    """Set this for the process; call before it starts threads.

    Returns:
        False where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = (
        (_M_ARENA_MAX, ARENAS_MAX),
        (_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES),
        (_M_TRIM_THRESHOLD, KEPT_AT_END_BYTES),
    )
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in settings)


def give_back() -> None:
    """Return freed memory to the system; others that allocate meanwhile wait for it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
