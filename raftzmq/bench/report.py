"""Figures of one measured stretch: throughput, percentiles, cost per request."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from raftzmq.bench.histogram import PERCENTILES, Histogram
from raftzmq.bench.meter import Reading
from raftzmq.bench.run import Samples
from raftzmq.observe.survey import leader_of

OTHERS: Final = "others"
"""All that is not this benchmark, the kernel's own work among it; noise when it is much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of one kind of request; milliseconds. Of fewer than 10,000 requests p99.99 is the longest."""

    count: int
    per_s: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_9_ms: float
    p99_99_ms: float
    max_ms: float
    histogram: list[list[int]] = field(default_factory=list, repr=False)


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
    """One repeat; ``None`` where nothing was asked or nothing could be seen.

    Attributes:
        leader: who led at its end; empty when it changed meanwhile, or is not known.
        nodes: all whose status was seen.
        fsyncs_per_write: node -> transactions that made its Raft log durable, per write.
        disk_bytes_per_write: on the disk with the data, of all nodes there and of anybody else.
        ticks: [begin in s, length in s, answered, longest ms, failed] each.
    """

    seconds: float
    writes: Latency | None
    reads: Latency | None
    leader: str = ""
    nodes: list[str] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    fsyncs_per_write: dict[str, float] = field(default_factory=dict)
    disk_bytes_per_write: float | None = None
    ticks: list[list[float]] = field(default_factory=list, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def latency(histogram: Histogram, seconds: float) -> Latency | None:
    """Throughput and percentiles (nearest rank); None without samples."""
    count = histogram.count
    if not count:
        return None
    return Latency(
        count=count,
        per_s=count / seconds,
        mean_ms=histogram.mean_ms,
        max_ms=histogram.max_ms,
        histogram=histogram.buckets(),
        **dict(zip(PERCENTILES, histogram.at_ms(list(PERCENTILES.values())), strict=True)),
    )


def make_report(samples: Samples, before: Reading, after: Reading) -> Report:
    """Put together what was measured between two readings."""
    used = {
        name: end - before.cpu_s[name] for name, end in after.cpu_s.items() if name in before.cpu_s
    }
    if before.busy_s is not None and after.busy_s is not None:
        used[OTHERS] = max(0.0, after.busy_s - before.busy_s - sum(used.values()))
    done = samples.writes.count + samples.reads.count
    writes = samples.writes.count
    fsyncs: dict[str, float] = {}
    for name, status in after.statuses.items():
        earlier = before.statuses.get(name)
        if earlier is not None and earlier.boot == status.boot:
            fsyncs[name] = status.fsyncs - earlier.fsyncs
    disk = None
    if before.disk_bytes is not None and after.disk_bytes is not None and writes:
        disk = (after.disk_bytes - before.disk_bytes) / writes
    return Report(
        seconds=samples.seconds,
        writes=latency(samples.writes, samples.seconds),
        reads=latency(samples.reads, samples.seconds),
        leader=_leader(before, after),
        nodes=sorted(after.statuses),
        errors=dict(samples.errors),
        costs={
            name: Cost(
                cpu_percent=100 * seconds / samples.seconds,
                cpu_us_per_request=1e6 * seconds / done,
            )
            for name, seconds in used.items()
            if done
        },
        fsyncs_per_write=(
            {name: count / writes for name, count in fsyncs.items()} if writes else {}
        ),
        disk_bytes_per_write=disk,
        ticks=[[round(number, 3) for number in tick] for tick in samples.ticks],
    )


def _leader(before: Reading, after: Reading) -> str:
    names = [
        leader.node if (leader := leader_of(reading.statuses)) else ""
        for reading in (before, after)
    ]
    return names[1] if names[0] == names[1] else ""
