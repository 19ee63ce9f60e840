"""A page with pictures of one or two results: it loads nothing and runs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from raftzmq.bench.histogram import OF, Histogram
from raftzmq.bench.result import KINDS, Repeat, Result
from raftzmq.bench.show import title, warnings

_WIDTH: Final = 1100
_HEIGHT: Final = 300
_LEFT: Final = 70
_RIGHT: Final = 16
_TOP: Final = 14
_BOTTOM: Final = 40
_NINES: Final = 4
"""The axis ends at p99.99; below it lies less than one request of most runs."""
_STEPS: Final = 200
_COLOURS: Final = {
    (0, "writes"): "--a-writes",
    (0, "reads"): "--a-reads",
    (1, "writes"): "--b-writes",
    (1, "reads"): "--b-reads",
}
_STYLE: Final = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b2230;--dim:#5d6777;--rule:#dfe3ea;
--panel:#f6f7f9;--bad:#c02626;--a-writes:#12925a;--a-reads:#2f6fce;--b-writes:#d98a14;
--b-reads:#b0439a}
@media (prefers-color-scheme:dark){:root{--page:#12161d;--ink:#e5e9f0;--dim:#9aa5b5;
--rule:#2c3441;--panel:#1a2029;--bad:#ff7b72;--a-writes:#3fcf8e;--a-reads:#6ea8ff;
--b-writes:#f0b14a;--b-reads:#e58ad3}}
body{margin:0 auto;max-width:1140px;padding:24px 20px 60px;background:var(--page);
color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0}h2{font-size:17px;margin:28px 0 6px}.dim{color:var(--dim)}
.bad{color:var(--bad);font-weight:600}.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:14px}th{color:var(--dim);text-align:left}
td,th{padding:3px 14px 3px 0;border-bottom:1px solid var(--rule)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
svg{display:block;width:100%;min-width:640px;height:auto}
svg text{fill:var(--dim);font:11px system-ui,sans-serif}
svg .frame{fill:var(--panel)}svg .grid{stroke:var(--rule)}
svg path{fill:none;stroke-width:2;stroke-linejoin:round}svg .thin{stroke-width:1;opacity:.4}
.legend i{display:inline-block;width:14px;height:4px;margin:0 6px 3px 0}
.legend span{margin-right:18px}
""".replace("\n", "")


def page(results: Sequence[Result], names: Sequence[str]) -> str:
    """The whole file.

    Args:
        results: one, or two to be compared.
        names: what to call them.
    """
    parts = ["<h1>raftzmq bench</h1>"]
    for name, result in zip(names, results, strict=True):
        parts.append(f"<p><b>{escape(name)}</b>: {escape(title(result.setup))}")
        parts.append(
            f'<br><span class="dim">{escape(result.started)}; {len(result.repeats)} repeats; '
            f"{escape(', '.join(f'{key} {value}' for key, value in result.machine.items()))}"
            "</span></p>"
        )
        parts += [f'<p class="bad">{escape(line)}</p>' for line in warnings(result)]
    parts.append(_legend(results, names))
    parts.append(
        '<h2>Latency by percentile, ms</h2><p class="dim">Thick: all repeats together; thin: each '
        f'of them.</p><div class="wide">{_percentiles(results)}</div>'
    )
    parts.append(
        "<h2>Answered per second, over time</h2>"
        f'<div class="wide">{_over_time(results, lambda tick: tick[2] / tick[1])}</div>'
    )
    parts.append(
        '<h2>Longest latency, over time, ms</h2><p class="dim">Of the requests answered in each '
        f'moment.</p><div class="wide">{_over_time(results, lambda tick: tick[3])}</div>'
    )
    parts.append(f'<h2>Figures</h2><div class="wide">{_table(results, names)}</div>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>raftzmq bench</title><style>{_STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _legend(results: Sequence[Result], names: Sequence[str]) -> str:
    marks = [
        f'<span><i style="background:var({_COLOURS[number, kind]})"></i>'
        f"{escape(names[number])} {kind}</span>"
        for number, result in enumerate(results)
        for kind in KINDS
        if any(kind in each.histograms for each in result.repeats)
    ]
    return f'<p class="legend">{"".join(marks)}</p>'


def _percentiles(results: Sequence[Result]) -> str:
    curves: list[tuple[str, str, list[tuple[float, float]]]] = []
    for number, result in enumerate(results):
        for kind in KINDS:
            each = [one.histograms[kind] for one in result.repeats if kind in one.histograms]
            whole = Histogram()
            for one in each:
                whole.merge(one)
            colour = _COLOURS[number, kind]
            if len(each) > 1:
                curves += [(colour, ' class="thin"', _curve(one)) for one in each]
            if each:
                curves.append((colour, "", _curve(whole)))
    known = [ms for _, _, points in curves for _, ms in points if ms > 0]
    low = math.floor(math.log10(min(known, default=1.0)))
    high = max(low + 1, math.ceil(math.log10(max(known, default=10.0))))

    def y(ms: float) -> float:
        return _height((math.log10(max(ms, 10.0**low)) - low) / (high - low))

    parts = [_frame("latency by percentile")]
    for power in range(low, high + 1):
        parts.append(_level(y(10.0**power), f"{10.0**power:g}"))
    for label, part in (("min", 0.0), ("p50", 0.5), ("p90", 0.9)):
        parts.append(_mark(_nines(part) / _NINES, label))
    for nines in range(2, _NINES + 1):
        parts.append(_mark(nines / _NINES, f"p{100 - 100 / 10**nines:g}"))
    for colour, style, points in curves:
        line = [(_across(nines / _NINES), y(ms)) for nines, ms in points]
        parts.append(_path(line, colour, style))
    return "".join(parts) + "</svg>"


def _curve(histogram: Histogram) -> list[tuple[float, float]]:
    """(nines, milliseconds): 2 nines are p99."""
    nines = [_NINES * step / _STEPS for step in range(_STEPS + 1)]
    parts = [round(OF * (1 - 10**-each)) for each in nines]
    return list(zip(nines, histogram.at_ms(parts), strict=True)) if histogram.count else []


def _nines(part: float) -> float:
    return -math.log10(1 - part)


def _over_time(
    results: Sequence[Result], value: Callable[[tuple[float, float, float, float, float]], float]
) -> str:
    lines: list[tuple[str, str, list[tuple[float, float]]]] = []
    for number, result in enumerate(results):
        thin = ' class="thin"' if len(result.repeats) > 1 else ""
        for repeat in result.repeats:
            points = [(tick[0] + tick[1] / 2, value(tick)) for tick in repeat.ticks if tick[1] > 0]
            lines.append((_COLOURS[number, _main_kind(repeat)], thin, points))
    seconds = max((at for _, _, points in lines for at, _ in points), default=1.0)
    step = _nice(max((v for _, _, points in lines for _, v in points), default=1.0) / 4)
    top = step * max(1, math.ceil(max((v for _, _, p in lines for _, v in p), default=1.0) / step))
    parts = [_frame("course over time")]
    for number in range(round(top / step) + 1):
        parts.append(_level(_height(number * step / top), f"{number * step:,g}"))
    every = _nice(seconds / 10)
    for number in range(int(seconds / every) + 1):
        parts.append(_mark(number * every / seconds, f"{number * every:g} s"))
    for colour, style, points in lines:
        line = [(_across(at / seconds), _height(v / top)) for at, v in points]
        parts.append(_path(line, colour, style))
    return "".join(parts) + "</svg>"


def _main_kind(repeat: Repeat) -> str:
    """A tick does not tell writes from reads; the line takes the colour of what there is."""
    return next((kind for kind in KINDS if kind in repeat.histograms), KINDS[0])


def _table(results: Sequence[Result], names: Sequence[str]) -> str:
    head = "".join(
        f"<th class=n>{escape(name)}</th><th class=n>least</th><th class=n>most</th>"
        for name in names
    )
    rows = []
    for name in dict.fromkeys(name for result in results for name in result.metrics):
        cells = ""
        for result in results:
            metric = result.metrics.get(name)
            found = (metric.median, metric.least, metric.most) if metric else ()
            cells += "".join(f"<td class=n>{each:,.4g}</td>" for each in found)
            cells += "<td class=n></td>" * (3 - len(found))
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _frame(name: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">'
        f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM}"/>'
    )


def _across(part: float) -> float:
    return round(_LEFT + min(max(part, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT), 1)


def _height(part: float) -> float:
    return round(_HEIGHT - _BOTTOM - min(max(part, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _level(y: float, text: str) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{text}</text>'
    )


def _mark(part: float, text: str) -> str:
    x = _across(part)
    side = "end" if part > 0.98 else "middle"
    return (
        f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="{side}">{text}</text>'
    )


def _path(points: Sequence[tuple[float, float]], colour: str, style: str) -> str:
    if not points:
        return ""
    shape = "L".join(f"{x} {y}" for x, y in points)
    return f'<path{style} d="M{shape}" style="stroke:var({colour})"/>'


def _nice(value: float) -> float:
    """1, 2 or 5 times a power of ten, not below ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * part for part in (1, 2, 5, 10) if power * part >= value * 0.999)
