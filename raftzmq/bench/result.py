"""A whole benchmark as JSON: machine, setup, every repeat. Written by one run, read by the next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from raftzmq.bench.histogram import Histogram
from raftzmq.bench.metrics import HIGHER, LOWER, NEITHER, Metric, metrics
from raftzmq.bench.report import Report

FORMAT: Final = "raftzmq bench"
VERSION: Final = 1
"""Of the layout. A later program reads all earlier ones, or says that it does not."""
KINDS: Final = ("writes", "reads")


class UnreadableResult(Exception):
    """The file is not there, or not such a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What was asked for.

    Attributes:
        subject: ``writes``, ``reads`` or ``mixed``.
        loop: ``closed`` or ``open``.
        in_flight: requests in flight; of an open loop the bound.
        connections: 0 means one pipelined client.
        rate: requests per second of an open loop; 0 of a closed one.
        target: the address that was given; empty for a cluster of its own per repeat.
    """

    subject: str
    loop: str
    in_flight: int
    connections: int
    rate: float
    value_size: int
    read_share: float
    level: str
    warm_up_s: float
    seconds: float
    repeats: int
    nodes: int
    target: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """What a picture needs of one repeat."""

    histograms: Mapping[str, Histogram]
    ticks: Sequence[tuple[float, float, float, float, float]]


@dataclass(frozen=True, slots=True)
class Result:
    """What was stored, checked.

    Attributes:
        started: moment in UTC.
        machine: see ``machine.machine``.
        setup: the fields of ``Setup``; as a mapping, because another version may have others.
        metrics: by name.
        repeats: each of them.
    """

    started: str
    machine: Mapping[str, Any]
    setup: Mapping[str, Any]
    metrics: Mapping[str, Metric]
    repeats: Sequence[Repeat]


def as_dict(
    started: str, machine: Mapping[str, Any], setup: Setup, reports: Sequence[Report]
) -> dict[str, Any]:
    """For JSON."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "started": started,
        "machine": dict(machine),
        "setup": asdict(setup),
        "metrics": {
            name: {
                "better": metric.better,
                "median": metric.median,
                "least": metric.least,
                "most": metric.most,
                "values": list(metric.values),
            }
            for name, metric in metrics(reports).items()
        },
        "repeats": [report.as_dict() for report in reports],
    }


def load(path: Path) -> Result:
    """Read a file.

    Raises:
        UnreadableResult: it cannot be read, or is no result of a version known here.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableResult(f"{path} cannot be read: {error}") from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    try:
        return from_dict(found)
    except UnreadableResult as error:
        raise UnreadableResult(f"{path} {error}") from None


def from_dict(found: object) -> Result:
    """Check what was read.

    Raises:
        UnreadableResult: it is no result of a version known here.
    """
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UnreadableResult(
            "is no result of a benchmark; make one with raftzmq bench --save FILE"
        )
    if found.get("version") != VERSION:
        raise UnreadableResult(
            f"has version {found.get('version')!r}; this program reads version {VERSION}"
        )
    try:
        return Result(
            str(found["started"]),
            _mapping(found["machine"]),
            _mapping(found["setup"]),
            {str(name): _metric(each) for name, each in _mapping(found["metrics"]).items()},
            [_repeat(each) for each in found["repeats"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableResult(f"is damaged: {type(error).__name__}: {error}") from None


def _mapping(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise TypeError(f"a map was expected, not {found!r:.40}")
    return found


def _metric(found: Mapping[str, Any]) -> Metric:
    values = tuple(map(float, found["values"]))
    if not values or found["better"] not in (HIGHER, LOWER, NEITHER):
        raise ValueError(f"no metric: {found!r:.80}")
    return Metric(values, found["better"])


def _repeat(found: Mapping[str, Any]) -> Repeat:
    histograms = {
        kind: Histogram.of_buckets([(int(us), int(n)) for us, n in found[kind]["histogram"]])
        for kind in KINDS
        if found[kind] is not None
    }
    ticks = [(float(a), float(b), float(c), float(d), float(e)) for a, b, c, d, e in found["ticks"]]
    return Repeat(histograms, ticks)
