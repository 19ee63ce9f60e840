"""The timeline: faults, leaders, throughput and latency above one another, on one axis of time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from raftzmq.chaos.record import Fault, Run, Sample
from raftzmq.chaos.report.figures import kinds, merged
from raftzmq.chaos.report.style import fault_colours, term_colour

_WIDTH: Final = 1200
_LEFT: Final = 74
_RIGHT: Final = 14
_ROW: Final = 17
_LEADER_ROW: Final = 24
_PANEL: Final = 150
_DOUBTS: Final = 44
_GAP: Final = 30
_STALL_GAP: Final = 48
_FAULT_ROWS_MAX: Final = 8
_COLUMNS_MAX: Final = 600
_LABEL_WIDTH: Final = 6.2
_STALLS_NAMED: Final = 5


def timeline(run: Run) -> str:
    """One ``<svg>`` element."""
    return _Timeline(run).draw()


class _Timeline:
    def __init__(self, run: Run) -> None:
        self._run = run
        ends = [run.seconds, 0.001]
        ends += [each.at_s + each.seconds for each in run.samples]
        ends += [each.until_s for each in run.faults]
        self._seconds = max(ends)
        self._samples = merged(run.samples, _COLUMNS_MAX)
        self._colours = fault_colours(kinds(run))
        self._parts: list[str] = []

    def draw(self) -> str:
        rows = _rows(self._run.faults, self._seconds)
        faults_top = 20
        leaders_top = faults_top + max(1, max(rows, default=0) + 1) * _ROW + _GAP
        rates_top = leaders_top + len(self._run.nodes) * _LEADER_ROW + _GAP
        doubts_top = rates_top + _PANEL + _STALL_GAP
        latency_top = doubts_top + _DOUBTS + _GAP
        bottom = latency_top + _PANEL
        for top, height, name in (
            (faults_top, leaders_top - faults_top - _GAP, "faults"),
            (leaders_top, rates_top - leaders_top - _GAP, "leader and term"),
            (rates_top, _PANEL, "operations per second"),
            (doubts_top, _DOUBTS, "unknown or refused, per second"),
            (latency_top, _PANEL, "latency, ms (log scale)"),
        ):
            self._add(
                f'<rect class="frame" x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" '
                f'height="{height}"/><text class="name" x="{_LEFT}" y="{top - 6}">{name}</text>'
            )
        self._time_axis(faults_top, bottom)
        self._bands(leaders_top, bottom)
        self._faults(faults_top, rows)
        self._leaders(leaders_top)
        self._stalls(rates_top, bottom)
        self._rates(rates_top)
        self._doubts(doubts_top)
        self._latencies(latency_top)
        return (
            f'<svg class="chart" viewBox="0 0 {_WIDTH} {bottom + 24}" role="img" '
            'aria-label="faults, leaders, throughput and latency over time">'
            + "".join(self._parts)
            + "</svg>"
        )

    def _add(self, part: str) -> None:
        self._parts.append(part)

    def _x(self, at_s: float) -> float:
        inside = min(max(at_s, 0.0), self._seconds)
        return round(_LEFT + inside / self._seconds * (_WIDTH - _LEFT - _RIGHT), 1)

    def _box(self, from_s: float, until_s: float, y: float, height: float, least: float) -> str:
        x = self._x(from_s)
        width = round(max(least, self._x(until_s) - x), 1)
        return f'x="{x}" y="{y}" width="{width}" height="{height}"'

    def _time_axis(self, top: float, bottom: float) -> None:
        step = time_step(self._seconds)
        for number in range(int(self._seconds / step + 1e-9) + 1):
            x = self._x(number * step)
            side = "end" if x > _WIDTH - _RIGHT - 16 else "middle"
            self._add(
                f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'
                f'<text x="{x}" y="{bottom + 16}" text-anchor="{side}">'
                f"{clock(number * step, self._seconds)}</text>"
            )

    def _bands(self, top: float, bottom: float) -> None:
        for fault in self._run.faults:
            if fault.fired:
                box = self._box(fault.from_s, fault.until_s, top, bottom - top, 1)
                self._add(f'<rect class="band" {box} fill="{self._colours[fault.kind]}"/>')

    def _faults(self, top: float, rows: Sequence[int]) -> None:
        for number, (fault, row) in enumerate(zip(self._run.faults, rows, strict=True), 1):
            y = top + row * _ROW + 2
            title = (
                f"{number}. {fault.kind} {fault.target}, {fault.from_s:.1f} to "
                f"{fault.until_s:.1f} s{'' if fault.fired else ', DID NOT FIRE'}: {fault.detail}"
            )
            missed = "" if fault.fired else ' class="unfired"'
            box = self._box(fault.from_s, fault.until_s, y, _ROW - 4, 4)
            name = f"{fault.kind} {fault.target}"
            room = self._x(fault.until_s) - self._x(fault.from_s)
            text = ""
            if len(name) * _LABEL_WIDTH < room and fault.fired:
                x = self._x(fault.from_s) + 3
                text = f'<text class="on" x="{x}" y="{y + 10}">{escape(name)}</text>'
            elif len(str(number)) * _LABEL_WIDTH + 3 < room and fault.fired:
                x = self._x(fault.from_s) + 2
                text = f'<text class="on" x="{x}" y="{y + 10}">{number}</text>'
            self._add(
                f'<a href="#fault-{number}"><rect{missed} {box} rx="2" '
                f'fill="{self._colours[fault.kind]}"><title>{escape(title)}</title></rect>'
                f"{text}</a>"
            )
        if not self._run.faults:
            self._add(f'<text x="{_LEFT + 8}" y="{top + 13}">none</text>')

    def _leaders(self, top: float) -> None:
        lane = {node: top + n * _LEADER_ROW for n, node in enumerate(self._run.nodes)}
        for node, y in lane.items():
            shown = node if len(node) <= 10 else node[:9] + "…"
            self._add(
                f'<text class="name" x="{_LEFT - 8}" y="{y + 16}" text-anchor="end">'
                f"{escape(shown)}</text>"
            )
        for each in self._run.leaderships:
            if each.node not in lane:
                continue
            y = lane[each.node]
            title = f"{each.node} led term {each.term}, {each.from_s:.1f} to {each.until_s:.1f} s"
            box = self._box(each.from_s, each.until_s, y + 3, _LEADER_ROW - 6, 1.5)
            self._add(
                f'<rect {box} rx="2" fill="{term_colour(each.term)}">'
                f"<title>{escape(title)}</title></rect>"
            )
            room = self._x(each.until_s) - self._x(each.from_s)
            text = f"term {each.term}" if room > 52 else str(each.term)
            if len(text) * _LABEL_WIDTH + 5 < room:
                x = self._x(each.from_s) + 4
                self._add(f'<text class="on" x="{x}" y="{y + 16}">{text}</text>')

    def _rates(self, top: float) -> None:
        rates = [each.reads / each.seconds for each in self._samples]
        rates += [each.writes / each.seconds for each in self._samples]
        high, step = nice_top(max(rates, default=0.0))

        def y(rate: float) -> float:
            return round(top + _PANEL - rate / high * _PANEL, 1)

        for number in range(round(high / step) + 1):
            self._level(y(number * step), short(number * step))
        self._line(lambda each: y(each.reads / each.seconds), "reads")
        self._line(lambda each: y(each.writes / each.seconds), "writes")

    def _doubts(self, top: float) -> None:
        """Their own panel: a few of them matter, and would not be seen beside thousands."""
        high, _ = nice_top(
            max(((each.unknown + each.refused) / each.seconds for each in self._samples), default=0)
        )

        def y(rate: float) -> float:
            return round(top + _DOUBTS - rate / high * _DOUBTS, 1)

        self._level(y(0), "0")
        self._level(y(high), short(high))
        for each in self._samples:
            below = 0.0
            for count, colour in ((each.unknown, "unknown"), (each.refused, "refused")):
                if count:
                    upper = below + count / each.seconds
                    height = max(2.0, y(below) - y(upper))
                    box = self._box(
                        each.at_s, each.at_s + each.seconds, y(below) - height, height, 1.5
                    )
                    self._add(
                        f'<rect {box} fill="var(--{colour})"><title>{count} {colour} at '
                        f"{each.at_s:.1f} s</title></rect>"
                    )
                    below = upper

    def _latencies(self, top: float) -> None:
        known = [
            value
            for each in self._samples
            for value in (each.read_p50_ms, each.read_p99_ms, each.write_p50_ms, each.write_p99_ms)
            if value is not None and value > 0
        ]
        low = math.floor(math.log10(min(known, default=1.0)))
        high = max(low + 1, math.ceil(math.log10(max(known, default=10.0))))

        def y(value: float | None) -> float | None:
            if value is None:
                return None
            part = (math.log10(max(value, 10.0**low)) - low) / (high - low)
            return round(top + _PANEL - part * _PANEL, 1)

        for power in range(low, high + 1):
            height = y(10.0**power)
            self._level(height if height is not None else top, f"{10.0**power:g}")
        self._line(lambda each: y(each.read_p50_ms), "reads")
        self._line(lambda each: y(each.read_p99_ms), "reads", dashed=True)
        self._line(lambda each: y(each.write_p50_ms), "writes")
        self._line(lambda each: y(each.write_p99_ms), "writes", dashed=True)

    def _level(self, y: float, text: str) -> None:
        self._add(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{text}</text>'
        )

    def _line(
        self, height: Callable[[Sample], float | None], colour: str, dashed: bool = False
    ) -> None:
        """A line that is interrupted where nothing is known, and never bridges it."""
        path: list[str] = []
        drawing = False
        for each in self._samples:
            y = height(each)
            if y is None:
                drawing = False
                continue
            x = self._x(each.at_s + each.seconds / 2)
            # A point between two gaps would not be seen without a length.
            path.append(f"L{x} {y}" if drawing else f"M{x - 0.8} {y}H{x}")
            drawing = True
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        if path:
            self._add(f'<path d="{"".join(path)}" stroke="var(--{colour})"{dash}/>')

    def _stalls(self, top: float, bottom: float) -> None:
        longest = sorted(self._run.stalls, key=lambda each: each.from_s - each.until_s)
        for rank, each in enumerate(longest):
            seconds = each.until_s - each.from_s
            box = self._box(each.from_s, each.until_s, top, bottom - top, 1.5)
            self._add(
                f'<rect class="stall" {box}><title>no write was acknowledged for '
                f"{duration(seconds)}, from {each.from_s:.2f} s</title></rect>"
            )
            if rank < _STALLS_NAMED:
                x = self._x(each.from_s)
                side = "end" if x > _WIDTH - 120 else "start"
                self._add(
                    f'<text x="{x}" y="{top + _PANEL + 11 + 9 * (rank % 2)}" '
                    f'text-anchor="{side}" style="fill:var(--stall)">{duration(seconds)}</text>'
                )


def _rows(faults: Sequence[Fault], seconds: float) -> list[int]:
    """For each fault the first row that is free; when there are too many, the one freed first."""
    least = seconds * 5 / _WIDTH
    free: list[float] = []
    rows: list[int] = []
    for fault in faults:
        until = max(fault.until_s, fault.from_s + least)
        found = next((n for n, at in enumerate(free) if at <= fault.from_s), None)
        if found is None:
            found = len(free) if len(free) < _FAULT_ROWS_MAX else free.index(min(free))
            if found == len(free):
                free.append(0.0)
        free[found] = max(free[found], until)
        rows.append(found)
    return rows


def time_step(seconds: float) -> float:
    """Seconds between marks of the axis: about ten to fifteen of them."""
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600):
        if seconds / step <= 15:
            return float(step)
    return math.ceil(seconds / 15 / 3600) * 3600.0


def nice_top(value: float) -> tuple[float, float]:
    """The top of an axis from 0, and the distance of its marks."""
    if value <= 0:
        return 1.0, 1.0
    step = 10.0 ** math.floor(math.log10(value))
    for part in (0.2, 0.5, 1, 2):
        if value / (step * part) <= 5:
            return math.ceil(value / (step * part)) * step * part, step * part
    return step * 10, step * 2


def clock(at_s: float, seconds: float) -> str:
    """A time on the axis: seconds for short runs, m:ss for long ones."""
    if seconds < 120:
        return f"{at_s:g} s"
    hours, rest = divmod(round(at_s), 3600)
    if hours:
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"
    return f"{rest // 60}:{rest % 60:02}"


def short(value: float) -> str:
    """12000 as 12k."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def duration(seconds: float) -> str:
    """For people: 35 ms, 0.52 s, 12.3 s."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
