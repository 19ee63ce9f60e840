"""What failover.py measured, as a table for people or as JSON."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

WANTED_MEDIAN_MS = {"kill": 50.0, "term": 20.0, "stop": 1000.0, "cut": 1000.0, "wake": 1000.0}
"""Goals on a machine that does nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One fault and what came of it.

    Attributes:
        old: who led, and ``new``: who led after it.
        wait_ms: longest time without an acknowledged write, from just before the fault to the
            moment when mending began.
        mend_wait_ms: the same, from there until the cluster was whole again.
        usual_wait_ms: the same in the second before the fault: what is noise.
        elections: terms begun, from before the fault until the cluster was whole again.
        before: writes acknowledged in the second before the fault; after: in the round, later.
        evidence: how it was seen that the fault fired.
        complaints: why the round counts as failed.
    """

    number: int
    old: str
    new: str
    wait_ms: float
    mend_wait_ms: float
    usual_wait_ms: float
    elections: int
    before: int
    after: int
    evidence: str
    complaints: tuple[str, ...]

    def line(self) -> str:
        """The round for people."""
        text = (
            f"round {self.number}: {self.old} -> {self.new}, {self.wait_ms:.1f} ms without an "
            f"acknowledged write (usual {self.usual_wait_ms:.1f}, mending {self.mend_wait_ms:.1f}),"
            f" {self.elections} elections, {self.before} acknowledged in the second before, "
            f"{self.evidence}"
        )
        return "\n  ".join([text, *(f"FAILED: {why}" for why in self.complaints)])


@dataclass(slots=True, kw_only=True)
class FaultResult:
    """All rounds of one fault, and the audit after them."""

    fault: str
    rounds: list[Round] = field(default_factory=list)
    acknowledged: int = 0
    reads: int = 0
    direct_reads: int = 0
    direct_writes: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    replicas: str = ""
    complaints: list[str] = field(default_factory=list)

    def failures(self) -> list[str]:
        """Everything that must not be."""
        found = list(self.complaints)
        for each in self.rounds:
            found += [f"round {each.number}: {why}" for why in each.complaints]
        for what, names in (
            ("acknowledged and lost", self.lost),
            ("applied twice", self.twice),
            ("there though refused or never sent", self.ghosts),
            ("stale reads", self.stale),
        ):
            if names:
                found.append(f"{what}: {len(names)}, for instance {names[0]}")
        found += [f"{count} client errors, {name}" for name, count in self.errors.items()]
        if self.replicas != "equal":
            found.append(f"the replicas are not equal: {self.replicas or 'not compared'}")
        return found

    def waits_ms(self) -> list[float]:
        """The longest wait of each round."""
        return [each.wait_ms for each in self.rounds]


def longest_wait_ms(acks: Sequence[float], begin: float, end: float) -> float:
    """Longest time between two of ``acks`` from the last before ``begin`` to ``end``.

    ``end`` counts as one: a cluster that acknowledges nothing any more has a long wait, too.
    """
    before = [each for each in acks if each <= begin]
    moments = [before[-1] if before else begin, *(e for e in acks if begin < e <= end), end]
    return max(b - a for a, b in itertools.pairwise(moments)) * 1000


def spread(values: Sequence[float]) -> tuple[float, float, float, float]:
    """(least, median, ninetieth percentile by nearest rank, most)."""
    ordered = sorted(values)
    if not ordered:
        return (0.0, 0.0, 0.0, 0.0)
    ninetieth = ordered[-(-len(ordered) * 9 // 10) - 1]
    return ordered[0], statistics.median(ordered), ninetieth, ordered[-1]


def table(results: Sequence[FaultResult]) -> Table:
    """One row per fault."""
    found = Table(
        title="longest wait between two acknowledged writes, ms",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for name in (
        "fault", "rounds", "min", "median", "p90", "max", "wanted", "acked", "errors", "lost",
        "twice", "stale", "reads", "elections",
    ):  # fmt: skip
        found.add_column(name, justify="left" if name == "fault" else "right", no_wrap=True)
    for each in results:
        wanted = WANTED_MEDIAN_MS[each.fault]
        least, median, ninetieth, most = spread(each.waits_ms())
        found.add_row(
            each.fault,
            str(len(each.rounds)),
            f"{least:.1f}",
            f"[{'green' if median < wanted else 'yellow'}]{median:.1f}[/]",
            f"{ninetieth:.1f}",
            f"{most:.1f}",
            f"<{wanted:.0f}",
            str(each.acknowledged),
            _alarm(sum(each.errors.values())),
            _alarm(len(each.lost)),
            _alarm(len(each.twice)),
            _alarm(len(each.stale)),
            str(each.reads + each.direct_reads),
            str(sum(one.elections for one in each.rounds)),
        )
    return found


def document(results: Sequence[FaultResult], settings: dict[str, Any]) -> dict[str, Any]:
    """Everything, for programs."""
    faults = {}
    for each in results:
        least, median, ninetieth, most = spread(each.waits_ms())
        faults[each.fault] = {
            **asdict(each),
            "wait_ms": {"min": least, "median": median, "p90": ninetieth, "max": most},
            "wanted_median_ms": WANTED_MEDIAN_MS[each.fault],
            "failures": each.failures(),
        }
    return {"settings": settings, "faults": faults}


def _alarm(count: int) -> str:
    return f"[red]{count}[/red]" if count else "0"
