"""Figures about a run, taken from its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from raftzmq.chaos.record import Fault, LogLine, Run, Sample

AFTERMATH_S: Final = 3.0
"""What happens so long after a fault was healed is still counted as its consequence."""

_BEFORE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class FaultFigures:
    """What one fault did to clients; faults that overlap share what happened.

    Attributes:
        stall_s: the longest time without an acknowledged write; 0 when none was longer than usual.
        unknown: operations that ended without a known outcome while it lasted or just after.
        refused: those with a definite "no".
        elections: terms that found a leader.
        write_p99_ms: of the worst interval; None without writes.
    """

    number: int
    fault: Fault
    stall_s: float
    unknown: int
    refused: int
    elections: int
    write_p99_ms: float | None


def per_fault(run: Run) -> list[FaultFigures]:
    """Figures of each fault, in the order of the record."""
    found: list[FaultFigures] = []
    for number, fault in enumerate(run.faults):
        end = over(run, number)
        during = [
            each
            for each in run.samples
            if each.at_s < end and each.at_s + each.seconds > fault.from_s
        ]
        found.append(
            FaultFigures(
                number + 1,
                fault,
                max(
                    (each.until_s - each.from_s for each in run.stalls if each.fault == number),
                    default=0.0,
                ),
                sum(each.unknown for each in during),
                sum(each.refused for each in during),
                len({each.term for each in run.leaderships if fault.from_s < each.from_s <= end}),
                worst([each.write_p99_ms for each in during]),
            )
        )
    return found


def over(run: Run, number: int) -> float:
    """Until when things are counted as consequences of ``run.faults[number]``: a while after it
    was healed, and as long as writes stood still because of it."""
    stalls = [each.until_s for each in run.stalls if each.fault == number]
    return max([run.faults[number].until_s + AFTERMATH_S, *stalls])


def excerpt(run: Run, number: int) -> list[LogLine]:
    """What processes printed around ``run.faults[number]``."""
    fault, end = run.faults[number], over(run, number)
    return sorted(
        (each for each in run.log if fault.from_s - _BEFORE_S <= each.at_s <= end),
        key=lambda each: each.at_s,
    )


def longest_stall_s(run: Run) -> float:
    """0 when none was longer than usual."""
    return max((each.until_s - each.from_s for each in run.stalls), default=0.0)


def kinds(run: Run) -> list[str]:
    """The kinds of fault, by first use."""
    return list(dict.fromkeys(each.kind for each in run.faults))


def worst(values: Sequence[float | None]) -> float | None:
    """The largest that is known."""
    return max((each for each in values if each is not None), default=None)


def median(values: Sequence[float]) -> float:
    """The lower middle one.

    Raises:
        IndexError: there is none.
    """
    return sorted(values)[(len(values) - 1) // 2]


def merged(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most ``most`` samples: neighbours are added up, of latencies the worst is kept.

    An hour has more samples than a picture has columns, and a spike must not fall between them.
    """
    size = max(1, -(-len(samples) // most))
    return [
        _as_one(samples[at : at + size]) if size > 1 else samples[at]
        for at in range(0, len(samples), size)
    ]


def _as_one(samples: Sequence[Sample]) -> Sample:
    return Sample(
        at_s=samples[0].at_s,
        seconds=samples[-1].at_s + samples[-1].seconds - samples[0].at_s,
        reads=sum(each.reads for each in samples),
        writes=sum(each.writes for each in samples),
        unknown=sum(each.unknown for each in samples),
        refused=sum(each.refused for each in samples),
        read_p50_ms=worst([each.read_p50_ms for each in samples]),
        read_p99_ms=worst([each.read_p99_ms for each in samples]),
        write_p50_ms=worst([each.write_p50_ms for each in samples]),
        write_p99_ms=worst([each.write_p99_ms for each in samples]),
    )
