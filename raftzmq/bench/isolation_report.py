"""Figures and verdict of an isolation run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raftzmq.bench.histogram import Histogram
from raftzmq.bench.isolation import Measured, Sample, overlapping
from raftzmq.bench.report import Latency, latency
from raftzmq.wire.client import Level

RATIO_MAX: Final = 5.0
"""p99 beside the slow, over p99 alone (promise P8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelReport:
    """Point reads of one level.

    Attributes:
        quiet: alone.
        apart: beside slow SELECTs, no UPDATE being applied.
        during: while an UPDATE was being applied.
        must_wait: reads of this level that overlap the UPDATE wait for it by right.
    """

    level: str
    quiet: Latency | None
    apart: Latency | None
    during: Latency | None
    must_wait: bool

    def ratio(self, loaded: Latency | None) -> float | None:
        """p99 of ``loaded`` over that of the quiet phase."""
        if self.quiet is None or loaded is None:
            return None
        return loaded.p99_ms / self.quiet.p99_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationReport:
    """All figures; ``broken`` says in words what is against the promise."""

    rate: float
    seconds: float
    levels: tuple[LevelReport, ...]
    selects_s: tuple[float, ...]
    updates_s: tuple[float, ...]
    elections: int
    errors: dict[str, int]
    broken: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {
            "ratios": {
                each.level: {"apart": each.ratio(each.apart), "during": each.ratio(each.during)}
                for each in self.levels
            }
        }


def make_isolation_report(measured: Measured, *, rate: float, seconds: float) -> IsolationReport:
    """Put together and judge what was measured."""
    levels = []
    for level, samples in measured.loaded.items():
        apart, during = overlapping(samples, measured.updates)
        levels.append(
            LevelReport(
                level=level.name.lower(),
                quiet=_latency(measured.quiet.get(level, []), seconds),
                apart=_latency(apart, seconds),
                during=_latency(during, seconds),
                must_wait=level in (Level.LINEARIZABLE, Level.LEADER),
            )
        )
    found = IsolationReport(
        rate=rate,
        seconds=seconds,
        levels=tuple(levels),
        selects_s=tuple(measured.selects_s),
        updates_s=tuple(update.answered_s - update.sent_s for update in measured.updates),
        elections=measured.elections,
        errors=dict(measured.errors),
    )
    found.broken.extend(_broken(found))
    return found


def _latency(samples: list[Sample], seconds: float) -> Latency | None:
    histogram = Histogram()
    histogram.add(sample.done_s - sample.sent_s for sample in samples)
    return latency(histogram, seconds)


def _broken(report: IsolationReport) -> list[str]:
    words = []
    for each in report.levels:
        judged = [("apart from the UPDATE", each.apart)]
        if not each.must_wait:
            judged.append(("during the UPDATE", each.during))
        for when, loaded in judged:
            ratio = each.ratio(loaded)
            if ratio is None:
                words.append(f"{each.level} reads {when}: nothing was measured")
            elif ratio > RATIO_MAX:
                words.append(f"{each.level} reads {when}: p99 is {ratio:.1f} times the quiet one")
    if not report.selects_s or not report.updates_s:
        words.append("no slow statement ended: the run was too short or failed")
    if report.elections:
        words.append(f"the term grew by {report.elections}")
    if report.errors:
        shown = ", ".join(f"{name}: {count}" for name, count in report.errors.items())
        words.append(f"errors: {shown}")
    return words


def show_isolation(report: IsolationReport) -> RenderableType:
    """For people."""
    table = Table(
        title=f"point reads, {report.rate:.0f} a second and level, {report.seconds:.0f} s each",
        title_justify="left",
    )
    table.add_column("level")
    table.add_column("beside")
    for name in ("reads", "p50 ms", "p99 ms", "max ms", "p99 ratio"):
        table.add_column(name, justify="right")
    for each in report.levels:
        for beside, found in (
            ("nothing", each.quiet),
            ("SELECTs", each.apart),
            ("SELECTs and UPDATE", each.during),
        ):
            if found is None:
                continue
            ratio = each.ratio(found)
            exempt = each.must_wait and found is each.during
            table.add_row(
                each.level if found is each.quiet else "",
                beside,
                f"{found.count:,}",
                f"{found.p50_ms:.2f}",
                f"{found.p99_ms:.2f}",
                f"{found.max_ms:.2f}",
                "must wait" if exempt or ratio is None else f"{ratio:.1f}",
            )
    lines = [
        f"SELECTs: {_durations(report.selects_s)}; UPDATEs: {_durations(report.updates_s)}; "
        f"elections: {report.elections}"
    ]
    parts: list[RenderableType] = [table, *(Text(line) for line in lines)]
    parts += [Text(line, style="red") for line in report.broken]
    return Group(*parts)


def _durations(seconds: tuple[float, ...]) -> str:
    if not seconds:
        return "none"
    return f"{len(seconds)} of {min(seconds):.1f} to {max(seconds):.1f} s"
