"""The figures of all repeats, by name: what is printed, stored and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from raftzmq.bench.histogram import PERCENTILES
from raftzmq.bench.meter import THIS
from raftzmq.bench.report import OTHERS, Latency, Report

HIGHER: Final = "higher"
LOWER: Final = "lower"
NEITHER: Final = ""
LATENCIES: Final = ("mean_ms", *PERCENTILES, "max_ms")


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of each repeat.

    Attributes:
        values: one per repeat in which it could be measured; never empty.
        better: HIGHER, LOWER or NEITHER.
    """

    values: tuple[float, ...]
    better: str

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)

    @property
    def least(self) -> float:
        """The least one."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The greatest one."""
        return max(self.values)

    @property
    def spread_percent(self) -> float:
        """From the least to the greatest, in percent of the median; 0 for one repeat."""
        return 100 * (self.most - self.least) / self.median if self.median else 0.0


def metrics(reports: Sequence[Report]) -> dict[str, Metric]:
    """All figures of some repeats, in the order in which people want to see them."""
    found: dict[str, tuple[str, list[float]]] = {}
    for report in reports:
        for name, better, value in _of(report):
            found.setdefault(name, (better, []))[1].append(value)
    return {name: Metric(tuple(values), better) for name, (better, values) in found.items()}


def words(name: str) -> str:
    """``p99_9_ms`` as people write it: p99.9 ms."""
    return name.removesuffix("_ms").replace("_", ".") + " ms"


def _of(report: Report) -> Iterable[tuple[str, str, float]]:
    for kind, found in (("writes", report.writes), ("reads", report.reads)):
        if found is not None:
            yield from _of_latency(kind, found)
    yield "failed requests", LOWER, float(sum(report.errors.values()))
    cpu_us = {name: cost.cpu_us_per_request for name, cost in report.costs.items()}
    others = cpu_us.pop(OTHERS, None)
    if cpu_us:
        yield "CPU us per request, all", LOWER, sum(cpu_us.values())
    for role, value in _by_role(cpu_us, report).items():
        yield f"CPU us per request, {role}", LOWER, value
    if others is not None:
        yield "CPU %, others", NEITHER, report.costs[OTHERS].cpu_percent
    for role, value in _by_role(report.fsyncs_per_write, report).items():
        yield f"fsyncs per write, {role}", LOWER, value
    if report.disk_bytes_per_write is not None:
        yield "disk bytes per write, all", LOWER, report.disk_bytes_per_write


def _of_latency(kind: str, found: Latency) -> Iterable[tuple[str, str, float]]:
    yield f"{kind} per second", HIGHER, found.per_s
    for name in LATENCIES:
        yield f"{kind} {words(name)}", LOWER, getattr(found, name)


def _by_role(found: Mapping[str, float], report: Report) -> dict[str, float]:
    """Which node leads is chance, so its cost is told by its role; of several the mean."""
    roles: dict[str, list[float]] = {}
    for name, value in found.items():
        if name not in report.nodes:
            role = name if name == THIS else "proxy"
        elif not report.leader:
            role = "node"
        else:
            role = "leader" if name == report.leader else "follower"
        roles.setdefault(role, []).append(value)
    return {role: fmean(values) for role, values in roles.items()}
