"""Cuts SQL text of any length into statements, piece by piece, without reading it all.

A statement ends at a semicolon that is in no string, name or comment; of CREATE TRIGGER, whose
body has semicolons of its own, SQLite itself decides (sqlite3_complete). Comments in front of
a statement are dropped, those inside it stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import apsw

_PLAIN = re.compile(r"""\s*+(?:[^'"`\[;/-]++|'[^']*+'|"[^"]*+"|-(?!-)|/(?!\*))*+""")
"""A statement without comments and odd quotes, up to its semicolon: nearly all of a dump, and ten
times as fast in one match as mark by mark."""
_HELD_MAX = 1 << 20
_SPECIAL = re.compile(r"""['"`\[;]|--|/\*""")
_TRIGGER = re.compile(r"\s*(EXPLAIN\s+)?CREATE\s+(TEMP\s+|TEMPORARY\s+)?TRIGGER\b", re.I)
_CLOSING = {"'": "'", '"': '"', "`": "`", "[": "]", "--": "\n", "/*": "*/"}
_OPENED = {"'": "string", '"': "name", "`": "name", "[": "name", "/*": "comment"}


_UNDECIDED = frozenset(("", "'", '"'))
"""What ends a match when the text is too short: nothing, or a quote that is not closed yet."""


class Statement(NamedTuple):
    """One statement without its semicolon, and the line on which it begins, from 1."""

    sql: str
    line: int


class IncompleteStatement(ValueError):
    """The text ended inside a string, a name, a comment or a trigger."""


class Splitter:
    """Feed it text; it yields each statement as soon as it is complete."""

    def __init__(self) -> None:
        self._held = ""  # the beginning of a mark, or of a statement, that the next piece completes
        self._pieces: list[str] = []
        self._blank = True
        self._open = ""
        self._line = 1
        self._begin = 1

    def feed(self, text: str) -> Iterator[Statement]:
        """The statements that end in ``text``."""
        text = self._held + text
        self._held = ""
        yield from self._scan(text, last=False)

    def finish(self) -> Iterator[Statement]:
        """The last statement, if its semicolon was left out.

        Raises:
            IncompleteStatement: the text breaks off.
        """
        held, self._held = self._held, ""
        yield from self._scan(held, last=True)
        if self._open and self._open != "--":
            raise IncompleteStatement(
                f"the statement that begins on line {self._begin} ends inside a "
                f"{_OPENED[self._open]}"
            )
        if not self._blank:
            sql = "".join(self._pieces).strip()
            if _TRIGGER.match(sql) and not apsw.complete(sql + ";"):
                raise IncompleteStatement(
                    f"the trigger that begins on line {self._begin} has no END"
                )
            yield self._cut(sql)

    def _scan(self, text: str, *, last: bool) -> Iterator[Statement]:
        position = 0
        while position < len(text):
            if self._blank and not self._open:
                found = _PLAIN.match(text, position)
                end = found.end() if found is not None else position
                at = text[end : end + 1]
                if at == ";":
                    sql = text[position:end].strip()
                    if not _TRIGGER.match(sql):
                        if sql:
                            yield self._whole(text, position, end, sql)
                        else:
                            self._line += text.count("\n", position, end)
                        position = end + 1
                        continue
                elif at in _UNDECIDED and not last and len(text) - position < _HELD_MAX:
                    self._held = text[position:]
                    return
            if self._open:
                if self._open == "/*" and text.find("*/", position) < 0:
                    text = self._hold(text, "*", last)
                position = self._inside(text, position)
                continue
            found = _SPECIAL.search(text, position)
            if found is None:
                text = self._hold(text, "-/", last)
            self._take(text[position : found.start() if found else len(text)])
            if found is None:
                return
            position = found.end()
            mark = found.group()
            if mark != ";":
                self._open = mark
                if mark in ("--", "/*"):
                    if not self._blank:
                        self._pieces.append(mark)
                else:
                    self._take(mark)
            elif not self._blank:
                sql = "".join(self._pieces)
                if _TRIGGER.match(sql) and not apsw.complete(sql + ";"):
                    self._pieces = [sql, ";"]
                else:
                    yield self._cut(sql.strip())

    def _whole(self, text: str, start: int, end: int, sql: str) -> Statement:
        first = text.index(sql[0], start)
        statement = Statement(sql, self._line + text.count("\n", start, first))
        self._line += text.count("\n", start, end)
        return statement

    def _hold(self, text: str, marks: str, last: bool) -> str:
        if not last and text[-1:] and text[-1] in marks:
            self._held = text[-1]
            return text[:-1]
        return text

    def _inside(self, text: str, position: int) -> int:
        """Skip to the end of the string, name or comment; returns where to go on."""
        closing = _CLOSING[self._open]
        end = text.find(closing, position)
        stop = len(text) if end < 0 else end + len(closing)
        piece = text[position:stop]
        self._line += piece.count("\n")
        if not self._blank:
            self._pieces.append(piece)
        if end >= 0:
            # A doubled quote closes here and opens again at once, which comes to the same.
            self._open = ""
        return stop

    def _take(self, piece: str) -> None:
        if self._blank:
            content = piece.lstrip()
            self._line += piece.count("\n", 0, len(piece) - len(content))
            if not content:
                return
            self._blank = False
            self._begin = self._line
            piece = content
        self._line += piece.count("\n")
        self._pieces.append(piece)

    def _cut(self, sql: str) -> Statement:
        statement = Statement(sql, self._begin)
        self._pieces = []
        self._blank = True
        return statement


def split(text: str) -> list[Statement]:
    """All statements of a whole text.

    Raises:
        IncompleteStatement: the text breaks off.
    """
    splitter = Splitter()
    return [*splitter.feed(text), *splitter.finish()]
