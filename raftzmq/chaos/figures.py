"""What clients saw, second by second, and when nothing went on; from their histories alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import quantiles
from typing import Final

from raftzmq.chaos.record import Fault, Sample, Stall
from raftzmq.checker.history import Operation

INTERVAL_S: Final = 1.0
STALL_S: Final = 0.25
"""Shorter gaps between acknowledged writes are usual with few clients that think."""
STALLS_MAX: Final = 1_000
AFTERMATH_S: Final = 5.0
"""So long after its end a fault is blamed for a stall."""


def samples(operations: Iterable[Operation], origin_ns: int, seconds: float) -> tuple[Sample, ...]:
    """One per interval from the origin on.

    An operation counts where it ended; one that nobody answered where it was asked.
    """
    count = max(1, int(seconds / INTERVAL_S + 0.999))
    reads: list[list[float]] = [[] for _ in range(count)]
    writes: list[list[float]] = [[] for _ in range(count)]
    unknown = [0] * count
    refused = [0] * count
    for each in operations:
        ended = each.call if each.returned is None else each.returned
        at = int((ended - origin_ns) / 1e9 / INTERVAL_S)
        if not 0 <= at < count:
            continue
        if each.ok is None:
            unknown[at] += 1
        elif not each.ok:
            refused[at] += 1
        else:
            (reads if each.op == "read" else writes)[at].append((ended - each.call) / 1e6)
    return tuple(
        Sample(
            at_s=number * INTERVAL_S,
            seconds=INTERVAL_S,
            reads=len(reads[number]),
            writes=len(writes[number]),
            unknown=unknown[number],
            refused=refused[number],
            read_p50_ms=_percentile(reads[number], 50),
            read_p99_ms=_percentile(reads[number], 99),
            write_p50_ms=_percentile(writes[number], 50),
            write_p99_ms=_percentile(writes[number], 99),
        )
        for number in range(count)
    )


def stalls(
    operations: Iterable[Operation], origin_ns: int, seconds: float, faults: Sequence[Fault]
) -> tuple[Stall, ...]:
    """Times without an acknowledged write, longest first, those at start and end included."""
    ends = sorted(
        (each.returned - origin_ns) / 1e9
        for each in operations
        if each.ok is True and each.op != "read" and each.returned is not None
    )
    inside = [0.0, *(at for at in ends if 0 <= at <= seconds), seconds]
    found = [
        Stall(begin, end, _blamed(begin, end, faults))
        for begin, end in pairwise(inside)
        if end - begin >= STALL_S
    ]
    return tuple(sorted(found, key=lambda each: each.from_s - each.until_s)[:STALLS_MAX])


def longest_by_kind(faults: Sequence[Fault], found: Iterable[Stall]) -> dict[str, float]:
    """Kind of fault -> seconds of its longest stall; 0 for those without one."""
    longest = {fault.kind: 0.0 for fault in faults}
    for stall in found:
        if stall.fault is not None:
            kind = faults[stall.fault].kind
            longest[kind] = max(longest[kind], stall.until_s - stall.from_s)
    return longest


def rate(operations: Iterable[Operation], origin_ns: int, from_s: float, until_s: float) -> float:
    """Operations that succeeded per second, between two moments."""
    if until_s <= from_s:
        return 0.0
    low, high = origin_ns + from_s * 1e9, origin_ns + until_s * 1e9
    done = sum(
        each.ok is True and each.returned is not None and low <= each.returned < high
        for each in operations
    )
    return done / (until_s - from_s)


def _blamed(begin: float, end: float, faults: Sequence[Fault]) -> int | None:
    """The fault that was on when the stall began, the latest of several; else the one that had
    ended last; else the first that came while nothing went on."""
    numbers = range(len(faults))
    on = [n for n in numbers if faults[n].from_s <= begin + STALL_S and faults[n].until_s >= begin]
    if on:
        return max(on, key=lambda n: faults[n].from_s)
    over = [n for n in numbers if begin - AFTERMATH_S < faults[n].until_s < begin]
    if over:
        return max(over, key=lambda n: faults[n].until_s)
    later = [n for n in numbers if begin < faults[n].from_s < end]
    return min(later, key=lambda n: faults[n].from_s, default=None)


def _percentile(values: list[float], percent: int) -> float | None:
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]
