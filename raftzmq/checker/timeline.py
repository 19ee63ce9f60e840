"""Draws a window of a history: a lane per client, a bar from call to return, as SVG.

Along the picture stands the order of calls and returns, not their distance: a read that comes a
minute after the write it should have seen is drawn beside it, and the axis names the times.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from raftzmq.checker.history import Operation
from raftzmq.checker.window import Window

DRAWN_MAX: Final = 40
_LEFT: Final = 96
_RIGHT: Final = 40
_TOP: Final = 34
_LANE: Final = 46
_STEP: Final = 54
_WIDTH_MIN: Final = 720
_LETTER: Final = 6.7
_TEXT_MAX: Final = 60

_STYLE: Final = """
.w{font:12px system-ui,sans-serif;color:#1d2430}
.w text{fill:currentColor}.w .dim{opacity:.62}.w .lane{stroke:currentColor;opacity:.14}
.w .read rect{fill:#2f74d0}.w .write rect{fill:#2e8b57}.w .none rect{fill:#8a8f98}
.w .bad rect{fill:#cf2e2e}.w .bad text{fill:#cf2e2e;font-weight:700}
.w .open{fill:none;stroke-width:2;stroke-dasharray:4 4;stroke:#2e8b57}
@media (prefers-color-scheme:dark){.w{color:#e4e8ef}.w .bad text{fill:#ff7b72}}
""".replace("\n", "")


def draw(window: Window, key: str = "") -> str:
    """One ``<svg>`` element, complete in itself, to stand alone or within HTML.

    Args:
        window: what to draw; of more than ``DRAWN_MAX`` operations the last ones.
        key: named in the title.
    """
    first = max(0, min(len(window.operations) - DRAWN_MAX, window.offending))
    shown = window.operations[first : first + DRAWN_MAX]
    offending = window.offending - first
    times = sorted(
        {each.call for each in shown}
        | {each.returned for each in shown if each.returned is not None}
    )
    place = {time: number for number, time in enumerate(times)}
    step = max(_STEP, (_WIDTH_MIN - _LEFT - _RIGHT) // max(1, len(times)))
    width = _LEFT + len(times) * step + _RIGHT
    lanes = {client: n for n, client in enumerate(dict.fromkeys(each.client for each in shown))}
    bottom = _TOP + len(lanes) * _LANE
    title = f"{key}: {window.reason}" if key else window.reason
    parts = [
        f'<svg class="w" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 30}" '
        f'width="{width}" height="{bottom + 30}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<text x="4" y="16">{escape(_cut(title, int((width - 8) / _LETTER)))}</text>',
    ]
    for client, lane in lanes.items():
        y = _TOP + lane * _LANE
        parts.append(
            f'<line class="lane" x1="0" x2="{width}" y1="{y + _LANE - 4}" y2="{y + _LANE - 4}"/>'
            f'<text x="4" y="{y + 29}">{escape(_cut(client, 13))}</text>'
        )
    starts = _starts(shown, place, step)
    for number, each in enumerate(shown):
        following = [x for x in starts.get(each.client, []) if x > _x(place[each.call], step)]
        room = (min(following, default=width) - _x(place[each.call], step)) / _LETTER
        parts.append(
            _bar(
                each,
                _TOP + lanes[each.client] * _LANE,
                place,
                step,
                width,
                int(room) - 1,
                number == offending,
            )
        )
    for time, number in place.items():
        parts.append(
            f'<text class="dim" x="{_x(number, step)}" y="{bottom + 14}" font-size="10">'
            f"{_after(time - times[0])}</text>"
        )
    left_out = len(window.operations) - len(shown)
    if left_out:
        parts.append(
            f'<text class="dim" x="4" y="{bottom + 27}">{left_out} more operations of the window '
            "are not drawn</text>"
        )
    parts.append("</svg>")
    return "".join(parts)


def label(operation: Operation) -> str:
    """What was asked and what came of it, in one line."""
    done = {True: "", False: " failed", None: " ?"}[operation.ok]
    value, result = _short(operation.value), _short(operation.result)
    if operation.op == "read":
        return f"read → {result}{done}"
    if operation.op == "cas":
        refused = " refused" if operation.ok and operation.result is False else ""
        return f"cas {_short(operation.expected)} → {value}{refused}{done}"
    if operation.op == "transfer" and isinstance(operation.value, Mapping):
        asked = operation.value
        return f"{asked.get('from')} → {asked.get('to')}: {_short(asked.get('amount'))}{done}"
    return f"{operation.op} {value}{done}"


def _bar(
    each: Operation, y: int, place: Mapping[int, int], step: int, width: int, room: int, bad: bool
) -> str:
    x = _x(place[each.call], step)
    end = width - _RIGHT if each.returned is None else _x(place[each.returned], step)
    length = max(8, end - x)
    kind = "read" if each.op == "read" else "write"
    kind = "bad" if bad else "none" if each.ok is False else kind
    full = f"{each.client}: {label(each)}" + (f" ({each.node})" if each.node else "")
    solid = 10 if each.ok is None else length
    parts = [
        f'<g class="{kind}"><title>{escape(full)}</title>',
        f'<rect x="{x}" y="{y + 20}" width="{solid}" height="12" rx="3"/>',
    ]
    if each.ok is None:
        # It may take effect at any later time, whatever was answered.
        parts.append(f'<path class="open" d="M{x + 12} {y + 26}H{width - 6}"/>')
    parts.append(f'<text x="{x}" y="{y + 15}">{escape(_cut(label(each), max(3, room)))}</text></g>')
    return "".join(parts)


def _starts(
    shown: tuple[Operation, ...], place: Mapping[int, int], step: int
) -> dict[str, list[int]]:
    starts: dict[str, list[int]] = {}
    for each in shown:
        starts.setdefault(each.client, []).append(_x(place[each.call], step))
    return starts


def _x(number: int, step: int) -> int:
    return _LEFT + number * step


def _short(value: Any) -> str:
    return _cut(json.dumps(value, ensure_ascii=False), _TEXT_MAX)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"


def _after(nanoseconds: int) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.4g} {unit}"
    return f"{nanoseconds} ns"
