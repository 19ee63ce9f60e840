"""Results for people and for programs: table, JSON, CSV, lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raftzmq.wire.payload import StatementResult, Value


class Format(StrEnum):
    """How rows are shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    LINE = "line"


def show_rows(result: StatementResult, form: Format, console: Console) -> None:
    """Print the rows of one result; nothing when the statement returns no rows."""
    if result.columns is None or result.rows is None:
        return
    if form is Format.TABLE:
        console.print(_table(result.columns, result.rows))
    else:
        for line in _lines(result.columns, result.rows, form):
            # Not through rich: programs read this, so no wrapping and no markup.
            console.file.write(line)


def _table(columns: tuple[str, ...], rows: tuple[tuple[Value, ...], ...]) -> Table:
    table = Table()
    for position, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[position], int | float | None) for row in rows)
        table.add_column(Text(column), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(Text("NULL", style="dim") if value is None else Text(as_text(value)) for value in row)
        )
    return table


def _lines(
    columns: tuple[str, ...], rows: tuple[tuple[Value, ...], ...], form: Format
) -> Iterator[str]:
    if form is Format.JSON:
        # One row per line keeps a large result readable for people and for line tools.
        yield "["
        separator = "\n"
        for row in rows:
            shown = dict(zip(columns, map(_as_json, row), strict=True))
            yield separator + json.dumps(shown, ensure_ascii=False)
            separator = ",\n"
        yield "\n]\n"
    elif form is Format.CSV:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if value is None else as_text(value) for value in row])
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
        yield buffer.getvalue()
    else:
        width = max(map(len, columns), default=0)
        for number, row in enumerate(rows):
            yield "\n" if number else ""
            for column, value in zip(columns, row, strict=True):
                yield f"{column:>{width}} = {'NULL' if value is None else as_text(value)}\n"


def as_text(value: Value) -> str:
    """A value as SQLite's own shell would show it; a blob as its literal."""
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return str(value)


def _as_json(value: Value) -> Any:
    return as_text(value) if isinstance(value, bytes) else value
