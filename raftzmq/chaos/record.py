"""What a run of chaos leaves behind: enough to judge it, to draw it and to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Times are seconds since the run began.

    Attributes:
        kind: the name that ``--faults`` takes: kill-leader, partition, slow-disk, ...
        target: whom it hit: "n1", "n1>n3" for one direction, "n1,n2".
        from_s: when it was injected.
        until_s: when it was healed.
        fired: it was seen to have an effect (a process ended, packets were dropped, ...);
            a fault that was not seen to fire makes the run a failure.
        detail: for people: the parameters, and by what it was seen to fire.
    """

    kind: str
    target: str
    from_s: float
    until_s: float
    fired: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Leadership:
    """A node led a term from ``from_s`` (when that was seen) to ``until_s``."""

    node: str
    term: int
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What clients saw in the interval that began at ``at_s``; latencies in milliseconds.

    Attributes:
        unknown: operations that ended without a known outcome.
        refused: operations that ended with a definite "no" (NOT_EXECUTED, REJECTED).
        write_p50_ms: None when no write ended in the interval; so the others.
    """

    at_s: float
    seconds: float
    reads: int
    writes: int
    unknown: int
    refused: int
    read_p50_ms: float | None
    read_p99_ms: float | None
    write_p50_ms: float | None
    write_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Stall:
    """No write was acknowledged between the two; only those longer than usual are kept.

    Attributes:
        fault: index in ``Run.faults`` of the fault that was on or had just ended; None if none.
    """

    from_s: float
    until_s: float
    fault: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One property, judged.

    Attributes:
        name: "register: linearizable", "nothing lost", "replicas equal", ...
        holds: None when it could not be decided, which fails the run as False does.
        detail: figures; for a violation what and where.
        picture: SVG of the smallest offending window, or "".
    """

    name: str
    holds: bool | None
    detail: str
    picture: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a process printed."""

    at_s: float
    process: str
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run.

    Attributes:
        command: what to type to repeat it.
        versions: of raftzmq, Python, SQLite, APSW, libzmq, pyzmq, the kernel; and of the machine.
        started: date and time, for people.
        nodes: names, in the order in which they are drawn.
    """

    command: str
    seed: int
    seconds: float
    started: str
    versions: Mapping[str, str]
    nodes: tuple[str, ...]
    faults: tuple[Fault, ...]
    leaderships: tuple[Leadership, ...]
    samples: tuple[Sample, ...]
    stalls: tuple[Stall, ...]
    verdicts: tuple[Verdict, ...]
    log: tuple[LogLine, ...]

    @property
    def passed(self) -> bool:
        """Each property holds, there is at least one, and each fault fired."""
        return (
            bool(self.verdicts)
            and all(verdict.holds is True for verdict in self.verdicts)
            and all(fault.fired for fault in self.faults)
        )


def save(run: Run, path: Path) -> None:
    """Write ``run`` as JSON."""
    path.write_text(json.dumps(asdict(run)), encoding="utf-8")


def load(path: Path) -> Run:
    """Read what ``save`` wrote."""
    row = json.loads(path.read_text(encoding="utf-8"))
    parts = {
        "faults": Fault,
        "leaderships": Leadership,
        "samples": Sample,
        "stalls": Stall,
        "verdicts": Verdict,
        "log": LogLine,
    }
    for name, part in parts.items():
        row[name] = tuple(part(**values) for values in row[name])
    return Run(**{**row, "nodes": tuple(row["nodes"])})
