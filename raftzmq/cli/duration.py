"""Lengths of time as typed: 500ms, 2s, 1.5; a bare number is seconds."""

from __future__ import annotations

import re

import typer

_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>ms|s|m|h)?")
_MS = {"ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0, None: 1_000.0}
_MOST_MS = 365 * 24 * 3_600_000


def milliseconds(text: str) -> int:
    """The milliseconds that ``text`` means; a fraction of one counts as a whole one.

    Raises:
        typer.BadParameter: it means no length of time, or more than a year.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no length of time; write 500ms, 2s or 1.5")
    length_ms = float(found["number"]) * _MS[found["unit"]]
    if length_ms > _MOST_MS:
        raise typer.BadParameter(f"{text!r} is more than a year")
    # 0 means "no limit": what is not nothing must not become that.
    return int(length_ms) + (length_ms > int(length_ms))
