"""A result as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raftzmq.bench.machine import in_memory_only
from raftzmq.bench.metrics import LATENCIES, Metric, words
from raftzmq.bench.result import KINDS, Result

SUSTAINED: Final = 0.99
"""An open loop that served less than this part of its rate has measured its own queue."""


def show(result: Result) -> RenderableType:
    """All figures: the median of the repeats, and how far they lie apart."""
    repeats = len(result.repeats)
    parts: list[RenderableType] = [_latencies(result), _costs(result)]
    if repeats > 1:
        parts.append(
            Text(f"medians of {repeats} repeats, and the least and the most of each figure")
        )
    others = result.metrics.get("CPU %, others")
    if others is not None:
        parts.append(
            Text(f"other work on the machine: {others.most:.0f} % of one processor at most")
        )
    parts += [Text(line, style="red") for line in warnings(result)]
    return Group(*parts)


def warnings(result: Result) -> list[str]:
    """What a reader must know before believing the figures."""
    lines = []
    failed = result.metrics.get("failed requests")
    if failed is not None and failed.most:
        lines.append(f"requests failed: {failed.most:,.0f} in the worst repeat")
    rate = float(result.setup.get("rate", 0))
    served = sum(
        result.metrics[name].least
        for name in (f"{kind} per second" for kind in KINDS)
        if name in result.metrics
    )
    if rate and served < SUSTAINED * rate:
        lines.append(
            f"only {served:,.0f} of {rate:,.0f} requests a second were served: latencies are "
            "those of a queue that grows; lower --rate"
        )
    kind = str(result.machine.get("file_system", ""))
    if in_memory_only(kind):
        lines.append(
            f"the data was on {kind}, where fsync costs nothing; choose a --folder on a disk"
        )
    return lines


def title(setup: Mapping[str, Any]) -> str:
    """The setup in one line."""
    load = (
        f"{setup.get('rate', 0):,g} requests a second"
        if setup.get("loop") == "open"
        else f"{setup.get('in_flight')} in flight"
    )
    clients = setup.get("connections") or 0
    over = f"over {clients} connections" if clients else "over one connection"
    reads = f", {setup.get('level')} reads" if setup.get("subject") != "writes" else ""
    return (
        f"{setup.get('subject')}{reads}, {load} {over}, values of {setup.get('value_size')} bytes, "
        f"{setup.get('seconds'):g} s"
    )


def _latencies(result: Result) -> Table:
    table = Table(title=title(result.setup), title_justify="left")
    table.add_column("ms")
    table.add_column("per s", justify="right")
    for name in LATENCIES:
        table.add_column(words(name).removesuffix(" ms"), justify="right")
    for kind in KINDS:
        rate = result.metrics.get(f"{kind} per second")
        if rate is None:
            continue
        times = [result.metrics[f"{kind} {words(name)}"] for name in LATENCIES]
        for label, pick in _rows(kind, len(rate.values)):
            table.add_row(label, f"{pick(rate):,.0f}", *(_ms(pick(each)) for each in times))
    return table


def _costs(result: Result) -> Table:
    table = Table(title="cost per request, per write", title_justify="left")
    table.add_column("")
    for heading in ("CPU us", "fsyncs", "disk bytes"):
        table.add_column(heading, justify="right")
    names = ("CPU us per request", "fsyncs per write", "disk bytes per write")
    roles = dict.fromkeys(
        role
        for role in (name.partition(", ")[2] for name in result.metrics if name[0] in "Cfd")
        if role
    )
    for role in roles:
        found = [result.metrics.get(f"{name}, {role}") for name in names]
        if not any(found):
            continue
        repeats = max(len(each.values) for each in found if each)
        for label, pick in _rows(role, repeats):
            shown = [
                format(pick(each), shape) if each else ""
                for each, shape in zip(found, (".1f", ".4f", ",.0f"), strict=True)
            ]
            table.add_row(label, *shown)
    return table


def _rows(name: str, repeats: int) -> list[tuple[str, Callable[[Metric], float]]]:
    rows: list[tuple[str, Callable[[Metric], float]]] = [(name, lambda metric: metric.median)]
    if repeats > 1:
        rows += [("  least", lambda metric: metric.least), ("  most", lambda metric: metric.most)]
    return rows


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
