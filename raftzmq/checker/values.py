"""JSON values as something that can be compared and kept in sets."""

from __future__ import annotations

import json
from typing import Any

Plain = tuple[str, str | int | float]


def plain(value: Any) -> Plain:
    """Equal exactly where two JSON values are equal: 1 and true are not, 1 and 1.0 are."""
    if isinstance(value, bool) or value is None:
        return ("constant", str(value))
    if isinstance(value, str):
        return ("text", value)
    if isinstance(value, (int, float)):
        return ("number", value)
    return ("json", json.dumps(value, sort_keys=True))
