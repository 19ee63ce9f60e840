"""Calls and returns of operations as events in time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raftzmq.checker.history import Operation


def return_times(operations: Sequence[Operation]) -> list[float]:
    """When each returned; infinity where that, or what it did, is not known."""
    return [
        float(each.returned) if each.ok is True and each.returned is not None else math.inf
        for each in operations
    ]


def in_time(operations: Sequence[Operation]) -> list[tuple[int, bool]]:
    """(number, is its return) in time.

    At equal times calls come first: clocks are coarse, and the doubt goes to the database, so
    that a violation is one for certain.
    """
    events = [(each.call, 0, number) for number, each in enumerate(operations)]
    events += [
        (each.returned, 1, number)
        for number, each in enumerate(operations)
        if each.ok is True and each.returned is not None
    ]
    events.sort()
    return [(number, is_return == 1) for _, is_return, number in events]
