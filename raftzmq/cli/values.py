"""Parameters typed on a command line become SQL values, by the literals of SQL.

    12  -3            integer            NULL             null
    1.5  2e3          real               x'00ff'          blob
    'text'            text, as in SQL    anything else    text as it stands

``--params '[1, "a", null]'`` says it exactly, as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from raftzmq.wire.payload import Value

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")  # 007 is a number to nobody but a computer
_REAL = re.compile(r"-?[0-9]+(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)")
_BLOB = re.compile(r"[xX]'((?:[0-9A-Fa-f]{2})*)'")
_TEXT = re.compile(r"'((?:[^']|'')*)'", re.DOTALL)


class ParameterError(ValueError):
    """The text given as --params is not an array of SQL values."""


def from_word(word: str) -> Value:
    """The value that one word of the command line means."""
    if _INTEGER.fullmatch(word):
        return int(word)
    if _REAL.fullmatch(word):
        return float(word)
    if word.upper() == "NULL":
        return None
    blob = _BLOB.fullmatch(word)
    if blob:
        return bytes.fromhex(blob[1])
    text = _TEXT.fullmatch(word)
    return text[1].replace("''", "'") if text else word


def from_json(text: str) -> Sequence[Value]:
    """The values of a JSON array of numbers, strings, true, false and null.

    Raises:
        ParameterError: it is not.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ParameterError(f"--params is not JSON: {error}") from None
    if not isinstance(values, list) or not all(
        value is None or isinstance(value, bool | int | float | str) for value in values
    ):
        raise ParameterError(
            "--params must be a JSON array of numbers, strings, true, false and null, "
            """for instance --params '[1, "a", null]'"""
        )
    return [int(value) if isinstance(value, bool) else value for value in values]
