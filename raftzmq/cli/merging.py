"""Joins INSERTs of one row each into INSERTs of many: a dump of sqlite3 has one per row.

A statement costs each replica several times what a row of it does. Only rows of plain literals are
joined, since an expression could look at what the rows before it changed. What differs is that a
foreign key within the table may then point to a row that comes a little later in the dump.
"""

from __future__ import annotations

import re
from typing import Final

JOINED_ROWS: Final = 500
JOINED_CHARACTERS: Final = 64 << 10

_NAME: Final = r"""(?:"[^"]*+"|\w++)"""
_NUMBER: Final = r"[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?+"
_LITERAL: Final = rf"""(?:'[^']*+(?:''[^']*+)*+'|[xX]'[0-9a-fA-F]*+'|NULL|{_NUMBER})"""
_ONE_ROW = re.compile(
    rf"""(INSERT\s+(?:OR\s+(?:IGNORE|REPLACE)\s+)?INTO\s+{_NAME}\s*+"""
    rf"""(?:\(\s*{_NAME}(?:\s*,\s*{_NAME})*+\s*\)\s*+)?VALUES)\s*+"""
    rf"""(\(\s*{_LITERAL}(?:\s*+,\s*+{_LITERAL})*+\s*\))""",
    re.IGNORECASE,
)


def one_row(sql: str) -> tuple[str, str] | None:
    """(everything up to VALUES, the row with its parentheses) of an INSERT that may be joined."""
    found = _ONE_ROW.fullmatch(sql)
    return None if found is None else (found[1], found[2])


class Joined:
    """Statements, of which neighbours are joined where that is right.

    Attributes:
        size: characters that ``texts`` will have, about.
    """

    def __init__(self) -> None:
        self.size = 0
        self._texts: list[str] = []
        self._head = ""
        self._rows: list[str] = []
        self._rows_size = 0

    def add(self, sql: str, row: tuple[str, str] | None) -> None:
        """Add a statement; ``row`` is ``one_row`` of it."""
        self.size += len(sql)
        if row is None:
            self._end_rows()
            self._texts.append(sql)
            return
        head, values = row
        if (
            head != self._head
            or len(self._rows) >= JOINED_ROWS
            or self._rows_size >= JOINED_CHARACTERS
        ):
            self._end_rows()
            self._head = head
        self._rows.append(values)
        self._rows_size += len(values)

    def texts(self) -> list[str]:
        """What to carry out."""
        self._end_rows()
        return self._texts

    def _end_rows(self) -> None:
        if self._rows:
            self._texts.append(f"{self._head} {','.join(self._rows)}")
        self._head, self._rows, self._rows_size = "", [], 0
