"""Figures out of samples: throughput, percentiles, cost per request."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raftzmq.bench.meter import Reading
from raftzmq.bench.run import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of one kind of request."""

    count: int
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one process.

    Attributes:
        cpu_percent: of one processor.
        cpu_us_per_request: microseconds of processor time per answered request.
    """

    cpu_percent: float
    cpu_us_per_request: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All figures of a run; ``None`` where nothing was asked or nothing could be seen."""

    clients: int
    value_size: int
    seconds: float
    writes: Latency | None
    reads: Latency | None
    errors: dict[str, int] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    fsyncs_per_write: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def latency(times_s: list[float], seconds: float) -> Latency | None:
    """Throughput and percentiles (nearest rank); None without samples."""
    if not times_s:
        return None
    ordered = sorted(times_s)
    return Latency(
        count=len(ordered),
        per_s=len(ordered) / seconds,
        p50_ms=_rank(ordered, 50) * 1000,
        p99_ms=_rank(ordered, 99) * 1000,
        max_ms=ordered[-1] * 1000,
    )


def make_report(
    samples: Samples, before: Reading, after: Reading, *, clients: int, value_size: int
) -> Report:
    """Put together what was measured between two readings."""
    costs = {}
    for name, end in after.cpu_s.items():
        if name in before.cpu_s and samples.done:
            used = end - before.cpu_s[name]
            costs[name] = Cost(
                cpu_percent=100 * used / samples.seconds,
                cpu_us_per_request=1e6 * used / samples.done,
            )
    fsyncs = {}
    for name, status in after.statuses.items():
        earlier = before.statuses.get(name)
        if earlier is not None and earlier.boot == status.boot and samples.write_s:
            fsyncs[name] = (status.fsyncs - earlier.fsyncs) / len(samples.write_s)
    return Report(
        clients=clients,
        value_size=value_size,
        seconds=samples.seconds,
        writes=latency(samples.write_s, samples.seconds),
        reads=latency(samples.read_s, samples.seconds),
        errors=dict(samples.errors),
        costs=costs,
        fsyncs_per_write=fsyncs,
    )


def show_report(report: Report) -> RenderableType:
    """For people."""
    figures = Table(
        title=f"{report.clients} in flight, values of {report.value_size} bytes, "
        f"{report.seconds:.1f} s",
        title_justify="left",
    )
    figures.add_column("")
    for name in ("per second", "p50 ms", "p99 ms", "max ms"):
        figures.add_column(name, justify="right")
    for name, found in (("writes", report.writes), ("reads", report.reads)):
        if found is not None:
            figures.add_row(
                name,
                f"{found.per_s:,.0f}",
                f"{found.p50_ms:.2f}",
                f"{found.p99_ms:.2f}",
                f"{found.max_ms:.2f}",
            )
    costs = Table(title="cost", title_justify="left")
    costs.add_column("process")
    for name in ("CPU %", "CPU us/request", "fsyncs/write"):
        costs.add_column(name, justify="right")
    for name in dict.fromkeys((*report.costs, *report.fsyncs_per_write)):
        cost, fsyncs = report.costs.get(name), report.fsyncs_per_write.get(name)
        costs.add_row(
            name,
            f"{cost.cpu_percent:.0f}" if cost else "",
            f"{cost.cpu_us_per_request:.1f}" if cost else "",
            f"{fsyncs:.3f}" if fsyncs is not None else "",
        )
    parts: list[RenderableType] = [figures, costs]
    if report.errors:
        shown = ", ".join(f"{name}: {count:,}" for name, count in report.errors.items())
        parts.append(Text(f"errors: {shown}", style="red"))
    return Group(*parts)


def _rank(ordered: list[float], percent: int) -> float:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
