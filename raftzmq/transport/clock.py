"""The only place where a clock is read; everything else takes the time as an argument."""

from __future__ import annotations

import time


def monotonic_ms() -> int:
    """Milliseconds that never go back; the zero point differs between processes."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """Milliseconds since 1970 UTC; may jump. For people, and for the time that SQL sees."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Seconds on a clock that never goes back; for the limits of reads, and for pauses."""
    return time.monotonic()
